"""The reference names everything that is public, once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import tinycoro

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.rst"))
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_every_public_name_of_python_is_there_once() -> None:
    found = Counter(re.findall(r"^(?:\.\. [\w:]+:: | +)tinycoro\.(\w+)", TEXT, re.MULTILINE))
    expected = set(tinycoro.__all__) | {"from_thread"}
    assert set(found) == expected
    assert [name for name, times in found.items() if times > 1] == []


def test_every_public_header_of_c_is_there_once() -> None:
    text = (ROOT / "csrc" / "tinycoro.h").read_text(encoding="utf-8")
    found = Counter(re.findall(r"^\.\. c-header:: (\S+)$", TEXT, re.MULTILINE))
    assert found == Counter(re.findall(r'^#include "(.+)"$', text, re.MULTILINE))
