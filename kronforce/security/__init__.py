"""Keys and secrets: see README.md."""
