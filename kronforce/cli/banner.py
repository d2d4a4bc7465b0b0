"""What `kronforce up` says of itself; each line is printed when it has become true."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kronforce import __version__
from kronforce.config import Config, default_data_dir, is_loopback

# The line that is shown at the end may go to a journal.
_MAY_HOLD_SECRETS = ("--db", "--bootstrap-admin-key")


def read_endpoint(folder: Path) -> dict[str, Any] | None:
    """What the controller of this folder says of itself; None before it listens."""
    try:
        content = json.loads((folder / "endpoint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def head(config: Config, endpoint: Mapping[str, Any], environ: Mapping[str, str]) -> list[str]:
    """Version, data, address and key, once the controller listens."""
    folder = config.data_dir
    lines = [
        f"kronforce {__version__}   data {short(folder)}",
        f"  gRPC     {endpoint['address']}   ({_reflection(config, str(endpoint['address']))})",
    ]
    if endpoint.get("http"):
        lines.append(f"  HTTP     {endpoint['http']}")
    if endpoint.get("metrics"):
        lines.append(f"  metrics  http://{endpoint['metrics']}/metrics")
    if (folder / "admin.key").exists():
        lines.append(f"  key      {short(folder / 'admin.key')}   ({_key_hint(folder, environ)})")
    return lines


def _reflection(config: Config, address: str) -> str:
    how = "-plaintext" if config.tls_cert is None else f"-cacert {config.tls_cert}"
    if not is_loopback(config.grpc_bind):
        # Public on loopback alone.
        how += ' -H "authorization: Bearer KEY"'
    return f"reflection on: grpcurl {how} {address} list"


def _key_hint(folder: Path, environ: Mapping[str, str]) -> str:
    named = environ.get("KRONFORCE_DATA_DIR")
    looked_at = Path(named).absolute() if named else default_data_dir(environ)
    if looked_at == folder:
        return "the kronforce command on this host finds it by itself"
    return f"for the kronforce command: export KRONFORCE_DATA_DIR={folder}"


def command(arguments: Sequence[str] = sys.argv) -> str:
    """What to type for this command: `kronforce` where the shell finds it, else as it was typed."""
    own, found = Path(arguments[0]), shutil.which("kronforce")
    if own.name != "kronforce" or (found and Path(found).resolve() == own.resolve()):
        return "kronforce"
    return shlex.quote(arguments[0])


def again(arguments: Sequence[str] = sys.argv) -> str:
    """The line that starts the same again; never with what may hold a secret."""
    if any(word.startswith(_MAY_HOLD_SECRETS) for word in arguments[1:]):
        return "the same command"
    return f"{command(arguments)} {shlex.join(arguments[1:])}"


def short(path: Path) -> str:
    """The path with ~ for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
