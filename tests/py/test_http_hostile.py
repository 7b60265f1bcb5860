"""Hostile clients against the running server: refused, closed, nothing smuggled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("httptools", reason="the dependency group `differential` is not installed")

from attacks import SECRET, SMUGGLED, attack, smuggling
from http_peers import corpus
from tinycoro import HTTPServer

# The status of each error of the corpus, as the server's own table has it.
_TABLE = Path(__file__).resolve().parents[2] / "csrc" / "http" / "error.h"
STATUSES = {
    name: int(status)
    for name, status in re.findall(r"^ +X\((\w+), (\d+), ", _TABLE.read_text(), re.MULTILINE)
}
# Errors in a body, which a fixed answer does not want: the head has been answered by then.
_IN_THE_BODY = "9112-7.1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HTTPServer]:
    server = HTTPServer()
    server.respond("/", "root\n")
    server.respond("/smuggled", SECRET)
    server.upload("/files", tmp_path, max_size=1 << 20, fsync=False)
    server.start()
    yield server
    server.abort()
    server.wait(10)


def test_every_error_of_the_corpus_is_refused_with_its_status(server: HTTPServer) -> None:
    wrong = []
    cases = 0
    for name, verdict, data in corpus():
        if verdict not in STATUSES:
            continue
        cases += 1
        outcome = attack(server.address, data + b"\r\n\r\n" + SMUGGLED)
        status = 405 if name.startswith(_IN_THE_BODY) else STATUSES[verdict]
        is_refused = outcome.is_closed and outcome.statuses[-1:] == [status]
        if not is_refused or SECRET in outcome.received:
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)
    assert cases >= 400


def test_every_error_of_a_body_is_refused_with_its_status_and_stores_nothing(
    server: HTTPServer, tmp_path: Path
) -> None:
    wrong = []
    cases = 0
    for name, verdict, data in corpus():
        if verdict not in STATUSES or not name.startswith(_IN_THE_BODY):
            continue
        cases += 1
        data = data.replace(b"POST / ", b"POST /files ", 1)
        outcome = attack(server.address, data + b"\r\n\r\n" + SMUGGLED)
        is_refused = outcome.is_closed and outcome.statuses == [STATUSES[verdict]]
        if not is_refused or SECRET in outcome.received or list(tmp_path.iterdir()):
            wrong.append(f"{name}: {verdict}: {outcome}")
    assert not wrong, "\n".join(wrong)
    assert cases >= 80


def test_two_framings_in_one_message_are_refused_in_all_spellings(server: HTTPServer) -> None:
    wrong = []
    for data in smuggling():
        outcome = attack(server.address, data)
        if not outcome.is_closed or outcome.statuses not in ([400], [501]):
            wrong.append(f"{data!r}: {outcome}")
    assert not wrong, "\n".join(wrong)
