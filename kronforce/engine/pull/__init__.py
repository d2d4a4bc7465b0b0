"""Custom agents: they ask for work and call back, in place of holding a stream."""
