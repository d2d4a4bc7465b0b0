"""The `kronforce` command: one file per noun, on the client alone."""
