"""Who this agent is: the credential that a join token once became, and where it is kept.

The file holds the agent's id, its credential and the CA that the token pinned; mode 0600, written
whole or not at all. The join token itself is never written.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc.aio

from kronforce.v1 import agent_pb2, agent_service_pb2_grpc
from kronforce.v1 import agent_service_pb2 as pb
from kronforce_agent.config import AgentConfig
from kronforce_agent.durable import sync_folder

REGISTER_TIMEOUT_SECS = 10.0
"""For one attempt; the caller tries again."""
TOKEN_PARTS_WITH_CA = 3


class EnrolmentError(Exception):
    """This agent cannot become one of the controller's; the message says the way out."""


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What the controller knows this agent by."""

    agent_id: str
    secret: str
    ca_pem: str = ""

    def __repr__(self) -> str:
        return f"Credential(agent_id={self.agent_id!r})"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.secret}"),)


def load(folder: Path) -> Credential | None:
    """The stored credential. Raises EnrolmentError if the file is not one."""
    path = _path(folder)
    try:
        found = Credential(**json.loads(path.read_text()))
        if not all(isinstance(each, str) for each in asdict(found).values()):
            raise TypeError("not all of it is text")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise EnrolmentError(
            f"{path} cannot be read ({error}); remove it and start with a new join token"
        ) from error
    return found


def save(folder: Path, credential: Credential) -> None:
    """Keep it, durable before it counts: the join token may be used up."""
    path = _path(folder)
    draft = path.with_suffix(".new")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(credential)))
        file.flush()
        os.fsync(fd)
    draft.rename(path)
    sync_folder(folder)


def pinned_ca(token: str) -> str:
    """The CA certificate that a join token carries, as PEM; empty if it has none."""
    parts = token.split(".")
    if len(parts) < TOKEN_PARTS_WITH_CA:
        return ""
    encoded = parts[2]
    try:
        der = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError as error:
        raise EnrolmentError("the join token is damaged: copy it whole") from error
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


async def register(
    channel: grpc.aio.Channel, config: AgentConfig, token: str, facts: agent_pb2.AgentFacts
) -> Credential:
    """Turn the join token into a credential. Raises grpc.aio.AioRpcError."""
    request = pb.RegisterAgentRequest(
        name=config.name,
        tags=config.tags,
        labels=config.labels,
        hostname=facts.hostname,
        agent_type=agent_pb2.AGENT_TYPE_STANDARD,
        join_token=token,
        facts=facts,
        slots=config.slots,
    )
    stub: agent_service_pb2_grpc.AgentServiceAsyncStub = agent_service_pb2_grpc.AgentServiceStub(
        channel
    )
    reply = await stub.RegisterAgent(request, timeout=REGISTER_TIMEOUT_SECS)
    return Credential(agent_id=reply.agent_id, secret=reply.credential, ca_pem=pinned_ca(token))


def _path(folder: Path) -> Path:
    return folder / "credential"
