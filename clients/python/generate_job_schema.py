"""Writes docs/job.schema.json: the dialect's schema of a job, with the contract's comments and
the limits that a job is checked against when it is saved.

Run it after a change of the contract or of a limit; a test holds it current. What a comment says
in fixed words is taken from it: `Required.`, `Exactly one.` (of a union) and `Output only`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from kronforce.core import http_rules, job_rules, names, parameters, params_text, task_rules
from kronforce.v1.job_pb2 import Job
from kronforce_client.dialect.schema import Notes, schema
from kronforce_egress import headers, urls

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "kronforce" / "v1" / "kronforce.binpb"
TARGET = ROOT / "docs" / "job.schema.json"
PACKAGE = "kronforce.v1"
# Numbers of the lists in a file, by which a comment's place is written.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _VALUES, _ONEOFS, _METHODS = 2, 2, 8, 2

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_EXIT_CODE = "exit:0{0,2}([1-9]|[1-9][0-9]|[1-5][0-9][0-9])"


def text(longest: int, *, least: int = 0, pattern: str = "") -> dict[str, Any]:
    """Limits of a text; where bytes are counted there are at least as many as characters."""
    made: dict[str, Any] = {"maxLength": longest}
    if least:
        made["minLength"] = least
    return made | ({"pattern": pattern} if pattern else {})


def between(low: float, high: float) -> dict[str, Any]:
    return {"minimum": low, "maximum": high}


# What a schema can say of the rules in `kronforce/core`, from their own constants; the rest is
# said by `kronforce job validate`.
LIMITS: Mapping[str, Mapping[str, Any]] = {
    **{f"Job.{name}": between(low, high) for name, low, high in job_rules.BOUNDS},
    "Job.name": text(names.JOB_NAME_MAX, least=1),
    "Job.description": text(job_rules.DESCRIPTION_MAX),
    "Job.group": text(names.GROUP_NAME_MAX, pattern="^[A-Za-z0-9 _-]*$"),
    "Job.run_as": text(job_rules.RUN_AS_MAX),
    "Job.concurrency_key": text(params_text.KEY_MAX),
    "Job.tags": {
        "maxItems": names.TAGS_MAX,
        "items": text(names.TAG_MAX, least=1, pattern="^[^,]*$"),
    },
    "Job.labels": {
        "maxProperties": names.LABELS_MAX,
        "propertyNames": text(
            names.LABEL_KEY_MAX,
            pattern=r"^(?!fact\.)[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$",
        ),
        "additionalProperties": text(names.LABEL_VALUE_MAX, pattern="^[^,()=!]*$"),
    },
    "Job.retry_on": {
        "maxItems": job_rules.RETRY_ON_MAX,
        "items": {"pattern": f"^(failed|timed_out|{_EXIT_CODE})$"},
    },
    "Job.parameters": {"maxItems": parameters.PARAMETERS_MAX},
    "Parameter.name": text(parameters.NAME_MAX, pattern=f"^{_NAME}$"),
    "Parameter.options": {"maxItems": parameters.OPTIONS_MAX},
    "Parameter.description": text(parameters.DESCRIPTION_MAX),
    "IntervalSchedule.interval_secs": between(1, job_rules.YEAR_SECS),
    "AgentTarget.agent_id": text(job_rules.AGENT_REF_MAX, least=1),
    "TaggedTarget.tag": text(names.TAG_MAX, least=1, pattern="^[^,]*$"),
    "ShellTask.command": text(task_rules.COMMAND_BYTES_MAX, least=1),
    "ShellTask.working_dir": text(task_rules.PATH_BYTES_MAX, pattern=r"^($|/|\{\{)"),
    "ShellTask.env": {
        "maxProperties": task_rules.ENV_MAX,
        "propertyNames": {"pattern": f"^(?!KRONFORCE_){_NAME}$"},
    },
    "NoopTask.message": text(task_rules.NOOP_MESSAGE_BYTES_MAX),
    "NoopTask.sleep_ms": between(0, task_rules.NOOP_SLEEP_MS_MAX),
    "NoopTask.output_bytes": between(0, task_rules.NOOP_OUTPUT_BYTES_MAX),
    "NoopTask.exit_code": between(0, task_rules.EXIT_CODE_MAX),
    "HttpTask.url": text(urls.URL_BYTES_MAX, least=1),
    "HttpTask.headers": {"maxProperties": headers.HEADERS_MAX},
    "HttpTask.body": text(headers.BODY_BYTES_MAX),
    "HttpTask.expect_status": between(http_rules.STATUS_MIN, http_rules.STATUS_MAX),
    "HttpTask.max_redirects": between(0, http_rules.REDIRECTS_MAX),
    "HttpTask.max_response_bytes": between(0, http_rules.RESPONSE_BYTES_MAX),
    "HttpTls.ca_pem": text(http_rules.PEM_BYTES_MAX),
    "HttpTls.client_certificate_pem": text(http_rules.PEM_BYTES_MAX),
    "HttpTls.client_key_pem": text(http_rules.PEM_BYTES_MAX),
}


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    written = json.dumps(job_schema(contract_comments()), indent=1, ensure_ascii=False) + "\n"
    if not target.exists() or target.read_text(encoding="utf-8") != written:
        target.write_text(written, encoding="utf-8")


def job_schema(comments: Mapping[str, str]) -> dict[str, Any]:
    """The schema of a job file's document."""
    keywords = {f"{PACKAGE}.{name}": {**limits} for name, limits in LIMITS.items()}
    for name, comment in comments.items():
        if "Output only" in comment:
            keywords[name] = {**keywords.get(name, {}), "readOnly": True}
    required = {name for name, comment in comments.items() if is_required(comment)}
    notes = Notes(
        comments=comments, keywords=keywords, required=frozenset(required), closed_enums=True
    )
    made = schema(Job.DESCRIPTOR, notes)
    return {"$schema": made.pop("$schema"), "title": "A job of Kronforce", **made}


