"""Every Python example of README.md and docs/ runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1)
]


@pytest.mark.parametrize("source", EXAMPLES)
def test_example_runs(source: str, tmp_path: Path) -> None:
    script = tmp_path / "test_example.py"
    script.write_text(source)
    # Tests are for pytest, everything else runs by itself.
    how = ["-m", "pytest", "-p", "no:cacheprovider"] if "\nimport pytest\n" in source else []
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", *how, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_readme_pipes_a_script_to_the_repl() -> None:
    source = re.search(r"^echo '(.*)' \| python -m tinycoro$", PAGES[0].read_text(), re.MULTILINE)
    assert source is not None
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "tinycoro"],
        input=source[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1, 2]\n", "")


def test_readme_names_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)", readme, re.MULTILINE))
    targets |= set(re.findall(r"`make (\w+)`", readme))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
