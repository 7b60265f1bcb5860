"""Programs written for asyncio print the same on tinycoro, by a change of the import alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PROGRAMS = sorted((FOLDER / "programs").glob("*.py"))
IMPORT = "\nimport asyncio\n"


def run(source: str, path: Path) -> str:
    """Run a program with warnings as errors, and return what it has printed."""
    path.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-X", "faulthandler", "-W", "error", path],
        cwd=path.parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_program_prints_the_same_on_both(program: Path, tmp_path: Path) -> None:
    source = program.read_text(encoding="utf-8")
    assert source.count(IMPORT) == 1
    expected = run(source, tmp_path / "on_asyncio.py")
    assert expected
    ported = source.replace(IMPORT, "\nimport tinycoro as asyncio\n")
    found = run(ported, tmp_path / "on_tinycoro.py")
    assert found == expected


@pytest.mark.parametrize("library", ["asyncio", "tinycoro"])
@pytest.mark.parametrize("name", ["chat", "key_value"])
def test_server_has_a_thousand_clients_on_both(name: str, library: str, tmp_path: Path) -> None:
    source = (FOLDER / "programs" / f"{name}.py").read_text(encoding="utf-8")
    program = tmp_path / f"{name}_on_{library}.py"
    if library == "tinycoro":
        source = source.replace(IMPORT, "\nimport tinycoro as asyncio\n")
    program.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-X", "faulthandler", FOLDER / "thousand_clients.py", name, program],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "served 1000\n"
