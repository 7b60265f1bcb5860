"""The table of the HTTP server's limits says what the code does."""

from __future__ import annotations

import argparse
import inspect
import re
from pathlib import Path

import tinycoro
from tinycoro import _core
from tinycoro._cli import http

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "servers.rst"
ROW = re.compile(r"^   \* - `(\w+)`\n     - `(--[\w-]+)`\n     - (\S+)\n", re.MULTILINE)


def _table() -> dict[str, tuple[str, float]]:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {name: (flag, float(default)) for name, flag, default in rows}


def test_the_table_has_the_defaults_of_the_code() -> None:
    assert {name: default for name, (_, default) in _table().items()} == _core._http_limits()


def test_the_signature_has_the_defaults_of_the_code() -> None:
    parameters = inspect.signature(tinycoro.HTTPServer).parameters
    limits = _core._http_limits()
    assert {name: parameters[name].default for name in limits} == limits


def test_the_commands_take_what_the_table_says() -> None:
    parser = argparse.ArgumentParser()
    http.add(parser.add_subparsers())
    for name, (flag, default) in _table().items():
        assert getattr(parser.parse_args(["http"]), name) == default
        assert getattr(parser.parse_args(["http", flag, "7"]), name) == 7
