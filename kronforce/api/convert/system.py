"""What waits longest, as a message."""

from __future__ import annotations

from kronforce.api.convert.instants import stamp
from kronforce.core import ids
from kronforce.store.status import Oldest
from kronforce.v1.system_service_pb2 import OldestWaiting


def oldest_message(oldest: Oldest) -> OldestWaiting:
    """The execution that waits longest."""
    return OldestWaiting(
        execution_id=ids.to_text(oldest.execution_id),
        run_id=ids.to_text(oldest.run_id),
        job_name=oldest.job_name,
        since=stamp(oldest.since),
        state_reason=oldest.state_reason,
    )
