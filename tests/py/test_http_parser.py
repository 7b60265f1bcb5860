"""The HTTP parser beside httptools and h11, and on its own through the test hook."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

pytest.importorskip("h11", reason="the dependency group `differential` is not installed")
pytest.importorskip("httptools", reason="the dependency group `differential` is not installed")
pytest.importorskip("hypothesis", reason="the dependency group `differential` is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

import http_peers
from http_peers import STRICTER, corpus, difference, generate, read_ours
from tinycoro import _core

CASES = list(corpus())


def test_the_corpus_is_large_and_its_names_begin_with_the_clause() -> None:
    names = [name for name, _, _ in CASES]
    clients = {"browser-get", "curl-get", "ab-get-1.0", "form-post", "range-get"}
    assert len(names) == len(set(names)) >= 400
    assert all(re.match(r"(?:9110|9112|6585)-\d", name) for name in set(names) - clients)


def test_the_corpus_reads_the_same_in_three_parsers() -> None:
    wrong = {name: found for name, _, data in CASES if (found := difference(data))}
    assert not wrong


def test_the_corpus_gets_its_verdict_in_two_pieces_cut_anywhere() -> None:
    for name, verdict, data in CASES:
        whole = _core._http_read(data)
        assert (whole[1] or verdict) == verdict, name
        for cut in range(len(data)):
            assert _core._http_read(data, (cut,)) == whole, (name, cut)


def test_every_stricter_error_has_a_case_that_shows_it() -> None:
    shown = {verdict for _, verdict, _ in CASES}
    assert set(STRICTER) <= shown
    assert all(clause.startswith("RFC ") for clause in STRICTER.values())


def _is_open_head(data: bytes, whole: tuple[list[list[Any]], str | None, int]) -> bool:
    """True if there was no error, or the one found is in a head whose end is not there yet."""
    return whole[1] is None or b"\r\n\r\n" not in data[whole[2] :].removeprefix(b"\r\n")


@settings(max_examples=600, deadline=None, database=None, derandomize=True)
@given(st.randoms(use_true_random=False), st.data())
def test_generated_requests_read_the_same_in_three_parsers(
    rng: random.Random, draw: st.DataObject
) -> None:
    data = generate(rng)
    assert difference(data) is None
    cuts = tuple(sorted(draw.draw(st.sets(st.integers(0, len(data)), max_size=4))))
    whole, split = _core._http_read(data), _core._http_read(data, cuts)
    # Of a head that is not complete, a mistake may be told at once or later.
    assert split[0] == whole[0]
    assert split[1] in {None, whole[1]}
    assert split[1] == whole[1] or _is_open_head(data, whole)


def test_the_generator_makes_streams_that_are_accepted_and_such_that_are_not() -> None:
    readings = [read_ours(generate(random.Random(seed))) for seed in range(2000)]
    accepted = sum(reading.error is None for reading in readings)
    assert 300 < accepted < 1700
    assert len({reading.error for reading in readings}) > 20


def test_the_other_parsers_agree_where_nobody_is_strict() -> None:
    data = (
        b"POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    )
    ours = read_ours(data * 2)
    llhttp = http_peers.read_httptools(data * 2)
    assert llhttp is not None
    assert ours.messages == llhttp.messages == http_peers.read_h11(data * 2).messages
    assert [message.body for message in ours.messages] == [b"hello"] * 2
