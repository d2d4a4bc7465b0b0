"""Values of tasks: variables and secrets, kept, looked after, and put in at assignment."""
