"""Pure decisions: no I/O, no await; time and randomness arrive as arguments."""
