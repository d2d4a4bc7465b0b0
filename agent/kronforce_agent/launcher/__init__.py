"""The agent's launcher: one long-lived process that starts and holds task processes.

Import `client` and `protocol` from the agent; everything else here runs in the launcher process,
uses the standard library and `kronforce_redaction`, and never imports grpc, protobuf or SQLAlchemy
(a test checks it).
"""
