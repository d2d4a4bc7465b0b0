"""The strict grammar of cron expressions: six fields, seconds first.

`sec min hour dom month dow`: `*`, values, names (`MON`, `JAN`), ranges, steps
(`*/5`, `1-30/5`, `5/10`), lists; Sunday is 0 or 7; in day of month `L` is the
last day; in day of week `5#2` is the second and `5L` the last Friday. Macros
stand for a whole line. Whatever is not written here is refused with the field
and a way out, rather than guessed at: libraries that guess fire at the wrong
time. Parsing only; `cron.py` says when.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Real expressions have some 20 characters; a list of all seconds has 171.
EXPRESSION_MAX = 500

MACROS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()  # noqa: SIM905 - reads better
_DAYS = "SUN MON TUE WED THU FRI SAT".split()  # noqa: SIM905 - reads better
_SUNDAY, _ALSO_SUNDAY = 0, 7

_VALUE = r"(?:[0-9]{1,2}|[A-Z]{3})"
_PART = re.compile(
    rf"(?:(?P<star>\*)|(?P<low>{_VALUE})(?:-(?P<high>{_VALUE}))?)(?:/(?P<step>\d{{1,4}}))?"
)
_NTH = re.compile(rf"(?P<day>{_VALUE})#(?P<nth>[1-5])")
_LAST = re.compile(rf"(?P<day>{_VALUE})L|L(?P<other>{_VALUE})")


class CronError(ValueError):
    """The expression is refused. `field` is 0–5, or None for the line as a whole.

    `instead` is the line that was probably meant, where there is one; it can be read.
    """

    def __init__(
        self, message: str, *, hint: str, field: int | None = None, instead: str = ""
    ) -> None:
        where = "" if field is None else f"field {field + 1} ({FIELDS[field].name}): "
        super().__init__(f"{where}{message}; {hint}")
        self.field = field
        self.hint = hint
        self.instead = instead


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One position of the line and what may stand in it."""

    index: int
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0

    @property
    def everything(self) -> int:
        return _mask(self.low, self.high, 1)


FIELDS = (
    Field(index=0, name="second", low=0, high=59),
    Field(index=1, name="minute", low=0, high=59),
    Field(index=2, name="hour", low=0, high=23),
    Field(index=3, name="day of month", low=1, high=31),
    Field(index=4, name="month", low=1, high=12, names=tuple(_MONTHS), first_name=1),
    Field(index=5, name="day of week", low=0, high=6, names=tuple(_DAYS)),
)
_SECOND, _MINUTE, _HOUR, _DOM, _MONTH, _DOW = FIELDS


@dataclass(frozen=True, kw_only=True, slots=True)
class CronFields:
    """A parsed line: bit n of a mask stands for the value n.

    `weekday_nth` holds (weekday, n) for `5#2`. `fixed_time` says that the hour
    field does not begin with `*`: the choices about DST apply to such lines.
    """

    seconds: int
    minutes: int
    hours: int
    days: int
    last_day: bool
    months: int
    weekdays: int
    weekday_nth: frozenset[tuple[int, int]]
    weekday_last: int
    any_day: bool
    any_weekday: bool
    fixed_time: bool


def parse_fields(expression: str) -> CronFields:
    """Read a line or a macro; raises CronError."""
    texts = _split(expression)
    day_parts, weekday_parts = texts[_DOM.index].split(","), texts[_DOW.index].split(",")
    plain_days = [part for part in day_parts if part != "L"]
    weekdays, nth, last = _parse_weekdays(weekday_parts)
    return CronFields(
        seconds=_parse_parts(_SECOND, texts[0].split(",")),
        minutes=_parse_parts(_MINUTE, texts[1].split(",")),
        hours=_parse_parts(_HOUR, texts[2].split(",")),
        days=_parse_parts(_DOM, plain_days),
        last_day=len(plain_days) < len(day_parts),
        months=_parse_parts(_MONTH, texts[4].split(",")),
        weekdays=weekdays,
        weekday_nth=nth,
        weekday_last=last,
        any_day=texts[3] == "*",
        any_weekday=texts[5] == "*",
        fixed_time=not texts[2].startswith("*"),
    )


def _split(expression: str) -> list[str]:
    """The six texts in upper case, macros resolved."""
    line = expression.strip()
    if len(line) > EXPRESSION_MAX:
        raise CronError(f"is longer than {EXPRESSION_MAX} characters", hint="write ranges or steps")
    if line.startswith("@"):
        if line.lower() not in MACROS:
            known = ", ".join(sorted(MACROS))
            raise CronError("is no macro", hint=f"known are {known}")
        line = MACROS[line.lower()]
    texts = line.upper().split()
    if len(texts) == 5:
        raise _without_seconds(line)
    if len(texts) != 6:
        raise CronError(
            f"has {len(texts)} fields instead of six",
            hint="write 'second minute hour day-of-month month day-of-week'",
        )
    return texts


