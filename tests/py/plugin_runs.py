"""What the tests of the pytest plugin share: pytest in a child, with no other plugin than ours."""

from __future__ import annotations

import pytest

INI = """
    [pytest]
    filterwarnings = error
    addopts = --disable-plugin-autoload -p _tinycoro_pytest -p no:cacheprovider --strict-markers
    {more}
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str, ini: str = "") -> pytest.RunResult:
    """Run pytest on one file, with these arguments and these lines in its configuration."""
    pytester.makeini(INI.format(more=ini))
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess(*arguments, timeout=110)


def assert_lines(result: pytest.RunResult, *lines: str) -> None:
    """Lines like these, with wildcards, were printed in this order."""
    result.stdout.fnmatch_lines(lines)
