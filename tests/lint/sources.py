"""What the house-rule tests share: the files of the project, and C code without its comments."""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"

# Lowest first; a file includes its own layer and the ones before it.
LAYERS = ("arch", "base", "sched", "io", "sync", "net", "http", "python")

_COMMENT_OR_STRING = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", re.DOTALL
)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match.group())


@dataclass(frozen=True)
class CFile:
    """One C file: as it stands, its code alone and its comments alone, line for line."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def layer(self) -> str:
        return self.path.relative_to(CSRC).parts[0]

    @functools.cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @functools.cached_property
    def code(self) -> str:
        return _COMMENT_OR_STRING.sub(_blank, self.text)

    @functools.cached_property
    def code_lines(self) -> list[str]:
        return self.code.splitlines()

    @functools.cached_property
    def comment_lines(self) -> list[str]:
        return _blank_code(self.text).splitlines()

    def line_of(self, offset: int) -> int:
        """The 1-based number of the line that holds `offset`."""
        return self.text.count("\n", 0, offset) + 1


def _blank_code(text: str) -> str:
    """`text` with everything but its comments replaced by spaces."""
    parts: list[str] = []
    position = 0
    for match in _COMMENT_OR_STRING.finditer(text):
        parts.append(re.sub(r"[^\n]", " ", text[position : match.start()]))
        is_comment = match.group().startswith("/")
        parts.append(match.group() if is_comment else _blank(match))
        position = match.end()
    parts.append(re.sub(r"[^\n]", " ", text[position:]))
    return "".join(parts)


@functools.cache
def c_files(folder: Path, *suffixes: str) -> tuple[CFile, ...]:
    """Every C file below `folder`, in a fixed order."""
    wanted = suffixes or (".c", ".h")
    return tuple(
        CFile(path, path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*"))
        if path.suffix in wanted and path.is_file()
    )


def library() -> tuple[CFile, ...]:
    """The C files of the layers."""
    return tuple(file for file in c_files(CSRC) if file.path.parent != CSRC)


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Every file that is part of the project: what git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        names = [name for name in listing.stdout.decode().split("\0") if name]
        return tuple(path for name in names if (path := ROOT / name).is_file())
    # An unpacked source distribution has no .git, and nothing in it that is not the project.
    skipped = {"build", ".venv", "__pycache__"}
    return tuple(
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    )


_PROTOTYPE = re.compile(
    r"^(?!typedef|return|else|struct \w+ \{|#)"  # at the left margin, so not inside a body
    r"[A-Za-z_][\w\s\*\(\),]*?\b(?P<name>tc_\w+)\s*\((?P<rest>[^;{]*?)\)\s*"
    r"(?:TC_\w+\([^)]*\)\s*)?[;\n]",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Prototype:
    """A function that a header declares or defines, with the comment above it."""

    name: str
    line: int
    comment: str
    is_inline: bool


def prototypes(header: CFile) -> list[Prototype]:
    """The functions of a header.  A comment covers the declarations below it, up to the next."""
    found = []
    for match in _PROTOTYPE.finditer(header.code):
        line = header.line_of(match.start())
        is_inline = bool(re.match(r"(?:\w+\s+)*inline\b", match.group()))
        found.append(Prototype(match["name"], line, _comment_above(header, line), is_inline))
    return found


def _comment_above(file: CFile, line: int) -> str:
    index = line - 2
    while index >= 0 and not file.comment_lines[index].strip():
        # Past the declarations that share the comment, but not past a body or a type.
        if file.code_lines[index].startswith(("}", "{", "#")):
            return ""
        index -= 1
    collected: list[str] = []
    while index >= 0 and file.comment_lines[index].strip():
        collected.append(file.comment_lines[index].strip())
        index -= 1
    return "\n".join(reversed(collected))
