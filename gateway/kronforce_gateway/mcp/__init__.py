"""The MCP adapter: methods of the contract as tools for AI clients."""
