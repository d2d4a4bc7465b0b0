"""What an agent says first, checked before its session begins."""

from __future__ import annotations

from kronforce.errors import InvalidArgument, ProtocolVersion
from kronforce.v1 import agent_service_pb2 as pb

PROTOCOL_VERSION = 1
MAX_SLOTS = 10_000
MAX_INVENTORY = 100_000


def skew_ms(hello: pb.Hello, now_us: int) -> int:
    """How far the agent's clock is ahead; 0 where it does not say."""
    return (hello.now.ToMicroseconds() - now_us) // 1000 if hello.HasField("now") else 0


def check_hello(hello: pb.Hello) -> None:
    """Raises ProtocolVersion or InvalidArgument."""
    if hello.protocol_version != PROTOCOL_VERSION:
        raise ProtocolVersion(
            f"this server speaks agent protocol {PROTOCOL_VERSION}, the agent "
            f"{hello.protocol_version}: use an agent of the server's version",
        )
    violations = []
    if not 16 <= len(hello.boot_id) <= 64:
        violations.append(("hello.boot_id", "16 to 64 characters"))
    if not 1 <= hello.slots <= MAX_SLOTS:
        violations.append(("hello.slots", f"1 to {MAX_SLOTS}"))
    if len(hello.inventory.items) > MAX_INVENTORY:
        violations.append(("hello.inventory", f"at most {MAX_INVENTORY} items"))
    if violations:
        raise InvalidArgument.of(*violations)
