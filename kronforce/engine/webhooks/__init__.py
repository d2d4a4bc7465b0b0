"""Webhooks in: URLs that fire jobs, and what is sent there."""
