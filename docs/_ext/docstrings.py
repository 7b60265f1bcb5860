"""Sphinx extension: docstrings of the package are plain text, not reStructuredText."""

from __future__ import annotations

from typing import TYPE_CHECKING

import prose

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _convert(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    lines[:] = prose.docstring_lines(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _convert)
    return {"parallel_read_safe": True}
