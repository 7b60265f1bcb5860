"""The typed contract: mypy accepts typed use of the package, stubtest finds the C module in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sources import ROOT

pytest.importorskip("mypy")


def _run(*command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", *command],
        cwd=ROOT / "tests",  # not the root: there is no compiled module in the source tree
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_typed_use_of_the_package_is_accepted(tmp_path: Path) -> None:
    sample = ROOT / "tests" / "py" / "typing" / "sample.py"
    _run("mypy", "--strict", "--cache-dir", str(tmp_path), str(sample))


def test_stub_agrees_with_the_c_module(tmp_path: Path) -> None:
    _run("mypy.stubtest", "tinycoro._core", "--mypy-config-file", _empty_config(tmp_path))


def _empty_config(folder: Path) -> str:
    path = folder / "mypy.ini"
    path.write_text(f"[mypy]\ncache_dir = {folder}\n", encoding="utf-8")
    return str(path)
