"""The host of an address, read one way only: pure.

Programs disagree about `0177.1`, `2130706433`, `%31%32%37.0.0.1`, `①②⑦.0.0.1` and names with odd
dots; what one takes for a name another connects to. So there is one spelling of each here: a
dotted quad, a bracketed IPv6 address without a zone, or a name of letters, digits, `-` and `_`
that does not end in a number. Anything else is refused with the spelling that was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from kronforce_egress.addresses import Address
from kronforce_egress.errors import BadRequest

NAME_MAX = 253
LABEL_MAX = 63
HOST_INPUT_MAX = 1_000
"""Characters of a host before it is made ASCII, so that mapping costs little."""
SHOWN_MAX = 100

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_PART = re.compile(r"0x([0-9a-f]*)|0([0-7]*)|([1-9][0-9]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """A lower-case ASCII name, or an address; `name` is then the address as text."""

    name: str
    address: Address | None = None

    @property
    def authority(self) -> str:
        """As it stands in an URL and in `Host`."""
        return f"[{self.name}]" if isinstance(self.address, IPv6Address) else self.name


def parse_host(text: str) -> Host:
    """Read the host of an authority. Raises BadRequest."""
    if text.startswith("["):
        return _ipv6(text)
    if len(text) > HOST_INPUT_MAX:
        raise BadRequest(f"its host has {len(text):,} characters; at most {NAME_MAX}")
    name = text if text.isascii() else _mapped(text)
    name = name.lower().removesuffix(".")
    if not name:
        raise BadRequest("it has no host: https://HOST/…")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(text, name)
    if len(name) > NAME_MAX or not all(map(_is_label, labels)):
        raise BadRequest(f"{shown(text)} is no host name: letters, digits, - and _ between dots")
    return Host(name=name)


def shown(text: str) -> str:
    """Text of somebody else's in one line, whole or not at all: half a secret is not masked."""
    return repr(text) if len(text) <= SHOWN_MAX else f"a text of {len(text):,} characters"


def _is_label(label: str) -> bool:
    return len(label) <= LABEL_MAX and _LABEL.fullmatch(label) is not None


def _ipv6(text: str) -> Host:
    inner = text[1:].removesuffix("]")
    if not text.endswith("]") or "%" in inner:
        raise BadRequest(f"{shown(text)} is no address: [IPv6] in brackets, without a zone")
    try:
        address = IPv6Address(inner)
    except ValueError:
        raise BadRequest(f"{shown(text)} is no IPv6 address") from None
    return Host(name=str(address), address=address)


def _ipv4(text: str, name: str) -> Host:
    try:
        address = IPv4Address(name)
    except ValueError:
        meant = _inet_aton(name.split("."))
        raise BadRequest(
            f"{shown(text)} is an address that programs read in different ways; write {meant}"
            if meant
            else f"{shown(text)} is no IPv4 address: four numbers from 0 to 255, in decimal"
        ) from None
    if not text.isascii():
        raise BadRequest(f"{shown(text)} is an address in disguise; write {address}")
    return Host(name=name, address=address)


def _inet_aton(parts: list[str]) -> IPv4Address | None:
    """What the C library would connect to: for the hint alone."""
    numbers = [_number(part) for part in parts]
    if len(numbers) > len("abcd") or None in numbers:
        return None
    *heads, last = [number for number in numbers if number is not None]
    if any(head > 0xFF for head in heads) or last >= 1 << 8 * (4 - len(heads)):
        return None
    return IPv4Address(sum(head << 8 * (3 - at) for at, head in enumerate(heads)) + last)


def _number(part: str) -> int | None:
    found = _PART.fullmatch(part) if len(part) <= len("037777777777") else None
    if found is None:
        return None
    sixteen, eight, ten = found.groups()
    if sixteen is not None:
        return int(sixteen or "0", 16)
    return int(eight or "0", 8) if eight is not None else int(ten)


def _mapped(text: str) -> str:
    """An international name in ASCII, as browsers and the DNS have it (UTS 46, IDNA 2008)."""
    import idna  # noqa: PLC0415 - 10 ms and large tables, for the few who need it

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise BadRequest(f"{shown(text)} is no host name: {error}") from None
