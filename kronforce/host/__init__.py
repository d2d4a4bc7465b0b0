"""What is done at the data folder, without asking a server: see README.md."""
