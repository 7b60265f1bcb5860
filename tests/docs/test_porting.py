"""docs/PORTING.md: its tables are complete, and true."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import tinycoro

PAGE = (Path(__file__).parents[2] / "docs" / "PORTING.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| (same|differs|not here) \|(.*)\|$", re.MULTILINE)
OLDER = re.compile(r"(Policy|_policy|Watcher|_watcher)$")  # gone or hidden in 3.14
LOOP = "Loop."


class Row(NamedTuple):
    """One name: what the page says of it."""

    name: str
    status: str
    note: str


ROWS = [Row(name, status, note.strip()) for name, status, note in ROW.findall(PAGE)]
NAMES = {row.name for row in ROWS if not row.name.startswith(LOOP)}
METHODS = {row.name.removeprefix(LOOP) for row in ROWS if row.name.startswith(LOOP)}


def exists(name: str) -> bool:
    """Whether tinycoro has it; a method that is asyncio's own only raises NotImplementedError."""
    if not name.startswith(LOOP):
        return hasattr(tinycoro, name)
    method = name.removeprefix(LOOP)
    return getattr(tinycoro.Loop, method, None) is not getattr(asyncio.AbstractEventLoop, method)


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def test_every_row_of_the_tables_is_read() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == len(ROWS) == len({row.name for row in ROWS})


def test_every_name_of_asyncio_has_a_row() -> None:
    missing = {name for name in asyncio.__all__ if not OLDER.search(name)} - NAMES
    assert not missing, f"docs/PORTING.md does not say what becomes of {sorted(missing)}"
    missing = public(asyncio.AbstractEventLoop) - METHODS
    assert not missing, f"docs/PORTING.md does not say what becomes of Loop's {sorted(missing)}"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the tables are those of 3.14")
def test_every_row_is_a_name_of_asyncio() -> None:
    assert set(asyncio.__all__) >= NAMES
    assert public(asyncio.AbstractEventLoop) >= METHODS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_true(row: Row) -> None:
    if row.status == "not here":
        assert not exists(row.name), f"{row.name} exists: change its row in docs/PORTING.md"
    else:
        assert exists(row.name), f"{row.name} does not exist: change its row in docs/PORTING.md"
    assert row.note or row.status == "same", "what to know, or what to use?"


@pytest.mark.parametrize("name", sorted({row.name for row in ROWS if row.status == "same"}))
def test_class_has_the_members_of_asyncios(name: str) -> None:
    theirs = getattr(asyncio, name, None)
    if isinstance(theirs, type):
        assert public(theirs) <= public(getattr(tinycoro, name))
