"""A header is the manual of its module."""

from __future__ import annotations

import re
import warnings

import pytest

from sources import CFile, library, prototypes

_FIELDS = ("Parks", "Threads", "Owns", "Returns")


class MissingDocField(UserWarning):
    """A public function whose comment does not say who may call it, or whether it parks."""


def _headers() -> list[CFile]:
    return [file for file in library() if file.path.suffix == ".h"]


def test_every_file_opens_with_its_name_and_purpose() -> None:
    wrong = [
        f"{file.name}: does not open with '/* {file.layer}/{file.path.name} — purpose'"
        for file in _headers()
        if not re.match(rf"/\* {file.layer}/{re.escape(file.path.name)} (?:—|-) \S", file.text)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_public_function_has_a_comment() -> None:
    """An inline accessor shows what it does; whatever is defined elsewhere must be described."""
    wrong = [
        f"{file.name}:{function.line}: {function.name} has no comment above it"
        for file in _headers()
        for function in prototypes(file)
        if not function.name.startswith("tc__") and not function.is_inline and not function.comment
    ]
    assert not wrong, "\n".join(wrong)


def test_documentation_fields_stand_in_one_order() -> None:
    wrong = []
    for file in _headers():
        for function in prototypes(file):
            present = re.findall(rf"\b({'|'.join(_FIELDS)}):", function.comment)
            if present != sorted(present, key=_FIELDS.index):
                wrong.append(f"{file.name}:{function.line}: {function.name}: {', '.join(present)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.filterwarnings("default")
def test_functions_say_whether_they_park_and_who_may_call_them() -> None:
    """Warns only: a header may state this once, in its table."""
    for file in _headers():
        missing = [
            function.name
            for function in prototypes(file)
            if not function.name.startswith("tc__")
            and not {"Parks", "Threads"} <= set(re.findall(r"\b(\w+):", function.comment))
        ]
        if missing and not re.search(r"safe together|who may call|WHO MAY CALL", file.text):
            warnings.warn(f"{file.name}: {', '.join(missing)}", MissingDocField, stacklevel=1)
