"""What the pages say is there: links, settings, commands, fields; and nothing of a machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from kronforce.cli.tree import ALONE, NOUNS
from kronforce.config import Config
from kronforce.v1 import job_pb2

CHECKOUT = Path(__file__).resolve().parents[2]

# Written so that this file does not hold what it looks for.
OF_A_MACHINE = [
    re.compile(rb"/(?:home|Users)/[a-z][\w.-]*/"),
    re.compile(rb"/" + rb"work/(?:main|shared)\b"),
    re.compile(rb"/" + rb"root/[\w.]"),
]
A_REGISTRY = re.compile(
    rb"pypi\.(?:org|python)|files\.python" + rb"hosted|registry\.npm|proxy\.golang"
)
# A home folder that is nobody's, as an example in a page or a test.
NOBODYS = re.compile(rb"/home/(?:user|me|ada|kf|alice|bob)/")


def page(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


def shown(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def tracked() -> list[Path]:
    """What is committed; in an unpacked archive, without git, nothing can be."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    paths = (CHECKOUT / name for name in listed.stdout.splitlines())
    return [path for path in paths if path.is_file()]


def test_every_relative_link_leads_somewhere() -> None:
    pages = [path for path in tracked() if path.suffix == ".md"]

    assert [f"{shown(path)}: {link}" for path in pages for link in dead_links(path)] == []


def dead_links(path: Path) -> list[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [each for each in links if not re.match(r"[a-z]+:|#", each)]
    return [each for each in local if not (path.parent / each.split("#")[0]).exists()]


def test_every_setting_is_documented() -> None:
    text = page("docs/operations.md")

    names = [f"KRONFORCE_{name.upper()}" for name in Config.__dataclass_fields__]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_command_is_documented() -> None:
    text = page("docs/cli.md")

    commands = [f"{noun} {verb}" for noun, (_, verbs) in NOUNS.items() for verb in verbs]

    assert [each for each in (*commands, *ALONE) if f"`kronforce {each}`" not in text] == []


def test_every_field_of_a_job_is_documented() -> None:
    text = page("docs/jobs.md")

    names = [field.name for field in job_pb2.Job.DESCRIPTOR.fields]

    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "message",
    [job_pb2.Task.DESCRIPTOR, job_pb2.Schedule.DESCRIPTOR, job_pb2.Target.DESCRIPTOR],
    ids=lambda message: message.name,
)
def test_every_kind_of_a_union_is_documented(message: Descriptor) -> None:
    text = page("docs/jobs.md")

    kinds = [field.name for field in message.oneofs_by_name["kind"].fields]

    assert [kind for kind in kinds if f"| `{kind}` |" not in text] == []


def test_every_decision_is_in_the_index_under_a_number_of_its_own() -> None:
    names = sorted(path.name for path in (CHECKOUT / "docs" / "adr").glob("*.md"))

    assert [name for name in names if name not in page("docs/README.md")] == []
    assert len({name[:4] for name in names}) == len(names)


def test_no_file_names_a_folder_of_a_machine_or_a_registry() -> None:
    found = [f"{shown(path)}: {each}" for path in tracked() for each in of_a_machine(path)]

    assert found == []


def of_a_machine(path: Path) -> list[str]:
    content = NOBODYS.sub(b"", path.read_bytes())
    matches = (each.search(content) for each in (*OF_A_MACHINE, A_REGISTRY))
    return [match.group().decode() for match in matches if match]