def _without_seconds(line: str) -> CronError:
    """The classic form; its meaning here is the same with a second in front."""
    instead = f"0 {' '.join(line.split())}"
    message = "has 5 fields, cron here has 6 (seconds first)"
    try:
        parse_fields(instead)
    except CronError as error:
        return CronError(message, hint=f'"{instead}" would be refused as well: {error}')
    return CronError(message, hint=f'did you mean "{instead}"?', instead=instead)


def _parse_weekdays(parts: list[str]) -> tuple[int, frozenset[tuple[int, int]], int]:
    """Plain weekdays as a mask, `5#2` as pairs, `5L` as a mask."""
    plain: list[str] = []
    nth: set[tuple[int, int]] = set()
    last = 0
    for part in parts:
        if found := _NTH.fullmatch(part):
            nth.add((_weekday(found["day"]), int(found["nth"])))
        elif found := _LAST.fullmatch(part):
            last |= 1 << _weekday(found["day"] or found["other"])
        else:
            plain.append(part)
    return _parse_parts(_DOW, plain), frozenset(nth), last


def _weekday(text: str) -> int:
    return _value(_DOW, text) % 7


def _parse_parts(field: Field, parts: list[str]) -> int:
    """The mask of a field's parts; a bare `*` stands alone."""
    if parts == ["*"]:
        return field.everything
    mask = 0
    for part in parts:
        if part == "*":
            raise CronError("'*' in a list makes the rest idle", hint="drop it", field=field.index)
        mask |= _parse_part(field, part)
    return mask


def _parse_part(field: Field, part: str) -> int:
    found = _PART.fullmatch(part)
    if found is None:
        raise _unreadable(field, part)
    step = _step(field, found["step"])
    if found["star"]:
        return _mask(field.low, field.high, step)
    low = _value(field, found["low"])
    if found["high"]:
        high = _range_end(field, found["low"], found["high"])
    else:
        # `5/10` runs to the end of the field, `5` is itself.
        high = max(low, field.high) if found["step"] else low
    return _fold_sunday(field, _mask(low, high, step))


def _range_end(field: Field, first: str, text: str) -> int:
    low, high = _value(field, first), _value(field, text)
    if field is _DOW and high == _SUNDAY and low > _SUNDAY:
        high = _ALSO_SUNDAY
    if high < low:
        raise CronError(
            f"the range {first}-{text} runs backwards",
            hint=f"write {_around(field, first, text)} if you mean around the end",
            field=field.index,
        )
    return high


def _around(field: Field, first: str, text: str) -> str:
    """The two ranges that `FRI-MON` stands for, in the words that were used."""
    named = bool(field.names) and not (first.isdigit() and text.isdigit())
    last = field.names[-1] if named else str(field.high)
    begin = field.names[0] if named else str(field.low)
    before = first if first == last else f"{first}-{last}"
    after = text if text == begin else f"{begin}-{text}"
    return f"{before},{after}"


def _value(field: Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first_name
    highest = _ALSO_SUNDAY if field is _DOW else field.high
    if not text.isdigit() or not field.low <= int(text) <= highest:
        names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
        raise CronError(
            f"{text} is not allowed", hint=f"use {field.low}-{highest}{names}", field=field.index
        )
    return int(text)


def _step(field: Field, text: str | None) -> int:
    step = 1 if text is None else int(text)
    if not 1 <= step <= field.high:
        raise CronError(
            f"a step of {step} does not fit into {field.low}-{field.high}",
            hint=f"use a step from 1 to {field.high}, or a single value",
            field=field.index,
        )
    return step


def _fold_sunday(field: Field, mask: int) -> int:
    """Bit 7 of the weekdays is Sunday too."""
    if field is _DOW and mask >> _ALSO_SUNDAY & 1:
        return mask & ~(1 << _ALSO_SUNDAY) | 1 << _SUNDAY
    return mask


def _mask(low: int, high: int, step: int) -> int:
    return sum(1 << value for value in range(low, high + 1, step))


def _unreadable(field: Field, part: str) -> CronError:
    if part == "?":
        hint = "write *"
    elif not part:
        hint = "remove the extra comma"
    elif field is _DOW and part == "L":
        hint = "write SAT for Saturdays, or 5L for the last Friday of the month"
    elif field is _DOM and "W" in part:
        hint = "nearest weekdays (W) are not offered; list days, or use day of week"
    elif "L" in part or "#" in part:
        hint = "L belongs to day of month (L) or day of week (5L), # to day of week (5#2)"
    else:
        hint = "write *, 5, 1-5, 1,3,5, */5, 1-30/5 or 5/10"
    return CronError(f"{part!r} cannot be read", hint=hint, field=field.index)
