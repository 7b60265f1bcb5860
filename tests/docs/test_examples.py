"""Every Python example of README.md and docs/ runs as it is printed."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tinycoro._cli import make_parser
from tinycoro._cli.directory import read_words

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.rglob("*.rst"))]
MARKDOWN = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REST = re.compile(r"^\.\. code-block:: python\n\n((?: {3}.*\n|\n)+)", re.MULTILINE)
SESSION = re.compile(r"^\.\. code-block:: pycon\n\n((?: {3}.*\n|\n)+)", re.MULTILINE)
INCLUDED = re.compile(r"^\.\. literalinclude:: (\S+)$", re.MULTILINE)


def examples(pattern: re.Pattern[str]) -> list[object]:
    """Every block of the pages that a pattern finds, without its indentation."""
    return [
        pytest.param(textwrap.dedent(block), id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(pattern.findall(page.read_text(encoding="utf-8")), 1)
    ]


EXAMPLES = [*examples(MARKDOWN), *examples(REST)]


@pytest.mark.parametrize("source", EXAMPLES)
def test_example_runs(source: str, tmp_path: Path) -> None:
    script = tmp_path / "test_example.py"
    script.write_text(source)
    # Tests are for pytest, everything else runs by itself.
    is_test = re.search(r"^import pytest$", source, re.MULTILINE)
    how = ["-m", "pytest", *("-p", "no:cacheprovider", "-p", "no:asyncio")] if is_test else []
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", *how, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("session", examples(SESSION))
def test_session_shows_what_is_printed(session: str) -> None:
    lines = session.strip().splitlines()
    typed = [line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")]
    shown = [line for line in lines if not line.startswith(">>> ")]
    done = run_repl("\n".join(typed))
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, shown, "")


def test_commands_of_the_pages_have_words_that_exist() -> None:
    """They are read as by the command itself, which would end the program; none is run."""
    lines = [
        shlex.split(words, comments=True)
        for page in PAGES
        for words in re.findall(
            r"^ *python -m tinycoro (\S.*)$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert len(lines) > 5
    for words in lines:
        options = make_parser().parse_args(words)
        if hasattr(options, "words"):
            read_words(options)


def test_included_programs_are_among_those_that_tests_run() -> None:
    folder = ROOT / "tests" / "docs"
    programs = {*folder.glob("programs/*.py"), folder / "fibers.c"}
    for page in PAGES:
        for name in INCLUDED.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / name).resolve() in programs


def run_repl(source: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-m", "tinycoro"],
        input=source,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_readme_pipes_a_script_to_the_repl() -> None:
    source = re.search(r"^echo '(.*)' \| python -m tinycoro$", PAGES[0].read_text(), re.MULTILINE)
    assert source is not None
    done = run_repl(source[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1, 2]\n", "")


def test_readme_names_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)", readme, re.MULTILINE))
    targets |= set(re.findall(r"`make (\w+)`", readme))
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
