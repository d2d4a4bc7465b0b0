"""Webhooks: URLs that fire jobs without a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kronforce.v1 import webhook_service_pb2 as pb
from kronforce.v1.webhook_pb2 import WEBHOOK_BODY_ENVELOPE, Webhook, WebhookBody
from kronforce.v1.webhook_service_pb2_grpc import WebhookServiceStub
from kronforce_client.calls import Caller
from kronforce_client.paging import pages
from kronforce_client.streams import Stream

if TYPE_CHECKING:
    from kronforce.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub


class Webhooks:
    """`kf.webhooks`. Every `job` takes an id or an exact name."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._stub: WebhookServiceAsyncStub = WebhookServiceStub(caller.channel)

    async def enable(
        self,
        job: str,
        *,
        hmac: bool = False,
        body_as: WebhookBody.ValueType = WEBHOOK_BODY_ENVELOPE,
        timeout_secs: float | None = None,
    ) -> pb.IssuedWebhook:
        """Give a job a webhook; with `hmac` one whose deliveries must be signed.

        The contract (WebhookService.EnableWebhook): Gives a job a webhook. Its token, and with
        `hmac` its secret, are in this reply and never again. A job that has one already is
        WEBHOOK_EXISTS.
        """
        return await self._caller.unary(
            self._stub.EnableWebhook,
            pb.EnableWebhookRequest(job_id=job, hmac=hmac, body_as=body_as),
            timeout_secs=timeout_secs,
            idempotent=False,
        )

    async def get(self, job: str, *, timeout_secs: float | None = None) -> Webhook:
        """A job's webhook; never its token or secret.

        The contract (WebhookService.GetWebhook): Reads a job's webhook; never its token or secret.
        WEBHOOK_NOT_FOUND where it has none.
        """
        request = pb.GetWebhookRequest(job_id=job)
        return await self._caller.unary(self._stub.GetWebhook, request, timeout_secs=timeout_secs)

    async def page(
        self, *, page_size: int = 100, page_token: str = "", timeout_secs: float | None = None
    ) -> pb.ListWebhooksResponse:
        """One page of the webhooks of all jobs, by the job's name."""
        request = pb.ListWebhooksRequest(page_size=page_size, page_token=page_token)
        return await self._caller.unary(self._stub.ListWebhooks, request, timeout_secs=timeout_secs)

    def list(self) -> Stream[Webhook]:
        """Every webhook of a job that the key may see, fetched page by page."""

        async def fetch(token: str) -> tuple[Sequence[Webhook], str]:
            page = await self.page(page_token=token)
            return page.webhooks, page.next_page_token

        return Stream(pages(fetch))

    async def rotate(self, job: str, *, timeout_secs: float | None = None) -> pb.IssuedWebhook:
        """Give a job's webhook a new token."""
        return await self._caller.unary(
            self._stub.RotateWebhookToken,
            pb.RotateWebhookTokenRequest(job_id=job),
            timeout_secs=timeout_secs,
            idempotent=False,
        )

    async def disable(self, job: str, *, timeout_secs: float | None = None) -> None:
        """End a job's webhook for good."""
        await self._caller.unary(
            self._stub.DisableWebhook,
            pb.DisableWebhookRequest(job_id=job),
            timeout_secs=timeout_secs,
            idempotent=False,
        )

    async def fire(
        self,
        token: str,
        body: bytes = b"",
        *,
        signature: str = "",
        delivery_id: str = "",
        timeout_secs: float | None = None,
    ) -> pb.FireWebhookResponse:
        """Deliver to a webhook; with a `delivery_id` it is tried again where that may help.

        The contract (WebhookService.FireWebhook): Takes a delivery and fires the job, with trigger
        `webhook`; over HTTP the answer is 202. Needs no key: the token is one.

        Refused: WEBHOOK_NOT_FOUND for a token that is unknown, replaced or disabled, all alike;
        BAD_SIGNATURE; INVALID_FIELD for a body or params that the job does not take;
        OUTSIDE_WINDOW; JOB_PAUSED; REQUEST_ID_REUSED for a delivery id that came before with other
        content. 20 wrong tokens or signatures a minute from one address are OVERLOADED.
        """
        request = pb.FireWebhookRequest(
            token=token, body=body, signature=signature, delivery_id=delivery_id
        )
        return await self._caller.unary(
            self._stub.FireWebhook,
            request,
            timeout_secs=timeout_secs,
            idempotent=bool(delivery_id),
        )
