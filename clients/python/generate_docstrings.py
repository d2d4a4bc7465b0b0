"""Puts what the contract says of a method into the docstring of the client's method that calls it.

Run it after a change of the contract's comments or of the asynchronous client, then
`generate_sync.py`; a test holds both current. The first paragraph of a docstring is the client's
own, in Python's names; what follows `The contract (…):` is written here.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path

from google.protobuf import descriptor_pb2

from generate_sync import CLASSES, HERE

CONTRACT = Path(__file__).parents[2] / "kronforce" / "v1" / "kronforce.binpb"
MARK = "The contract ("
WIDTH = 92
# Numbers of FileDescriptorProto.service and ServiceDescriptorProto.method in a location's path.
_SERVICE, _METHOD = 6, 2


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    comments = contract_comments()
    for module, name in CLASSES.items():
        source = (HERE / f"{module}.py").read_text(encoding="utf-8")
        (target / f"{module}.py").write_text(documented(source, name, comments), encoding="utf-8")


def contract_comments() -> dict[str, tuple[str, str]]:
    """By method name: its service, and the comment on it."""
    files = descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes()).file
    found: dict[str, tuple[str, str]] = {}
    for file in files:
        for location in file.source_code_info.location:
            path = list(location.path)
            if len(path) == 4 and (path[0], path[2]) == (_SERVICE, _METHOD):
                service = file.service[path[1]]
                method = service.method[path[3]].name
                found[method] = (service.name, location.leading_comments)
    return found


def documented(source: str, name: str, comments: dict[str, tuple[str, str]]) -> str:
    """The module with the docstrings of this class as they should be."""
    lines = source.splitlines(keepends=True)
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    for node in reversed(found.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            method = called(node, comments)
            if method and not node.name.startswith("_"):
                said = node.body[0]
                lines[said.lineno - 1 : said.end_lineno] = docstring(node, method, comments)
    return "".join(lines)


def called(node: ast.AST, comments: dict[str, tuple[str, str]]) -> str:
    """The one method of the contract that this method calls; empty: none, or several."""
    names = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and each.attr in comments
        and isinstance(each.value, ast.Attribute)
        and isinstance(each.value.value, ast.Name)
        and each.value.value.id == "self"
    }
    return names.pop() if len(names) == 1 else ""


def docstring(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    method: str,
    comments: dict[str, tuple[str, str]],
) -> list[str]:
    """The lines of the method's docstring."""
    own = (ast.get_docstring(node) or "").split(MARK)[0].strip()
    service, comment = comments[method]
    paragraphs = comment.strip().split("\n\n")
    if ". " not in " ".join(comment.split()):
        # One sentence says no more than the client's own.
        paragraphs = []
    else:
        paragraphs[0] = f"{MARK}{service}.{method}): {paragraphs[0]}"
    filled = [textwrap.fill(" ".join(each.split()), WIDTH) for each in paragraphs]
    text = "\n\n".join([own, *filled])
    end = "\n" if "\n" in text else ""
    return textwrap.indent(f'"""{text}{end}"""\n', " " * 8).splitlines(keepends=True)


if __name__ == "__main__":
    main()
