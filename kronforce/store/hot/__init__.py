"""The hot path of the store: create, assign, start and finish, many at a time."""
