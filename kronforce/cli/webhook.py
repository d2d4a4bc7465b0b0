"""`webhook enable`, `list`, `get`, `rotate`, `disable`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from google.protobuf.timestamp_pb2 import Timestamp

from kronforce.cli.missing import naming_similar
from kronforce.cli.session import Session, current
from kronforce.cli.show import Column, facts, is_data, show_list, show_row
from kronforce.cli.table import Gives
from kronforce.cli.times import absolute, relative
from kronforce.v1.webhook_pb2 import Webhook, WebhookBody
from kronforce.v1.webhook_service_pb2 import DisableWebhookResponse, IssuedWebhook

Switch = Annotated[bool, Parameter(negative=())]


def enable(
    job: str,
    /,
    *,
    hmac: Switch = False,
    body: Literal["envelope", "params", "ignored"] = "envelope",
) -> None:
    """Give a job a URL that fires it. It is shown now and never again.

    Parameters
    ----------
    job
        The job's name or id.
    hmac
        Deliveries must be signed; the secret for that is shown too.
    body
        envelope: senders write {"params": {…}}; params: the whole body is the run's params, of
        a job that declares parameters only those; ignored: it is not looked at.
    """
    session = current()
    body_as = WebhookBody.Value(f"WEBHOOK_BODY_{body.upper()}")
    with session.client() as client, naming_similar(client, job=job):
        issued = client.webhooks.enable(job, hmac=hmac, body_as=body_as)
        _show(session, issued, client.connection.http)


def get(job: str, /) -> None:
    """A job's webhook; never its URL or secret.

    Parameters
    ----------
    job
        The job's name or id.
    """
    session = current()
    with session.client() as client, naming_similar(client, job=job):
        webhook = client.webhooks.get(job)
    if is_data(session):
        show_row(session, webhook, name=_job)
        return
    utc = session.settings.utc
    rotated = webhook.HasField("rotated_at")
    facts(
        session,
        [
            ("job", webhook.job_name),
            ("url", f"…/api/webhooks/{webhook.token_prefix}…"),
            ("signed", "required" if webhook.hmac else "not required"),
            ("body", body_word(webhook)),
            ("enabled", f"{absolute(webhook.created_at, utc=utc)} by {webhook.created_by}"),
            ("rotated", absolute(webhook.rotated_at, utc=utc) if rotated else ""),
        ],
    )


def list_webhooks(*, limit: int = 100) -> None:
    """The webhooks of all jobs, by the job's name.

    Parameters
    ----------
    limit
        At most this many, up to 1,000.
    """
    session = current()
    with session.client() as client:
        page = client.webhooks.page(page_size=limit)
    show_list(session, page.webhooks, _columns(session), name=_job, reply=page)
    if page.next_page_token:
        session.say(f"{page.total} in all: --limit shows more")


def rotate(job: str, /, *, yes: Switch = False) -> None:
    """Give a webhook a new URL, and a new secret if it has one; the old ones end at once.

    Parameters
    ----------
    job
        The job's name or id.
    yes
        Do not ask.
    """
    session = current()
    if not yes:
        session.ask(f'End the URL that fires "{job}" now, and make another?', "--yes")
    with session.client() as client, naming_similar(client, job=job):
        issued = client.webhooks.rotate(job)
        _show(session, issued, client.connection.http)


def disable(job: str, /, *, yes: Switch = False) -> None:
    """End a job's webhook for good.

    Parameters
    ----------
    job
        The job's name or id.
    yes
        Do not ask.
    """
    session = current()
    if not yes:
        session.ask(f'End the URL that fires "{job}" for good?', "--yes")
    with session.client() as client, naming_similar(client, job=job):
        client.webhooks.disable(job)
    if is_data(session):
        show_row(session, DisableWebhookResponse(), name=lambda _: job)
        return
    print(f"webhook of {job} disabled")


def body_word(webhook: Webhook) -> str:
    """`envelope`, `params`, `ignored`."""
    return WebhookBody.Name(webhook.body_as).removeprefix("WEBHOOK_BODY_").lower()


def _columns(session: Session) -> list[Column]:
    now, utc = session.clock.now(), session.settings.utc

    def of_token(webhook: Webhook) -> Timestamp:
        has_new = webhook.HasField("rotated_at")
        return webhook.rotated_at if has_new else webhook.created_at

    return [
        Column(title="JOB", text=_job, gives=Gives.NAME),
        Column(title="TOKEN", text=lambda webhook: f"{webhook.token_prefix}…"),
        Column(title="SIGNED", text=lambda webhook: "required" if webhook.hmac else "no"),
        Column(title="BODY", text=body_word),
        Column(
            title="SINCE",
            text=lambda webhook: relative(of_token(webhook), now),
            plain=lambda webhook: absolute(of_token(webhook), utc=utc),
        ),
        Column(title="ENABLED BY", text=lambda webhook: str(webhook.created_by), gives=Gives.NAME),
    ]


def _job(webhook: Webhook) -> str:
    return str(webhook.job_name)


def _show(session: Session, issued: IssuedWebhook, http: str) -> None:
    """What is shown once, and how to try it."""
    url = issued.url or f"{http}{issued.path}"
    if is_data(session):
        show_row(session, issued, name=lambda _: url)
        return
    facts(session, [("url", url), ("secret", issued.secret)])
    whole = url != issued.path
    if not whole:
        session.say("the path is on the controller's HTTP address, see --bind and --public-url")
    session.say("nothing of this is shown again; try it with")
    session.say(f"  {_curl(issued, url if whole else f'https://CONTROLLER{issued.path}')}")


def _curl(issued: IssuedWebhook, url: str) -> str:
    """A delivery from a shell; of a signed one only openssl's part is left to say."""
    content = "-H 'Content-Type: application/json' -d '{}'"
    if not issued.webhook.hmac:
        return f"curl {content} {url}"
    signature = f"$(printf '{{}}' | openssl dgst -sha256 -hmac '{issued.secret}' -r | cut -c1-64)"
    return f'curl {content} -H "X-Hub-Signature-256: sha256={signature}" {url}'
