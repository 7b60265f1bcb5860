"""The package under test is the installed one; the source tree says so when it is imported."""

from __future__ import annotations

import subprocess
import sys

from sources import ROOT


def test_import_from_the_source_tree_fails_with_advice() -> None:
    # -S leaves out site-packages, so that an editable install does not answer in its place.
    result = subprocess.run(
        [sys.executable, "-S", "-c", "import tinycoro"],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    last_line = result.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError:")
    assert "source tree" in last_line
