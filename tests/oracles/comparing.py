"""Our engine against the walks and cronsim: every difference it has around a change of clocks."""

from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

from kronforce.core.schedules.cron import parse_cron
from kronforce.core.schedules.zones import (
    DEFAULT_RULE,
    DstFold,
    DstGap,
    DstRule,
    count_fires,
    left_out_between,
    next_due,
)
from tests.oracles.cron_walk import read
from tests.oracles.zone_walk import HOUR, SECOND, Change, walk, watch

AROUND = timedelta(hours=36)
TICK = timedelta(microseconds=1)
RULES = [DstRule(gap=gap, fold=fold) for gap in DstGap for fold in DstFold]


class Around:
    """The three days around a change of a zone's clocks."""

    def __init__(self, zone: tzinfo, change: Change) -> None:
        self.zone = zone
        self.change = change
        self.begin, self.end = change.at - AROUND, change.at + AROUND
        self._clocks = watch(zone, self.begin, self.end)

    def differences(self, expression: str, rule: DstRule) -> list[str]:
        """What we say and the walk does not, or the reverse."""
        fires, left_out = walk(
            read(expression),
            self._clocks,
            gap=rule.gap.name.lower(),
            fold=rule.fold.name.lower(),
        )
        ours, gaps = self._ours(expression, rule)
        cron, before, last = parse_cron(expression), self.begin - TICK, self.end - TICK
        counted = count_fires(cron, before, last, self.zone, rule)
        listed = {
            due.at: due.left_out for due in left_out_between(cron, before, last, self.zone, rule)
        }
        found = []
        if ours != fires:
            found.append(f"fires {sorted(set(ours) ^ set(fires))[:3]}")
        if counted != len(fires):
            found.append(f"counted {counted}, there are {len(fires)}")
        if not gaps == listed == left_out:
            found.append(f"left out {gaps} and {listed}, there are {left_out}")
        return [f"{expression} {self.zone} {rule}: {each}" for each in found]

    def cronsim_differences(self, expression: str) -> list[str]:
        """The same against cronsim, which knows two rules and no others.

        With six fields it follows elapsed time always: for us that is a line whose hour begins
        with a star, or a fixed one that skips the gap and fires both times. With five it does for
        fixed times what is our default, unless the minute begins with a star.
        """
        second, minute, hour, *_ = expression.split()
        found = []
        if not self.cronsim_steps_over():
            rule = DstRule(gap=DstGap.SKIP, fold=DstFold.BOTH)
            found += self._against(CronSim(expression, self._start()), expression, rule)
        if second == "0" and "*" not in (minute[0], hour[0]):
            five = expression.partition(" ")[2]
            found += self._against(CronSim(five, self._start()), expression, DEFAULT_RULE)
        return found

    def cronsim_steps_over(self) -> bool:
        """Where cronsim loses fires: what it does with six fields, and we do not copy.

        It looks for an hour by steps of an hour, so it may step over a change of another size, and
        never ends where one comes within an hour (Chatham's at 02:45). And it begins a day at
        midnight: where the clocks leave midnight out it begins an hour late.
        """
        change = self.change
        gone, back = change.at + change.before, change.at + change.after
        midnight_is_gone = gone < back and (gone.date() != back.date() or gone.hour == 0)
        odd = abs(change.after - change.before) != HOUR or gone.minute != 0
        return odd or midnight_is_gone

    def _start(self) -> datetime:
        return (self.begin - SECOND).astimezone(self.zone)

    def _against(self, theirs: CronSim, expression: str, rule: DstRule) -> list[str]:
        ours, _ = self._ours(expression, rule)
        found = []
        for at in theirs:
            if at.astimezone(UTC) >= self.end:
                break
            found.append(at.astimezone(UTC))
        if ours == found:
            return []
        return [f"{expression} {self.zone} {rule}: {sorted(set(ours) ^ set(found))[:3]}"]

    def _ours(self, expression: str, rule: DstRule) -> tuple[list[datetime], dict[datetime, int]]:
        cron = parse_cron(expression)
        fires: list[datetime] = []
        gaps: dict[datetime, int] = {}
        due = next_due(cron, self.begin - TICK, self.zone, rule)
        while due is not None and due.at < self.end:
            if due.left_out:
                gaps[due.at] = due.left_out
            else:
                fires.append(due.at)
            due = next_due(cron, due.at, self.zone, rule)
        return fires, gaps
