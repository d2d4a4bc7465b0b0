"""The Kronforce agent: runs jobs where the data is."""
