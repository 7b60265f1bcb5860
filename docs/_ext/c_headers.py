"""Sphinx extension: `.. c-header:: layer/name.h` documents a header of csrc/ from its comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import prose
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CSRC = Path(__file__).resolve().parents[2] / "csrc"

_COMMENT = re.compile(r"/\*(.*?)\*/", re.DOTALL)
_BODY = re.compile(r"\n\{\n.*?\n\}(?=\n)", re.DOTALL)
_FIELD = re.compile(
    r"(?:^|(?<=   )|(?<=\) ))(Parks|Threads|Owns|Deadline|Units|Calls): ", re.MULTILINE
)
_RETURNS = re.compile(r"(?:^|(?<=   )|(?<=[.)] ))Returns (?=\S)", re.MULTILINE)
_ATTRIBUTES = re.compile(
    r"\b(?:TC_MAY_PARK|TC_NODISCARD|static|inline|extern|TC_[A-Z]+\([^)]*\))\s*"
)


class CHeader(SphinxDirective):
    """The directive: its argument is a path below csrc/."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = CSRC / self.arguments[0]
        self.env.note_dependency(str(path))
        lines = StringList(list(describe(path.read_text(encoding="utf-8"))), source=str(path))
        container = nodes.container()
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children


def describe(header: str) -> Iterator[str]:
    """The lines that document a header."""
    opening, _, rest = header.partition("#ifndef ")
    yield from _opening(_text(opening))
    rest = _BODY.sub(";", rest.partition("\n\n")[2])
    # C keeps the names of types and functions apart; Sphinx does not.
    twins = set(re.findall(r"\b(tc_\w+)\(", rest))
    for chunk in re.split(r"\n{2,}", rest):
        yield from _describe_chunk(chunk.strip("\n"), twins)


def _opening(text: str) -> Iterator[str]:
    purpose, _, idea = text.partition("\n\n")
    sentence = " ".join(purpose.split("—", 1)[-1].split())
    yield prose.escape(sentence[:1].upper() + sentence[1:])
    yield ""
    if idea.strip():
        # Tables and numbered invariants: as they are drawn.
        yield from [".. code-block:: text", ""]
        yield from (f"    {line}" for line in idea.splitlines())
        yield ""


def _text(comment: str) -> str:
    """What stands in a comment, without what marks it as one."""
    inner = "\n".join(match[1] for match in _COMMENT.finditer(comment))
    return "\n".join(re.sub(r"^ \* ?", "", line).rstrip() for line in inner.splitlines()).strip()


def _describe_chunk(chunk: str, twins: set[str]) -> Iterator[str]:
    section = re.fullmatch(r"/\* -{3,} (.*?) -{3,} \*/", chunk)
    if section:
        yield from [f".. rubric:: {prose.escape(section[1].capitalize())}", ""]
        return
    comment = ""
    opening = re.match(r"/\*.*?\*/\n?", chunk, re.DOTALL)
    if opening:
        comment, chunk = _text(opening[0]), chunk[opening.end() :]
    kind = re.match(r"(struct|enum|union) (tc_\w+) \{", chunk)
    if kind:
        if kind[2] in twins:
            yield from [
                ".. code-block:: c",
                "",
                *(f"    {line}" for line in chunk.splitlines()),
                "",
            ]
        elif not kind[2].startswith("tc__"):
            yield from _directive(kind[1], [kind[2]], comment, code=chunk)
        return
    macro = re.match(r"#\s*define (TC_\w+(?:\([\w, ]*\))?)", chunk)
    if macro:
        if not macro[1].startswith("TC__"):
            yield from _directive("macro", [macro[1]], comment)
        return
    functions = [
        signature
        for declaration in _COMMENT.sub("", chunk).split(";")
        if (signature := _signature(declaration)) is not None
    ]
    if functions:
        yield from _directive("function", functions, comment)


def _signature(declaration: str) -> str | None:
    """A prototype of a public function on one line; None for anything else."""
    flat = " ".join(_ATTRIBUTES.sub("", declaration).split())
    match = re.fullmatch(r"[\w\s*]*?\b(tc_\w+)\(.*\)", flat)
    if match is None or match[1].startswith("tc__") or flat.startswith(("#", "typedef", "return")):
        return None
    return flat


def _directive(kind: str, signatures: list[str], comment: str, *, code: str = "") -> Iterator[str]:
    first, *more = signatures
    yield f".. c:{kind}:: {first}"
    yield from (" " * (len(kind) + 8) + signature for signature in more)
    yield ""
    body = list(_fields(comment))
    if code:
        body += _code(code)
    yield from (f"    {line}" if line else "" for line in body)
    yield ""


def _code(code: str) -> list[str]:
    return ["", ".. code-block:: c", "", *(f"    {line}" for line in code.splitlines()), ""]


def _fields(comment: str) -> Iterator[str]:
    """The text of a comment, and what it says of parking, threads, ownership as a list."""
    marked = _FIELD.sub(lambda match: f"\0{match[1]}\1", _RETURNS.sub("\0Returns\1", comment))
    text, *fields = marked.split("\0")
    for paragraph in re.split(r"\n{2,}", text.strip()):
        yield prose.escape(" ".join(paragraph.split()))
        yield ""
    for field in fields:
        name, _, value = field.partition("\1")
        yield f":{name}: {prose.escape(' '.join(value.split()))}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("c-header", CHeader)
    return {"parallel_read_safe": True}
