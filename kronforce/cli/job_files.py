"""Job files: YAML 1.2, several documents in a file, several files in a folder.

Reads node by node, so that every value keeps its line, words like `no` or `08:30` stay text, and
a key that stands twice is found. JSON is YAML, so JSON files work as well. Nothing here knows what
a job is beyond asking the dialect.
"""

# ruff: noqa: PLC0415 - what a command does not need is not imported at its start

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, cast

from kronforce.cli.exit_codes import Exit
from kronforce.cli.failure import CommandError
from kronforce_client import dialect
from kronforce_client.apply import OUTPUT_ONLY
from kronforce_client.dialect import DialectError, Path

if TYPE_CHECKING:
    from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

    from kronforce.v1.job_pb2 import Job

# What counts in a folder; a file that is named may be called anything.
SUFFIXES = (".yaml", ".yml")
# Aliases can make a small file mean an endless document.
MAX_NODES = 100_000
MAX_DEPTH = 64
MAX_FILE_BYTES = 8 * 1024 * 1024

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: plain data, and the line of each value by its path."""

    file: str
    value: Any
    lines: dict[Path, int]

    def place(self, path: Path) -> str:
        """`jobs/etl.yaml:12`, for the value or the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return self.file

    def place_of_text(self, field: str) -> str:
        """The same for a path as text, `schedule.value`."""
        known = {dialect.path_text(path): line for path, line in self.lines.items()}
        while field and field not in known:
            field = field.rpartition(".")[0]
        return f"{self.file}:{known[field]}" if field in known else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFile:
    """A job and where it was read. `ignored`: what stands there and is the server's to set."""

    job: Job
    document: Document
    ignored: tuple[str, ...] = ()


def read_jobs(paths: Sequence[str]) -> list[JobFile]:
    """Every job of the files and folders. Raises CommandError that names every problem."""
    problems: list[str] = []
    found: list[JobFile] = []
    for file in _files(paths):
        try:
            documents = list(read_documents(file))
        except Unreadable as error:
            problems.append(str(error))
            continue
        for document in documents:
            _read_one(document, found, problems)
    problems += _twice(found)
    if problems:
        raise CommandError(*problems)
    if not found:
        raise CommandError(f"no job in {', '.join(paths)}", "kronforce job init writes one")
    return found


def _read_one(document: Document, found: list[JobFile], problems: list[str]) -> None:
    from kronforce.v1.job_pb2 import Job

    try:
        job = dialect.parse(Job, document.value)
    except DialectError as error:
        for each in error.problems:
            where = dialect.path_text(each.path)
            hint = f"\n    {each.hint}" if each.hint else ""
            problems.append(f"{document.place(each.path)}  {where} {each.message}{hint}")
        return
    if not job.name:
        problems.append(f"{document.place(())}  name is missing")
        return
    ignored = tuple(name for name in OUTPUT_ONLY if name in document.value)
    for name in ignored:
        job.ClearField(name)  # type: ignore[arg-type]  # the stub wants literals
    found.append(JobFile(job=job, document=document, ignored=ignored))


def _twice(found: Sequence[JobFile]) -> list[str]:
    first: dict[str, JobFile] = {}
    problems = []
    for each in found:
        earlier = first.setdefault(each.job.name, each)
        if earlier is not each:
            here = each.document.place(("name",))
            there = earlier.document.place(("name",))
            problems.append(f'{here}  name "{each.job.name}" stands also in {there}')
    return problems


def _files(paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        place = FilePath(path)
        if path == "-":
            yield "/dev/stdin"
        elif place.is_dir():
            names = sorted(each for each in place.rglob("*") if _counts(each.relative_to(place)))
            if not names:
                raise CommandError(f"{path} has no file that ends in {', '.join(SUFFIXES)}")
            yield from map(str, names)
        elif place.exists():
            yield path
        else:
            raise CommandError(f"{path}: there is no such file", code=Exit.ERROR)


def _counts(path: FilePath) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix in SUFFIXES and not hidden


class Unreadable(Exception):
    """A file that cannot be read, or is not YAML."""


def read_documents(file: str) -> Iterator[Document]:
    """The documents of one file; empty ones are left out. Raises Unreadable."""
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    from kronforce.cli import shallow_yaml

    try:
        with open(file, "rb") as stream:  # noqa: PTH123 - also reads a pipe
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise Unreadable(f"{file}: is larger than {MAX_FILE_BYTES:,} bytes")
        for node in shallow_yaml.documents(content.decode("utf-8-sig"), MAX_DEPTH + 1):
            document = _Reader(file).document(node)
            if document.value is not None:
                yield document
    except OSError as error:
        raise Unreadable(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unreadable(f"{file}: is not UTF-8 text") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise Unreadable(f"{where}  {error.problem or error.context}") from None
    except YAMLError as error:
        raise Unreadable(f"{file}: {error}") from None


class _Reader:
    """Turns the nodes of one document into plain data."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Path, int] = {}
        self._nodes = 0

    def document(self, node: Node) -> Document:
        value = self._value(node, ())
        return Document(file=self._file, value=value, lines=self._lines)

    def _value(self, node: Node, path: Path) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self._lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._wrong(node, "is nested too deep, or its aliases make it too large")
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self._value(each, (*path, index)) for index, each in enumerate(node.value)]
        return self._scalar(cast("ScalarNode", node))

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise self._wrong(key_node, "a key must be text")
            if key in result:
                raise self._wrong(key_node, f'the key "{key}" stands twice here')
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self._value(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode) -> Any:
        tag, text = str(node.tag).removeprefix(_TAG), node.value
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        try:
            if tag == "int":
                return int(text.replace("_", ""), 0)
            if tag == "float":
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return text
        return text  # also what YAML takes for a date: the dialect reads instants itself

    def _wrong(self, node: Node, message: str) -> Unreadable:
        return Unreadable(f"{self._file}:{node.start_mark.line + 1}  {message}")
