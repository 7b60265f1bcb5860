"""What the tree holds: sizes, places, and nothing of the machine it was written on."""

from __future__ import annotations

import re
from pathlib import Path

from sources import ROOT, c_files, library, project_files

_MAX_LINES = 600
_MAX_FUNCTION_LINES = 60
_MAX_COLUMNS = 100

# File → why it is longer than the limit.
_LONG_FILES: dict[str, str] = {
    "tinycoro/_core.pyi": "one module has one stub",
}
# (file, function) → why it is longer than the limit.
_LONG_FUNCTIONS: dict[tuple[str, str], str] = {}

_AT_THE_ROOT = {
    *("pyproject.toml", "CMakeLists.txt", "CMakePresets.json", "Makefile"),
    *("README.md", "CHANGELOG.md", "LICENSE", ".gitignore", ".clang-format", ".clang-tidy"),
    *(".ci", "csrc", "tinycoro", "tests", "benchmarks", "docs", "tools"),
}

# In pieces, so that this file does not hold what it looks for.
_PACKAGE_REGISTRIES = (
    *("pypi" + ".org", "python" + "hosted.org", "npm" + "js.", "crates" + ".io"),
    *("golang" + ".org", "debian" + ".org", "conda" + ".org", "docker" + ".io"),
)
_MACHINE_PATHS = re.compile("/" + r"(?:root|work|home/\w+)" + "/")


def _texts(*, with_results: bool = True) -> list[tuple[str, str]]:
    texts = []
    for path in project_files():
        name = path.relative_to(ROOT).as_posix()
        if not with_results and name.startswith("benchmarks/results/"):
            continue
        try:
            texts.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return texts


def test_long_files_are_listed_with_a_reason() -> None:
    code = {".c", ".h", ".S", ".py", ".pyi", ".sh"}
    long = {
        name
        for name, text in _texts(with_results=False)
        if Path(name).suffix in code and text.count("\n") > _MAX_LINES
    }
    assert long == set(_LONG_FILES)


def test_long_functions_are_listed_with_a_reason() -> None:
    long = set()
    for file in (*library(), *c_files(ROOT / "tests" / "c", ".c")):
        opened, head = 0, ""
        for number, line in enumerate(file.code_lines, 1):
            if line == "{":
                opened, head = number, " ".join(file.code_lines[max(0, number - 4) : number - 1])
            elif line.startswith("}") and opened:
                names = re.findall(r"(\w+)\s*\(", head)
                if number - opened - 1 > _MAX_FUNCTION_LINES:
                    long.add((file.name, names[-1] if names else f"line {opened}"))
                opened = 0
    assert long == set(_LONG_FUNCTIONS)


def test_comments_in_c_are_not_too_wide() -> None:
    """clang-format sees to the code alone."""
    wrong = [
        f"{file.name}:{number}: {len(line.rstrip())} columns"
        for folder in ("csrc", "tests", "benchmarks")
        for file in c_files(ROOT / folder)
        for number, line in enumerate(file.comment_lines, 1)
        if len(line.rstrip()) > _MAX_COLUMNS
    ]
    assert not wrong, "\n".join(wrong)


def test_the_root_holds_what_people_expect_there() -> None:
    entries = {path.relative_to(ROOT).parts[0] for path in project_files()}
    assert entries <= _AT_THE_ROOT


def test_no_registry_is_named() -> None:
    wrong = [
        f"{name}: {host}" for name, text in _texts() for host in _PACKAGE_REGISTRIES if host in text
    ]
    assert not wrong, "\n".join(wrong)


def test_no_path_of_a_machine_is_named() -> None:
    wrong = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in _texts()
        for match in _MACHINE_PATHS.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_open_work_names_its_issue() -> None:
    marker = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b(?!\(#\d+\))")
    wrong = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        for name, text in _texts()
        if Path(name).suffix in {".c", ".h", ".S", ".py", ".pyi", ".sh", ".toml", ".txt"}
        for match in marker.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)
