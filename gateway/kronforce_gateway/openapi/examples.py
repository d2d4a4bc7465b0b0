"""Examples: what stands in a path or a query, by the field's name, and the bodies of the calls that
people begin with. A test holds every one of them valid by its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from kronforce_gateway.bindings import Binding

_AN_ID = "019ab3f2-7c1e-7d60-9a4b-5d2f8c1e7a31"

_FIELDS: Mapping[str, Any] = {
    "agent_id": "web-1",
    "execution_id": _AN_ID,
    "group": "ETL",
    "job_id": "backup",
    "key_id": "deploy-bot",
    "kind_pattern": "job.*",
    "operation": "job.*",
    "request_id": "nightly-2026-11-21",
    "run_id": _AN_ID,
    "search": "back",
    "since": "2026-11-20T00:00:00Z",
    "until": "2026-11-21T00:00:00Z",
    "variable_id": "API_HOST",
}

_BODIES: Mapping[str, Any] = {
    "JobService.CreateJob": {
        "name": "backup",
        "group": "ETL",
        "task": {"type": "shell", "command": "pg_dump app | gzip > /backup/app.gz"},
        "schedule": {"type": "cron", "value": "0 0 3 * * *"},
        "timezone": "Europe/Berlin",
        "timeout_secs": 3600,
        "retry_max": 2,
        "retry_delay_secs": 60,
    },
    "JobService.UpdateJob": {"timeout_secs": 7200, "description": None},
    "JobService.PauseJob": {"until": "2026-12-01T06:00:00Z"},
    "JobService.TriggerJob": {"params": {"day": "2026-11-20"}, "request_id": "backup-2026-11-20"},
    "JobService.TriggerJobs": {"requests": [{"job_id": "backup"}, {"job_id": "report"}]},
    "JobService.CreateGroup": {"name": "ETL"},
    "JobService.RenameGroup": {"old_name": "ETL", "new_name": "Data Pipeline"},
    "JobService.AssignGroup": {"job_ids": ["backup", "report"], "group": "ETL"},
    "JobService.PreviewSchedule": {
        "job": {
            "name": "backup",
            "task": {"type": "noop"},
            "schedule": {"type": "cron", "value": "0 0 9 * * 1-5"},
        },
        "count": 3,
    },
    "ExecutionService.CancelRun": {"reason": "started by mistake"},
    "ExecutionService.CancelExecution": {"reason": "started by mistake"},
    "KeyService.CreateKey": {"name": "deploy-bot", "role": "operator", "allowed_groups": ["ETL"]},
    "VariableService.CreateVariable": {"name": "API_HOST", "value": "https://api.example.com"},
    "VariableService.UpdateVariable": {"value": "https://api2.example.com"},
    "AgentService.CreateJoinToken": {"uses": 1, "ttl_secs": 3600},
    "AgentService.DrainAgent": {"draining": True},
    "AgentService.UpdateAgent": {"tags": ["gpu"], "labels": {"site": "berlin"}},
}


def of_field(field: FieldDescriptor) -> dict[str, Any]:
    """`example`, where there is one."""
    if field.name not in _FIELDS:
        return {}
    value = _FIELDS[field.name]
    return {"example": [value] if field.is_repeated else value}


def of_body(binding: Binding) -> dict[str, Any]:
    """The same for a body."""
    return {"example": _BODIES[binding.name]} if binding.name in _BODIES else {}
