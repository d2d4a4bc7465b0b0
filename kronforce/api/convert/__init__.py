"""The store's rows as the contract's messages, one file a noun. Pure, and nothing is decided."""
