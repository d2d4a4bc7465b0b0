"""What an agent says first, checked before its session begins."""

from __future__ import annotations

from kronforce.errors import InvalidArgument, ProtocolVersion
from kronforce.v1 import agent_service_pb2 as pb

PROTOCOL_VERSION = 1
MAX_SLOTS = 10_000
MAX_INVENTORY = 100_000
# A clock that is further off says no more than that it is wrong.
MAX_SKEW_MS = 1_000 * 365 * 86_400 * 1_000
# A fence beyond this came from no store, whatever was restored: believed, it would bring the
# counter of all to the end of its 64 bits, and nothing could be assigned any more.
MAX_FENCE = 1 << 62


def skew_ms(hello: pb.Hello, now_us: int) -> int:
    """How far the agent's clock is ahead; 0 where it does not say."""
    if not hello.HasField("now"):
        return 0
    # Not by the library's instants: it refuses years that no calendar has.
    said_us = hello.now.seconds * 1_000_000 + hello.now.nanos // 1_000
    return min(MAX_SKEW_MS, max(-MAX_SKEW_MS, (said_us - now_us) // 1_000))


def highest_fence(hello: pb.Hello) -> int:
    """The newest assignment that the agent knows of; 0 where it knows none."""
    fences = (item.fence for item in hello.inventory.items)
    return max((fence for fence in fences if fence <= MAX_FENCE), default=0)


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
