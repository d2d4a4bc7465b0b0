"""Every command: where its function is, and its line of help. Data alone; imports nothing."""

from __future__ import annotations

Verbs = dict[str, tuple[str, str]]

NOUNS: dict[str, tuple[str, Verbs]] = {
    "job": (
        "Definitions of work.",
        {
            "apply": ("kronforce.cli.job_apply:apply", "make jobs what their files say"),
            "get": ("kronforce.cli.job:get", "one job"),
            "list": ("kronforce.cli.job:list_jobs", "all jobs"),
            "delete": ("kronforce.cli.job:delete", "delete a job"),
            "run": ("kronforce.cli.job_run:run", "fire a job; --follow streams its output"),
            "pause": ("kronforce.cli.job:pause", "hold a job's schedule"),
            "resume": ("kronforce.cli.job:resume", "let a held schedule fire again"),
            "next": ("kronforce.cli.job_times:next_fires", "when it fires next, saved or not"),
            "fires": ("kronforce.cli.job_times:fires", "what became of each instant; --since 7d"),
            "clear-history": (
                "kronforce.cli.job_history:clear_history",
                "delete its ended runs but the newest",
            ),
            "init": ("kronforce.cli.job_init:init", "write a commented hello.yaml"),
            "schema": ("kronforce.cli.job_schema:schema", "JSON Schema of job files, for editors"),
            "validate": ("kronforce.cli.job_apply:validate", "check job files without a server"),
        },
    ),
    "run": (
        "Firings of jobs.",
        {
            "get": ("kronforce.cli.run:get", "what became of a run, explained"),
            "explain": ("kronforce.cli.run_explain:explain", "why it waits, or ended as it did"),
            "list": ("kronforce.cli.run:list_runs", "runs, newest first"),
            "watch": ("kronforce.cli.run_watch:watch", "follow runs as they change"),
            "logs": ("kronforce.cli.run_logs:logs", "what a run wrote: follow, search, save"),
            "diff": ("kronforce.cli.run_diff:diff", "how the output of two runs differs"),
            "cancel": ("kronforce.cli.run:cancel", "end a run"),
            "rerun": ("kronforce.cli.run_rerun:rerun", "run again what a run ran, or what failed"),
        },
    ),
    "group": (
        "Sets of jobs, by which access is scoped.",
        {
            "list": ("kronforce.cli.group:list_groups", "all groups"),
            "create": ("kronforce.cli.group:create", "make an empty group"),
            "rename": ("kronforce.cli.group:rename", "rename a group, jobs and history with it"),
            "delete": ("kronforce.cli.group:delete", "delete a group; its jobs go to Default"),
            "assign": ("kronforce.cli.group:assign", "move jobs to a group, all or none"),
        },
    ),
    "agent": (
        "Where work runs.",
        {
            "list": ("kronforce.cli.agent:list_agents", "all agents"),
            "get": ("kronforce.cli.agent:get", "one agent"),
            "set": ("kronforce.cli.agent:set_agent", "its tags, labels, and whose jobs it runs"),
            "drain": ("kronforce.cli.agent:drain", "give it no new work; --off ends that"),
            "delete": ("kronforce.cli.agent:delete", "remove an agent"),
            "task-types": (
                "kronforce.cli.agent_types:task_types",
                "what a custom agent can be asked for; -f sets it",
            ),
            "token": ("kronforce.cli.agent:token", "a token with which agents join"),
            "run": ("kronforce.cli.agent_process:run", "be an agent on this host"),
        },
    ),
    "variable": (
        "Values and secrets that tasks name.",
        {
            "list": ("kronforce.cli.variable:list_variables", "all variables; secrets masked"),
            "get": ("kronforce.cli.variable:get", "one variable"),
            "set": ("kronforce.cli.variable:set_variable", "make or change one; --secret"),
            "delete": ("kronforce.cli.variable:delete", "delete one that no job names"),
            "rotate": ("kronforce.cli.variable:rotate", "a new key for all secrets"),
        },
    ),
    "webhook": (
        "URLs that fire jobs.",
        {
            "enable": ("kronforce.cli.webhook:enable", "give a job a URL; it is shown once"),
            "list": ("kronforce.cli.webhook:list_webhooks", "the webhooks of all jobs"),
            "get": ("kronforce.cli.webhook:get", "a job's webhook; never its URL"),
            "rotate": ("kronforce.cli.webhook:rotate", "a new URL; the old one ends"),
            "disable": ("kronforce.cli.webhook:disable", "end a job's webhook for good"),
        },
    ),
    "key": (
        "API keys.",
        {
            "create": ("kronforce.cli.key:create", "make a key; its secret is shown once"),
            "list": ("kronforce.cli.key:list_keys", "all keys"),
            "revoke": ("kronforce.cli.key:revoke", "end a key for good"),
            "reset-admin": ("kronforce.cli.key:reset_admin", "a new admin key, at the data folder"),
            "whoami": ("kronforce.cli.key:whoami", "whose key this is, and what it may do"),
        },
    ),
    "audit": (
        "Who changed what.",
        {
            "list": ("kronforce.cli.audit:list_audit", "changes, newest first"),
            "verify": ("kronforce.cli.audit:verify", "check that nothing of it was changed"),
        },
    ),
    "db": (
        "The controller's database, at its data folder.",
        {
            "current": ("kronforce.cli.db:current_schema", "which schema it has"),
            "migrate": ("kronforce.cli.db:migrate", "bring the schema to this version's"),
        },
    ),
    "event": (
        "What happened.",
        {"tail": ("kronforce.cli.event:tail", "the newest events; -f follows")},
    ),
}

ALONE: Verbs = {
    "up": ("kronforce.cli.up:up", "start a controller and an agent on this host"),
    "controller": ("kronforce.cli.controller_process:controller", "start a controller alone"),
    "gateway": ("kronforce.cli.gateway:gateway", "serve HTTP for a controller elsewhere"),
    "status": ("kronforce.cli.status:status", "agents, what waits longest, disk"),
    "stats": ("kronforce.cli.stats:stats", "how much ran, how it ended, how long it took"),
    "doctor": ("kronforce.cli.doctor:doctor", "is this host, its data and its server well?"),
    "last": ("kronforce.cli.run:last", "the newest run, explained"),
    "backup": ("kronforce.cli.backup:backup", "everything in one file, running or not"),
    "restore": ("kronforce.cli.restore:restore", "a backup becomes the controller's database"),
    "openapi": ("kronforce.cli.openapi:openapi", "the HTTP API as an OpenAPI document"),
    "login": ("kronforce.cli.login:login", "remember an address and a key"),
    "completion": ("kronforce.cli.completion:completion", "completion for bash, zsh or fish"),
    "version": ("kronforce.cli.pages:print_version", "the version"),
}
