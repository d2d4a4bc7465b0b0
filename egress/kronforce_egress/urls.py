"""An URL taken apart once, strictly: what is checked is what is connected to. Pure.

Nothing behind this file parses an URL again: the client is given scheme, host, port and target as
they stand in `Url`. Nothing is guessed: an authority that two programs could read in two ways
(`user@`, backslashes, spaces, empty ports) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from kronforce_egress.errors import BadRequest
from kronforce_egress.hosts import Host, parse_host, shown

URL_BYTES_MAX = 8 << 10
PORTS = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY_END = re.compile(r"[/?#]")
_PORT = re.compile(r"[0-9]{1,5}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BLANK = " \t\r\n"
# Everything that stands for itself in a path or query; `%` because it begins an escape.
_SAFE = "/?:@!$&'()*+,;=-._~%[]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Url:
    """`scheme` is http or https; `target` begins with `/` and is ASCII, without a fragment."""

    scheme: str
    host: Host
    port: int
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom credentials are for."""
        return self.scheme, self.host.name, self.port

    @property
    def authority(self) -> str:
        """As in the header `Host`: a port only where it is not the scheme's."""
        default = self.port == PORTS[self.scheme]
        return self.host.authority if default else f"{self.host.authority}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def site(self) -> str:
        """For messages and logs: tokens stand in queries, and in paths, too."""
        return f"{self.scheme}://{self.authority}"


def parse_url(text: str) -> Url:
    """Take an absolute URL apart. Raises BadRequest."""
    text = _cleaned(text)
    found = _SCHEME.match(text)
    scheme = found.group(1).lower() if found else ""
    if scheme not in PORTS:
        raise BadRequest(_not_ours(text, scheme))
    rest = text[len(scheme) + 1 :]
    if not rest.startswith("//"):
        raise BadRequest(f"after {scheme}: comes // and a host: {scheme}://HOST/…")
    return _with_authority(scheme, rest[2:])


def join_url(base: Url, location: str) -> Url:
    """Where a `Location` leads from `base`. Raises BadRequest."""
    text = _cleaned(location)
    if _SCHEME.match(text):
        return parse_url(text)
    if text.startswith("//"):
        return _with_authority(base.scheme, text[2:])
    return Url(
        scheme=base.scheme, host=base.host, port=base.port, target=_relative(base.target, text)
    )


def _cleaned(text: str) -> str:
    text = text.strip(_BLANK)
    if len(text.encode("utf-8", "surrogatepass")) > URL_BYTES_MAX:
        raise BadRequest(f"it has more than {URL_BYTES_MAX:,} bytes")
    if _CONTROL.search(text):
        raise BadRequest("it has a line break or another control character in it")
    return text


def _not_ours(text: str, scheme: str) -> str:
    if not scheme or text[len(scheme) + 1 :].isdigit():
        return "it does not begin with http:// or https://"
    return f"{scheme}: is not spoken here; http: and https: are"


def _with_authority(scheme: str, rest: str) -> Url:
    end = _AUTHORITY_END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in authority:
        raise BadRequest("it has a user before the host; send credentials in a header")
    if "\\" in authority or " " in authority:
        raise BadRequest(f"{shown(authority)} is no host: it has a backslash or a space in it")
    host, port = _host_and_port(authority, scheme)
    return Url(scheme=scheme, host=parse_host(host), port=port, target=_target(tail))


def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or (authority.startswith("[") and authority.endswith("]")):
        return authority, PORTS[scheme]
    if ":" in host and not host.startswith("["):
        raise BadRequest(f"{shown(authority)} is no host; put an IPv6 address into [brackets]")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise BadRequest("its port is no number from 1 to 65535")
    return host, int(port)


def _target(tail: str) -> str:
    tail = tail.partition("#")[0]
    if not tail.startswith("/"):
        tail = f"/{tail}"
    try:
        return quote(tail, safe=_SAFE)
    except UnicodeEncodeError:
        raise BadRequest("its path is no text that UTF-8 can write") from None


def _relative(base: str, reference: str) -> str:
    """RFC 3986, 5.2, for a reference without scheme and authority."""
    path, question, query = reference.partition("#")[0].partition("?")
    base_path = base.partition("?")[0]
    if not path:
        return _target(base_path + question + query) if question else base
    if not path.startswith("/"):
        path = base_path[: base_path.rindex("/") + 1] + path
    return _target(_without_dots(path) + question + query)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
