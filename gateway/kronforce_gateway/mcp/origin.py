"""Pages of other sites do not get in: what a browser says of where a call comes from is checked.

By which name it came was checked at the door, so a page of the same name is ours. Programs send no
Origin and are asked for their key alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from http import HTTPStatus

from kronforce_gateway.failures import Failure
from kronforce_gateway.front.hosts import place_of


def check(headers: Mapping[bytes, bytes], allowed: Collection[str] = ()) -> None:
    """Raise Failure for a call that a page of another site makes. `allowed` are its own names."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin:
        return
    host = headers.get(b"host", b"").decode("latin-1").lower()
    page = place_of(origin)
    if not page or (page != host and page.partition(":")[0] not in allowed):
        raise Failure(
            status=HTTPStatus.FORBIDDEN,
            error=(
                f"pages of {origin[:200]} may not call this; if they should, name their host with"
                " --allowed-hosts or --public-url"
            ),
            reason="WRONG_ORIGIN",
        )
