"""The plain text of docstrings and header comments, as reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIELDS = ("Blocks", "Thread-safety", "Raises", "Returns", "Example")
_FIELD = re.compile(rf"(?:^|(?<=[.)] ))({'|'.join(_FIELDS)}): ")


def escape(text: str) -> str:
    """Text in which backticks make code, and nothing else is markup."""
    return "".join(
        part if part.startswith("`") and len(part) > 2 else re.sub(r"([\\*`|_])", r"\\\1", part)
        for part in re.split(r"(`[^`\n]+`)", text)
    )


def docstring_lines(lines: Iterable[str]) -> list[str]:
    """A docstring in the style of this project: what is indented is code."""
    result: list[str] = []
    is_code = False
    for line in lines:
        is_indented = line.startswith(("    ", "  "))
        if is_indented and not is_code and line.strip():
            result += ["", ".. code-block:: python", "", ""]
        if not is_indented and line.strip() and is_code:
            result.append("")
        if line.strip():
            is_code = is_indented
        if is_code:
            result.append("    " + line if line.strip() else "")
            continue
        if line.strip() and _FIELD.match(line) and result and result[-1].strip():
            result.append("")
        result.append(_FIELD.sub(lambda match: f"**{match[1]}:** ", escape(line)))
    return result
