"""Webhooks: from rows; neither token nor secret is in them."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp, stamp_or_none
from kronforce.core import ids
from kronforce.store.webhooks import WebhookRow
from kronforce.v1.webhook_pb2 import Webhook, WebhookBody


def webhook_message(row: WebhookRow) -> Webhook:
    """The contract's form."""
    return Webhook(
        job_id=ids.to_text(row.job_id),
        job_name=row.job_name,
        token_prefix=row.token_prefix,
        hmac=row.secret is not None,
        body_as=WebhookBody.ValueType(row.body_as),
        created_by=row.created_by,
        created_at=stamp(row.created_at),
        rotated_at=stamp_or_none(row.rotated_at),
    )
