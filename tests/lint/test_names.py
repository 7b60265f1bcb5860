"""Names: of tests, of types and of what a header declares."""

from __future__ import annotations

import re

from sources import ROOT, c_files, library

_C_TEST = re.compile(r"^TC_TEST\((\w+)\)", re.MULTILINE)


def _modules() -> set[str]:
    """First words of what a test may be about: headers and the types they define."""
    names = {file.path.stem for file in library()}
    for file in library():
        names.update(re.findall(r"^struct tc_(\w+) \{", file.code, re.MULTILINE))
    return {name.split("_")[0] for name in names}


def test_c_tests_are_named_module_situation_outcome() -> None:
    modules = _modules()
    wrong = []
    for file in c_files(ROOT / "tests" / "c", ".c"):
        of_the_file = file.path.stem.removeprefix("test_").split("_")[0]
        for match in _C_TEST.finditer(file.code):
            words = match[1].split("_")
            is_known = len(words) > 1 and words[1] in modules | {of_the_file}
            if words[0] != "test" or len(words) < 4 or not is_known:
                wrong.append(f"{file.name}:{file.line_of(match.start())}: {match[1]}")
    assert not wrong, "test_<module>_<situation>_<outcome>:\n" + "\n".join(wrong)


def test_c_test_names_are_unique_within_their_file() -> None:
    for file in c_files(ROOT / "tests" / "c", ".c"):
        names = _C_TEST.findall(file.code)
        assert len(names) == len(set(names)), file.name


def test_c_test_files_hold_tests() -> None:
    empty = [
        file.name
        for file in c_files(ROOT / "tests" / "c", ".c")
        if file.path.name.startswith("test_") and not _C_TEST.search(file.code)
    ]
    assert not empty


def test_types_are_not_hidden_behind_typedefs() -> None:
    # Function types are the exception: without a typedef they cannot be read.
    typedef = re.compile(r"^\s*typedef\s+(?:struct|union|enum)\b[^;(]*;", re.MULTILINE)
    wrong = [
        f"{file.name}:{file.line_of(match.start())}"
        for file in library()
        if file.layer != "python"
        for match in typedef.finditer(file.code)
    ]
    assert not wrong, "\n".join(wrong)


def test_what_headers_declare_is_prefixed() -> None:
    definition = re.compile(
        r"^(?:struct|union|enum)\s+(?P<type>\w+)\s*\{|^#\s*define\s+(?P<macro>\w+)", re.MULTILINE
    )
    wrong = []
    for file in library():
        if file.path.suffix != ".h":
            continue
        for match in definition.finditer(file.code):
            name = match["type"] or match["macro"]
            if not re.match(r"(?:tc_|TC_|Py|PY_)", name):
                wrong.append(f"{file.name}:{file.line_of(match.start())}: {name}")
    assert not wrong, "\n".join(wrong)


def test_units_of_time_are_nanoseconds() -> None:
    # In interfaces; a .c file may print milliseconds.
    wrong = [
        f"{file.name}:{number}: {line.strip()}"
        for file in library()
        if file.path.suffix == ".h" and not file.name.startswith("csrc/base/sys")
        for number, line in enumerate(file.code_lines, 1)
        if re.search(r"\b\w+_(?:ms|msec|millis)\b", line)
    ]
    assert not wrong, "\n".join(wrong)
