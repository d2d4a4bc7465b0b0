# mypy: disable-error-code="override"
# Servicers take our Call where the generated base names grpc's context.
"""WebhookService: URLs that fire jobs, and what is sent there.

Firing needs no key, so what throttles wrong keys throttles wrong tokens too,
before the store is asked. A token that has fired passes all the same: another
sender behind the same address does not lock it out.
"""

from __future__ import annotations

from kronforce.api.call import Call
from kronforce.api.convert.webhook import webhook_message
from kronforce.api.paging import Shape, next_token, read_page
from kronforce.api.throttle import Throttle
from kronforce.engine.webhooks.firing import Deliveries, Delivery
from kronforce.engine.webhooks.managing import Shown, Webhooks
from kronforce.errors import BadSignature, WebhookNotFound
from kronforce.security import keys
from kronforce.v1 import webhook_service_pb2 as pb
from kronforce.v1 import webhook_service_pb2_grpc
from kronforce.v1.webhook_pb2 import Webhook

# Hashes of tokens remembered because they were good; beyond it the oldest is throttled like any.
REMEMBERED = 10_000

_BY_NAME: Shape = (str,)

PATH = "/api/webhooks/"


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Thin: use cases change and fire. `throttle` is the one that counts wrong keys."""

    def __init__(
        self, *, webhooks: Webhooks, deliveries: Deliveries, throttle: Throttle, public_url: str
    ) -> None:
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._throttle = throttle
        # How others reach the gateway; empty if nobody has said so.
        self._public_url = public_url.rstrip("/")
        self._good: dict[bytes, None] = {}

    async def EnableWebhook(self, request: pb.EnableWebhookRequest, call: Call) -> pb.IssuedWebhook:
        shown = await self._webhooks.enable(
            call.scope,
            call.principal,
            request.job_id,
            signed=request.hmac,
            body_as=request.body_as,
        )
        return self._issued(shown)

    async def GetWebhook(self, request: pb.GetWebhookRequest, call: Call) -> Webhook:
        return webhook_message(await self._webhooks.get(call.scope, request.job_id))

    async def ListWebhooks(
        self, request: pb.ListWebhooksRequest, call: Call
    ) -> pb.ListWebhooksResponse:
        page = await self._webhooks.list(call.scope, read_page(request, _BY_NAME))
        return pb.ListWebhooksResponse(
            webhooks=[webhook_message(row) for row in page.items],
            next_page_token=next_token(request, page),
            total=page.total,
            total_exact=page.total_exact,
        )

    async def RotateWebhookToken(
        self, request: pb.RotateWebhookTokenRequest, call: Call
    ) -> pb.IssuedWebhook:
        shown = await self._webhooks.rotate(call.scope, call.principal, request.job_id)
        return self._issued(shown)

    async def DisableWebhook(
        self, request: pb.DisableWebhookRequest, call: Call
    ) -> pb.DisableWebhookResponse:
        await self._webhooks.disable(call.scope, call.principal, request.job_id)
        return pb.DisableWebhookResponse()

    async def FireWebhook(
        self, request: pb.FireWebhookRequest, call: Call
    ) -> pb.FireWebhookResponse:
        token_hash = keys.hash_of(request.token)
        if token_hash not in self._good:
            self._throttle.check(call.peer)
        try:
            fired = await self._deliveries.fire(_delivery(token_hash, request, call))
        except (WebhookNotFound, BadSignature) as error:
            self._throttle.failed(call.peer)
            if isinstance(error, WebhookNotFound):
                self._good.pop(token_hash, None)
            raise
        self._remember(token_hash)
        if fired is None:
            return pb.FireWebhookResponse()
        call.log["run"] = fired.run_id
        return pb.FireWebhookResponse(
            run_id=fired.run_id, execution_ids=fired.execution_ids, replayed=fired.replayed
        )

    def _issued(self, shown: Shown) -> pb.IssuedWebhook:
        token = shown.token.reveal()
        path = PATH + token
        return pb.IssuedWebhook(
            webhook=webhook_message(shown.webhook),
            token=token,
            path=path,
            secret="" if shown.secret is None else shown.secret.reveal(),
            url=self._public_url and self._public_url + path,
        )

    def _remember(self, token_hash: bytes) -> None:
        if token_hash not in self._good and len(self._good) >= REMEMBERED:
            del self._good[next(iter(self._good))]
        self._good[token_hash] = None


def _delivery(token_hash: bytes, request: pb.FireWebhookRequest, call: Call) -> Delivery:
    return Delivery(
        token_hash=token_hash,
        body=request.body,
        signature=request.signature,
        delivery_id=request.delivery_id,
        event=request.event,
        peer=call.peer,
        surface=call.surface,
    )
