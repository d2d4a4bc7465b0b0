"""What the use cases of webhooks write, each as one function over one transaction.

A change and its audit entry are committed together. Tokens come here as hashes;
a secret comes open and is sealed here, under the key that is current in this
transaction: raising `variable_revision` first keeps that key in place until the
commit. Neither is in any error or entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kronforce.core import ids
from kronforce.core.access import Scope
from kronforce.engine.auditing import Resource, record
from kronforce.engine.trigger_requests import job_not_found
from kronforce.errors import Internal, InvalidArgument, WebhookExists, WebhookNotFound
from kronforce.security.envelope import Keyring
from kronforce.store import jobs, secret_keys, variables, webhooks
from kronforce.store.audit import Actor
from kronforce.store.database import Tx
from kronforce.store.jobs import JobRow
from kronforce.store.webhooks import WebhookRow
from kronforce.v1.webhook_pb2 import WebhookBody

_PLACE = b"webhooks.secret:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """A new token as the store keeps it, and its secret; None: deliveries are not signed."""

    token_hash: bytes
    token_prefix: str
    secret: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What all changes have in common."""

    scope: Scope
    author: Actor
    now: int
    keyring: Keyring


def enable(
    tx: Tx, change: Change, *, ref: str, webhook_id: bytes, issued: Issued, body_as: int
) -> WebhookRow:
    """Give a job a webhook. Raises JobNotFound, WebhookExists."""
    secret, secret_key = _sealed(tx, change, webhook_id, issued.secret)
    job = _job(tx, change.scope, ref)
    made = webhooks.insert_webhook(
        tx,
        job_key=job.key,
        id=webhook_id,
        token_hash=issued.token_hash,
        token_prefix=issued.token_prefix,
        secret=secret,
        secret_key=secret_key,
        body_as=body_as,
        actor=change.author.name,
        now=change.now,
    )
    if not made:
        raise WebhookExists(
            f"job {job.name!r} has a webhook already; give it a new token (kronforce webhook "
            f"rotate {job.name}), or disable it first",
            job=job.name,
        )
    row = _of_job(tx, change.scope, job)
    _record(tx, change, "webhook.enabled", row, after=_state(row))
    return row


def rotate(tx: Tx, change: Change, *, ref: str, issued: Issued) -> WebhookRow:
    """Give a webhook a new token, and a new secret if it has one. Raises WebhookNotFound."""
    # First, because it locks: whether there is a secret is read behind it.
    variables.raise_revision(tx)
    before = _of_job(tx, change.scope, _job(tx, change.scope, ref))
    wanted = issued.secret if before.secret is not None else None
    secret, secret_key = _sealed(tx, change, before.id, wanted)
    webhooks.replace_token(
        tx,
        before.job_key,
        token_hash=issued.token_hash,
        token_prefix=issued.token_prefix,
        secret=secret,
        secret_key=secret_key,
        now=change.now,
    )
    row = get(tx, change.scope, ref)
    _record(tx, change, "webhook.rotated", row, before=_state(before), after=_state(row))
    return row


def disable(tx: Tx, change: Change, *, ref: str) -> None:
    """End a job's webhook. Raises WebhookNotFound."""
    row = get(tx, change.scope, ref)
    webhooks.delete_of_job(tx, row.job_key)
    _record(tx, change, "webhook.disabled", row, before=_state(row))


def get(tx: Tx, scope: Scope, ref: str) -> WebhookRow:
    """A job's webhook. Raises JobNotFound, WebhookNotFound."""
    return _of_job(tx, scope, _job(tx, scope, ref))


def place_of(webhook_id: bytes) -> bytes:
    """What a secret is bound to: copied into another row it does not open."""
    return _PLACE + webhook_id


def _job(tx: Tx, scope: Scope, ref: str) -> JobRow:
    if not ref:
        raise InvalidArgument.of(("job_id", "is required: a job's id or exact name"))
    row = jobs.find_job(tx, scope, ref)
    if row is None:
        raise job_not_found(ref)
    return row


def _of_job(tx: Tx, scope: Scope, job: JobRow) -> WebhookRow:
    row = webhooks.find_of_job(tx, scope, job.key)
    if row is None:
        raise WebhookNotFound(
            f"job {job.name!r} has no webhook; see `kronforce webhook enable`", job=job.name
        )
    return row


def _sealed(
    tx: Tx, change: Change, webhook_id: bytes, secret: bytes | None
) -> tuple[bytes | None, str | None]:
    if secret is None:
        return None, None
    variables.raise_revision(tx)
    current = secret_keys.current_key(tx)
    if current is None:
        raise Internal("there is no key to write secrets under; restart the controller")
    sealed = change.keyring.key_of(current).seal(place_of(webhook_id), secret)
    return sealed, ids.to_text(current.id)


def _record(
    tx: Tx,
    change: Change,
    operation: str,
    row: WebhookRow,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    resource = Resource(
        type="webhook", id=ids.to_text(row.id), name=row.job_name, group=row.group_name
    )
    record(tx, change.author, change.now, operation, resource, before=before, after=after)


def _state(row: WebhookRow) -> dict[str, Any]:
    """As reads show it. How its token begins names it; the audit log masks what is called so."""
    return {
        "job": row.job_name,
        "prefix": row.token_prefix,
        "hmac": row.secret is not None,
        "body_as": WebhookBody.Name(row.body_as).removeprefix("WEBHOOK_BODY_").lower(),  # type: ignore[arg-type]  # as stored
    }
