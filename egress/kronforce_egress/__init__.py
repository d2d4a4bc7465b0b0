"""The one way out: HTTP to addresses that a policy allows. See README.md."""