def is_required(comment: str) -> bool:
    return "Required." in comment or comment.startswith("Exactly one.")


def contract_comments() -> dict[str, str]:
    """The comments on messages, fields, unions, enum values and methods, by full name.

    A value of an enum goes by the enum's name and its number.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes()).file
    return {
        name: said
        for file in files
        if file.package == PACKAGE
        for location in file.source_code_info.location
        if (said := _paragraphs(location.leading_comments))
        for name in _named(file, list(location.path))
    }


def _named(file: descriptor_pb2.FileDescriptorProto, path: list[int]) -> Iterator[str]:
    """The full name of what a comment stands before; nothing for what nobody shows."""
    match path:
        case [kind, index] if kind == _MESSAGES:
            yield f"{PACKAGE}.{file.message_type[index].name}"
        case [kind, index, part, inner] if kind == _MESSAGES and part in (_FIELDS, _ONEOFS):
            message = file.message_type[index]
            of = message.field if part == _FIELDS else message.oneof_decl
            yield f"{PACKAGE}.{message.name}.{of[inner].name}"
        case [kind, index, part, inner] if kind == _ENUMS and part == _VALUES:
            enum = file.enum_type[index]
            yield f"{PACKAGE}.{enum.name}.{enum.value[inner].number}"
        case [kind, index] if kind == _SERVICES:
            yield f"{PACKAGE}.{file.service[index].name}"
        case [kind, index, part, inner] if kind == _SERVICES and part == _METHODS:
            service = file.service[index]
            yield f"{PACKAGE}.{service.name}.{service.method[inner].name}"


def _paragraphs(comment: str) -> str:
    return "\n\n".join(" ".join(each.split()) for each in comment.strip().split("\n\n"))


if __name__ == "__main__":
    main()
