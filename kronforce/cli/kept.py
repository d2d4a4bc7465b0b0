"""A process of `kronforce up` that is started again whenever it ends by itself.

One that does not live long is given longer pauses; there is no last attempt,
because the tasks that run meanwhile are worth more than an early end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kronforce.cli.children import Child

# Between an end and the next start: doubled while it does not live long.
RESTART_PAUSE_SECS = (1.0, 30.0)
LIVED_LONG_SECS = 10.0


class Kept:
    """The child that `child` is now; `keep` sees to it that there is one."""

    def __init__(
        self, child: Child, launch: Callable[[], Child], warn: Callable[[str], None]
    ) -> None:
        self.child = child
        self._launch = launch
        self._warn = warn

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        shortest, longest = RESTART_PAUSE_SECS
        pause = shortest
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            code = await asyncio.shield(self.child.ended)
            pause = shortest if loop.time() - began > LIVED_LONG_SECS else pause
            self._warn(
                f"the {self.child.name} ended (exit {code}); starting it again in {pause:.0f} s"
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            self.child = self._launch()
