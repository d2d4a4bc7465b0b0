"""The use cases of a job's webhook: enable, read, rotate, disable.

Tokens and secrets are made here and leave in the reply alone; the store gets a
hash of the one and the other sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.core.access import Scope
from kronforce.engine.webhooks import changes
from kronforce.engine.webhooks.changes import Change, Issued
from kronforce.errors import InvalidArgument
from kronforce.security import keys
from kronforce.security.envelope import Keyring
from kronforce.security.secret import Secret
from kronforce.store import webhooks
from kronforce.store.audit import Actor
from kronforce.store.paging import Page, PageRequest
from kronforce.store.store import Store
from kronforce.store.webhooks import WebhookRow
from kronforce.v1.webhook_pb2 import WEBHOOK_BODY_ENVELOPE, WEBHOOK_BODY_UNSPECIFIED, WebhookBody


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A webhook with what is shown once. `secret` is None where deliveries are not signed."""

    webhook: WebhookRow
    token: Secret
    secret: Secret | None


class Webhooks:
    """What callers with a key do with webhooks."""

    def __init__(
        self, *, store: Store, clock: Clock, new_id: Callable[[], bytes], keyring: Keyring
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._keyring = keyring

    async def enable(
        self, scope: Scope, author: Actor, ref: str, *, signed: bool, body_as: int
    ) -> Shown:
        """Give a job a webhook."""
        if body_as not in WebhookBody.values():
            raise InvalidArgument.of(("body_as", "use envelope, params or ignored"))
        token, secret = keys.new_webhook_token(), keys.new_webhook_secret() if signed else None
        row = await self._store.write(
            changes.enable,
            self._change(scope, author),
            ref=ref,
            webhook_id=self._new_id(),
            issued=_issued(token, secret),
            body_as=WEBHOOK_BODY_ENVELOPE if body_as == WEBHOOK_BODY_UNSPECIFIED else body_as,
        )
        return Shown(webhook=row, token=token, secret=secret)

    async def rotate(self, scope: Scope, author: Actor, ref: str) -> Shown:
        """Give a job's webhook a new token, and a new secret where it is signed."""
        token, secret = keys.new_webhook_token(), keys.new_webhook_secret()
        row = await self._store.write(
            changes.rotate,
            self._change(scope, author),
            ref=ref,
            issued=_issued(token, secret),
        )
        return Shown(webhook=row, token=token, secret=None if row.secret is None else secret)

    async def disable(self, scope: Scope, author: Actor, ref: str) -> None:
        """End a job's webhook."""
        await self._store.write(changes.disable, self._change(scope, author), ref=ref)

    async def get(self, scope: Scope, ref: str) -> WebhookRow:
        """A job's webhook."""
        return await self._store.read(changes.get, scope, ref)

    async def list(self, scope: Scope, page: PageRequest) -> Page[WebhookRow]:
        """Those of all jobs that the scope may see."""
        return await self._store.read(webhooks.list_webhooks, scope, page=page)

    def _change(self, scope: Scope, author: Actor) -> Change:
        return Change(scope=scope, author=author, now=self._clock.now_us(), keyring=self._keyring)


def _issued(token: Secret, secret: Secret | None) -> Issued:
    return Issued(
        token_hash=keys.hash_of(token.reveal()),
        token_prefix=keys.webhook_prefix(token),
        secret=None if secret is None else secret.reveal().encode(),
    )
