"""The webhooks of the controller in memory (`api_server.py`)."""

# ruff: noqa: N802 - methods are named as the contract names them

from __future__ import annotations

import secrets
from collections.abc import Callable

import grpc

from kronforce.v1 import webhook_pb2, webhook_service_pb2, webhook_service_pb2_grpc
from kronforce.v1.job_pb2 import Job
from tests.fakes.api.refused import Refused


class FakeWebhooks(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Keeps them by their job's name."""

    def __init__(self, find_job: Callable[[str], Job]) -> None:
        self._job = find_job
        self.public_url = ""
        self.webhooks: dict[str, webhook_pb2.Webhook] = {}

    async def EnableWebhook(self, request, context):
        job = self._job(request.job_id)
        if job.name in self.webhooks:
            raise Refused(
                grpc.StatusCode.ALREADY_EXISTS, "WEBHOOK_EXISTS", f"job {job.name!r} has a webhook"
            )
        made = webhook_pb2.Webhook(
            job_id=job.id,
            job_name=job.name,
            hmac=request.hmac,
            body_as=request.body_as,
            created_by="tester",
        )
        made.created_at.GetCurrentTime()
        self.webhooks[job.name] = made
        return self._issued(made)

    async def GetWebhook(self, request, context):
        return self._find(request.job_id)

    async def ListWebhooks(self, request, context):
        found = [each for _, each in sorted(self.webhooks.items())]
        return webhook_service_pb2.ListWebhooksResponse(
            webhooks=found[: request.page_size], total=len(found)
        )

    async def RotateWebhookToken(self, request, context):
        found = self._find(request.job_id)
        found.rotated_at.GetCurrentTime()
        return self._issued(found)

    async def DisableWebhook(self, request, context):
        del self.webhooks[self._find(request.job_id).job_name]
        return webhook_service_pb2.DisableWebhookResponse()

    def _find(self, ref: str) -> webhook_pb2.Webhook:
        name = self._job(ref).name
        if name not in self.webhooks:
            raise Refused(
                grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND", f"job {name!r} has no webhook"
            )
        return self.webhooks[name]

    def _issued(self, webhook):
        token = f"kfw_{secrets.token_urlsafe(32)}"
        webhook.token_prefix = token[:12]
        return webhook_service_pb2.IssuedWebhook(
            webhook=webhook,
            token=token,
            path=f"/api/webhooks/{token}",
            url=self.public_url and f"{self.public_url}/api/webhooks/{token}",
            secret="kfs_secret" if webhook.hmac else "",
        )
