"""What the controller counts and measures of itself: see README.md of `engine`."""
