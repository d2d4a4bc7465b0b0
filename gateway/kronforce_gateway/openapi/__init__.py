"""The OpenAPI 3.1 document, made of the contract's descriptors. Start reading at `document`."""
