"""A schedule's next instants, for people and programs."""

from __future__ import annotations

from datetime import timedelta

from kronforce.api.convert.instants import stamp
from kronforce.clock import to_us
from kronforce.core.job_preview import Preview, Previewed
from kronforce.v1.job_pb2 import PreviewedFire
from kronforce.v1.job_service_pb2 import PreviewScheduleResponse


def preview_message(preview: Preview, timezone: str) -> PreviewScheduleResponse:
    """All of it; `timezone` is the zone's name."""
    return PreviewScheduleResponse(
        fires=[_fire(fire) for fire in preview.fires], timezone=timezone, note=preview.note
    )


def _fire(fire: Previewed) -> PreviewedFire:
    offset = fire.local.utcoffset() or timedelta()
    return PreviewedFire(
        nominal_at=stamp(to_us(fire.at)),
        fire_at=None if fire.fire_at is None else stamp(to_us(fire.fire_at)),
        local_time=fire.local.isoformat(timespec="seconds"),
        utc_offset_secs=int(offset.total_seconds()),
        zone_abbreviation=fire.local.tzname() or "",
        skipped_reason=fire.reason,
        note=fire.note,
    )
