"""Deliveries: a token, what was sent with it, and through the one door a run.

A delivery is fired for its webhook and not for a key: the principal is the
webhook, the scope is the group of its job, and what it may ask for is params.
It is an automatic trigger, so window and pause hold it back. The token is
hashed before anything else looks at it, and in nothing that is raised here.
"""

from __future__ import annotations

from dataclasses import dataclass

from kronforce.clock import Clock
from kronforce.core import ids
from kronforce.core.access import Role, Scope
from kronforce.engine.snapshots import JobSnapshots
from kronforce.engine.trigger_requests import MAX_REQUEST_ID
from kronforce.engine.triggering import WEBHOOK, Triggered, Triggering
from kronforce.engine.webhooks.bodies import params_in
from kronforce.engine.webhooks.changes import place_of
from kronforce.errors import (
    BadSignature,
    InvalidArgument,
    JobNotFound,
    KronforceError,
    WebhookNotFound,
)
from kronforce.security.envelope import Keyring
from kronforce.security.webhook_signature import WrongSignature, check_signature
from kronforce.store import webhooks
from kronforce.store.store import Store
from kronforce.store.webhooks import WebhookRow
from kronforce.v1.job_service_pb2 import TriggerJobRequest

# As the contract says; a larger event is a document, which belongs elsewhere.
BODY_MAX = 1 << 20

# GitHub asks so whether anybody answers.
PING = "ping"

SECOND = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What came, and from where."""

    token_hash: bytes
    body: bytes
    signature: str
    delivery_id: str
    event: str
    peer: str
    surface: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Webhook:
    """The principal of a delivery: `Caller` and `Actor`."""

    # Below zero, where no key's number is: request ids of both share a table.
    key: int
    name: str
    id: str
    peer: str
    surface: str


class Deliveries:
    """Fires jobs for whoever has a webhook's token."""

    def __init__(
        self, *, store: Store, clock: Clock, keyring: Keyring, triggering: Triggering,
        snapshots: JobSnapshots,
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._keyring = keyring
        self._triggering = triggering
        self._snapshots = snapshots

    async def fire(self, delivery: Delivery) -> Triggered | None:
        """The run; None for a ping. Raises WebhookNotFound, BadSignature, and what triggers do."""
        found = await self._store.read(webhooks.find_by_token, delivery.token_hash)
        if found is None:
            raise no_webhook()
        _check_size(delivery)
        request_id = self._verified(found, delivery)
        if delivery.event == PING:
            return None
        return await self._fired(found, delivery, request_id)

    def _verified(self, found: WebhookRow, delivery: Delivery) -> str:
        """The signature is right, or none is wanted; gives what the run is deduplicated by."""
        if found.secret is None:
            return delivery.delivery_id
        secret = self._keyring.open(place_of(found.id), found.secret)
        try:
            once = check_signature(
                secret,
                delivery.signature,
                body=delivery.body,
                delivery_id=delivery.delivery_id,
                now_secs=self._clock.now_us() // SECOND,
            )
        except WrongSignature as wrong:
            raise BadSignature(f"the delivery is refused: {wrong}") from None
        # What is signed with its instant fires once, also where nobody gave it a name.
        return delivery.delivery_id or once

    async def _fired(self, found: WebhookRow, delivery: Delivery, request_id: str) -> Triggered:
        job_id = ids.to_text(found.job_id)
        scope = Scope(
            principal_id=ids.to_text(found.id),
            role=Role.OPERATOR,
            groups=frozenset({found.group_name}),
        )
        await self._snapshots.load(scope, [job_id])
        job = self._snapshots.cached(job_id)
        if job is None:
            raise no_webhook()
        request = TriggerJobRequest(job_id=job_id, request_id=request_id)
        declared = None if job.parameters is None else job.parameters.names
        params = params_in(delivery.body, found.body_as, declared)
        if params is not None:
            request.params.CopyFrom(params)
        [outcome] = await self._triggering.trigger(
            scope, _principal(found, delivery), [request], trigger=WEBHOOK
        )
        if isinstance(outcome, KronforceError):
            # Deleted meanwhile, or moved: an id of a job is nothing that a sender knows.
            raise no_webhook() if isinstance(outcome, JobNotFound) else outcome
        return outcome


def no_webhook() -> WebhookNotFound:
    """The same for every token that fires nothing."""
    return WebhookNotFound(
        "there is no such webhook: its token is unknown, was replaced, or was disabled; "
        "`kronforce webhook get JOB` says how a job's begins"
    )


def _check_size(delivery: Delivery) -> None:
    if len(delivery.body) > BODY_MAX:
        raise InvalidArgument.of(
            ("body", f"has {len(delivery.body):,} bytes; at most {BODY_MAX:,}")
        )
    text = delivery.delivery_id
    # ASCII, because others' bytes are read in more than one way on their way through a header.
    if len(text) > MAX_REQUEST_ID or not (text.isascii() and text.isprintable()):
        problem = f"at most {MAX_REQUEST_ID} printable ASCII characters"
        raise InvalidArgument.of(("delivery_id", problem))


def _principal(found: WebhookRow, delivery: Delivery) -> _Webhook:
    return _Webhook(
        # A job's number is nobody else's ever: also a webhook that is enabled anew knows what
        # was delivered before.
        key=-found.job_key,
        name=f"webhook:{found.job_name}",
        id=ids.to_text(found.id),
        peer=delivery.peer,
        surface=delivery.surface,
    )
