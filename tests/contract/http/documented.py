"""The endpoints that the Kronforce guide documents, as its tables and examples list them.

Copied from its sections "API Reference", "Custom Agents", "Job Groups", "Connections",
"AI Assistant", "Job Templates", "OIDC/SSO", "Audit Log", "MCP Server" and "Scripting". Names in
braces are the guide's own; `/api/variables` it names without listing the verbs.
"""

# (verb, path, needs no key)
ENDPOINTS: tuple[tuple[str, str, bool], ...] = (
    # Jobs
    ("GET", "/api/jobs", False),
    ("POST", "/api/jobs", False),
    ("GET", "/api/jobs/{id}", False),
    ("PUT", "/api/jobs/{id}", False),
    ("DELETE", "/api/jobs/{id}", False),
    ("POST", "/api/jobs/{id}/trigger", False),
    # Executions
    ("GET", "/api/jobs/{id}/executions", False),
    ("GET", "/api/executions", False),
    ("GET", "/api/executions/{id}", False),
    ("POST", "/api/executions/{id}/cancel", False),
    # Agents. The guide's own need no key; ours need the agent's, except to enrol.
    ("GET", "/api/agents", False),
    ("GET", "/api/agents/{id}", False),
    ("DELETE", "/api/agents/{id}", False),
    ("PUT", "/api/agents/{id}/task-types", False),
    ("GET", "/api/agents/{id}/task-types", False),
    ("POST", "/api/agents/register", True),
    ("GET", "/api/agent-queue/{id}/next", False),
    ("POST", "/api/agents/{id}/heartbeat", False),
    ("POST", "/api/callbacks/execution-result", False),
    # Events
    ("GET", "/api/events", False),
    # Scripts
    ("GET", "/api/scripts", False),
    ("GET", "/api/scripts/{name}", False),
    ("PUT", "/api/scripts/{name}", False),
    ("DELETE", "/api/scripts/{name}", False),
    # API keys
    ("GET", "/api/keys", False),
    ("POST", "/api/keys", False),
    ("DELETE", "/api/keys/{id}", False),
    # Approval workflows, job versions, templates
    ("POST", "/api/executions/{id}/approve", False),
    ("GET", "/api/jobs/{id}/versions", False),
    ("GET", "/api/templates", False),
    ("POST", "/api/templates", False),
    # OIDC/SSO
    ("GET", "/api/auth/oidc/config", True),
    ("GET", "/api/auth/oidc/login", True),
    ("GET", "/api/auth/oidc/callback", True),
    ("POST", "/api/auth/logout", True),
    # Other
    ("GET", "/api/health", True),
    ("GET", "/metrics", True),
    ("GET", "/api/auth/me", False),
    ("GET", "/api/mcp/tools", False),
    # Variables
    ("GET", "/api/variables", False),
    ("POST", "/api/variables", False),
    ("GET", "/api/variables/{id}", False),
    ("PUT", "/api/variables/{id}", False),
    ("DELETE", "/api/variables/{id}", False),
    # Connections
    ("GET", "/api/connections", False),
    ("GET", "/api/connections/{name}", False),
    ("POST", "/api/connections", False),
    ("PUT", "/api/connections/{name}", False),
    ("DELETE", "/api/connections/{name}", False),
    ("POST", "/api/connections/{name}/test", False),
    # AI assistant
    ("POST", "/api/ai/generate-job", False),
    # Job groups
    ("GET", "/api/jobs/groups", False),
    ("POST", "/api/jobs/groups", False),
    ("PUT", "/api/jobs/bulk-group", False),
    ("PUT", "/api/jobs/rename-group", False),
    # Audit log
    ("GET", "/api/audit-log", False),
    # MCP server
    ("POST", "/mcp", False),
)
