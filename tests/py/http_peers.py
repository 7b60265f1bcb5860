"""The corpus of requests, two other parsers, generated requests, and the rule that compares them.

The rule: what we accept, both others accept, and all three read the same messages out of it; what
both others accept we accept too, except for the errors in STRICTER. In one thing we are laxer than
h11, which read_h11 makes up for: the empty line before a request (RFC 9112 2.2).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h11
import httptools

from tinycoro import _core

CORPUS = Path(__file__).resolve().parents[1] / "http" / "requests.txt"

# Errors of ours for what both others let pass, with the clause that asks for it.
STRICTER = {
    "LINE_TOO_LONG": "RFC 9112 3: a server may answer 414; neither of them has this limit",
    "TARGET_INVALID": "RFC 9112 3.2: a request-target has no fragment",
    "TARGET_FORM": "RFC 9112 3.2: the form must suit the method, and the scheme an origin server",
    "AUTHORITY_INVALID": "RFC 9110 4.2.1 to 4.2.4: no empty host, no userinfo, a valid port",
    "VERSION_UNSUPPORTED": "RFC 9110 15.6.6: 505 for a major version that is not served",
    "VERSION_INVALID": "RFC 9112 2.3: HTTP/0.9 has no version; both wait for more",
    "TOO_MANY_FIELDS": "RFC 6585 5: 431; neither of them has this limit",
    "HEAD_TOO_LARGE": "RFC 6585 5: 431; neither of them has this limit, as used here",
    "HOST_INVALID": "RFC 9112 3.2: 400 for an invalid field value",
    "LENGTH_INVALID": "RFC 9112 6.3: anything above 2^63-1 is beyond every file",
    "CODING_IN_1_0": "RFC 9112 6.1: faulty framing, close after it; 400 is safer",
    "EXPECTATION": "RFC 9110 10.1.1: 417 for any other expectation",
    "CHUNK_SIZE": "RFC 9112 7.1: the recipient must anticipate large numbers; 2^63-1 at most",
    "CHUNK_EXTENSION": "RFC 9112 7.1.1: a name after each ';', a value after each '='",
    "CHUNK_OVERHEAD": "RFC 9112 7.1.1: the total length of extensions ought to be limited",
    "TRAILER_TOO_LARGE": "RFC 6585 5: 431; neither of them has this limit, as used here",
    "METHOD_UNKNOWN": "RFC 9110 9.1: 501 as soon as the method is longer than any that is known",
}


@dataclass(frozen=True)
class Message:
    method: str
    target: bytes
    minor: str
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    is_whole: bool


@dataclass
class Reading:
    """What a parser made of a stream, up to the end of the first message that closes it."""

    messages: list[Message] = field(default_factory=list)
    error: str | None = None
    is_at_rest: bool = False  # ours: nothing has begun that has not ended
    is_closed: bool = False  # ours: the last message asked for it

    @property
    def whole(self) -> int:
        return sum(message.is_whole for message in self.messages)


# ---- the three parsers --------------------------------------------------------------------------


def _fields(pairs: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, bytes], ...]:
    """In one spelling: h11 writes names in lower case, and the one transfer coding there is."""
    lower = [(name.lower(), value.strip(b" \t")) for name, value in pairs]
    return tuple(
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in lower
    )


def read_ours(data: bytes, cuts: tuple[int, ...] = ()) -> Reading:
    messages, error, taken = _core._http_read(data, cuts)
    reading = Reading(error=error)
    is_whole = True
    for method, target, minor, fields, keep_alive, body, is_whole in messages:
        reading.messages.append(
            Message(method, target, f"1.{minor}", _fields(fields), body, is_whole)
        )
        if is_whole and not keep_alive:
            reading.error = None  # the server closes: what follows is nobody's
            reading.is_at_rest = reading.is_closed = True
            return reading
    reading.is_at_rest = is_whole and error is None and taken == len(data)
    return reading


class _Collector:
    """Callbacks of httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.reading = Reading()
        self.is_closed = False

    def on_message_begin(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        method = self.parser.get_method().decode()
        version = self.parser.get_http_version()
        self.keeps = self.parser.should_keep_alive()
        self._put(Message(method, self.target, version, _fields(self.fields), b"", False), new=True)

    def on_body(self, body: bytes) -> None:
        last = self.reading.messages[-1]
        self._put(
            Message(last.method, last.target, last.minor, last.fields, last.body + body, False)
        )

    def on_message_complete(self) -> None:
        last = self.reading.messages[-1]
        self._put(Message(last.method, last.target, last.minor, last.fields, last.body, True))
        self.is_closed = self.is_closed or not self.keeps

    def _put(self, message: Message, *, new: bool = False) -> None:
        if self.is_closed:
            return
        if new:
            self.reading.messages.append(message)
        else:
            self.reading.messages[-1] = message


def read_httptools(data: bytes) -> Reading | None:
    """None: it takes the rest for another protocol, which we do not switch to (RFC 9110 7.8)."""
    collector = _Collector()
    try:
        collector.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserError as error:
        if not collector.is_closed:
            collector.reading.error = str(error)
    return collector.reading


def _read_h11_message(data: bytes, reading: Reading) -> bytes | None:
    """Add the first message of `data`. Returns the bytes behind it, None at the end."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    while (event := connection.next_event()) is not h11.NEED_DATA:
        if isinstance(event, h11.Request):
            head = (event.method.decode(), event.target, event.http_version.decode())
            fields, body = _fields(list(event.headers)), b""
            reading.messages.append(Message(*head, fields, body, False))
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            reading.messages[-1] = Message(*head, fields, body, False)
        elif isinstance(event, h11.EndOfMessage):
            reading.messages[-1] = Message(*head, fields, body, True)
            # RFC 9112 9.3: HTTP/1.0 persists too, if both ask for it; h11 does not do that.
            is_closed = connection.their_state is h11.MUST_CLOSE and head[2] != "1.0"
            return None if is_closed else bytes(connection.trailing_data[0])
    return None


def read_h11(data: bytes) -> Reading:
    reading = Reading()
    rest: bytes | None = data
    try:
        while rest:
            # RFC 9112 2.2 has a server ignore an empty line before a request-line; h11 does not.
            rest = b"" if rest == b"\r" else rest.removeprefix(b"\r\n")
            rest = _read_h11_message(rest, reading) if rest else None
    except h11.RemoteProtocolError as error:
        reading.error = str(error)
    return reading


# ---- the rule -----------------------------------------------------------------------------------


def _accepts_more(other: Reading, ours: Reading) -> bool:
    """True if `other` has taken the head or the body that we stopped in."""
    if other.error is not None and other.whole <= ours.whole:
        return False  # it refuses the same message, if later: llhttp some codings behind the head
    if len(ours.messages) == ours.whole:
        return len(other.messages) > ours.whole
    return other.whole > ours.whole


def difference(data: bytes) -> str | None:
    """What is wrong between the three, or None."""
    ours, others = read_ours(data), {"h11": read_h11(data)}
    llhttp = read_httptools(data)
    if llhttp is not None:
        others["httptools"] = llhttp
    if ours.error is not None:
        if (
            llhttp is None
            or ours.error in STRICTER
            or not all(_accepts_more(o, ours) for o in others.values())
        ):
            return None
        return f"we refuse it, {ours.error}, and nobody else does"
    for name, other in others.items():
        # Who sees an error in a message that we are not through with does no harm.
        count = len(ours.messages) if other.error is None else ours.whole
        if other.messages[:count] != ours.messages[:count]:
            return f"we read {ours.messages}\n{name} reads {other.messages}, {other.error}"
        if other.error is not None and ours.is_at_rest and not ours.is_closed:
            return f"we accept it, {name} does not: {other.error}"
    return None


# ---- requests -----------------------------------------------------------------------------------


def _unescape(text: str) -> bytes:
    result = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "\\":
            result += text[at].encode("latin-1")
            at += 1
        elif text[at + 1] == "*":
            start = text.index("{", at)
            end = text.index("}", start)
            result += _unescape(text[start + 1 : end]) * int(text[at + 2 : start])
            at = end + 1
        elif text[at + 1] == "x":
            result.append(int(text[at + 2 : at + 4], 16))
            at += 4
        else:
            result += {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}[text[at + 1]]
            at += 2
    return bytes(result)


def corpus() -> Iterator[tuple[str, str, bytes]]:
    """Name, verdict and bytes of each case."""
    for line in CORPUS.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            name, verdict, *rest = line.split(" ", 2)
            yield name, verdict, _unescape(rest[0] if rest else "")


_METHODS = (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"FOO", b"get")
_TARGETS = (
    *(b"/", b"/a/b?c=d", b"*", b"http://h/a", b"http://h:80", b"h:80", b"/%41", b"//", b"/a#b"),
    *(b"http://u@h/", b"/a b", b"/\xff", b"ftp://h/", b"", b"http://[::1]/", b"/?"),
)
_VERSIONS = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ")
_LINES = (
    *(b"Host: h", b"Host: a b", b"Host:", b"Host : h", b"Accept: */*", b"X: y", b"X:y \t"),
    *(b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 5, 5", b"Content-Length: +5"),
    *(b"Content-Length: 00005", b"Content-Length : 5", b"Transfer-Encoding: chunked"),
    *(b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: gzip, chunked", b"Connection: close"),
    *(b"Transfer-Encoding: identity", b"Transfer-Encoding:\tchunked", b"Connection: keep-alive"),
    *(b"Expect: 100-continue", b"Expect: x", b" folded", b"\tfolded", b"no colon", b"a\x00: b"),
    *(b"a: b\x01", b"a: \xff", b": b", b"Content-Length: 18446744073709551616", b"X\x80: y"),
    *(b"Connection: close, x", b"Connection: keep-alive, close", b"Connection: Keep-Alive\t"),
)
_GOOD_LINES = (b"Accept: */*", b"X: y", b"X:y \t", b"a: \xff", b"Connection: keep-alive", b"N: 1")
_SIZES = (
    b"5",
    b"0",
    b"a",
    b"A",
    b"005",
    b"5;a",
    b'5;a="b"',
    b"5 ",
    b"+5",
    b"0x5",
    b"g",
    b"",
    b"5;",
)
_ENDS = (b"\r\n",) * 200 + (b"\n", b"\r", b"\r\r\n", b"", b"\n\r")


def _body(rng: random.Random, head: bytes) -> bytes:
    lower = head.lower()
    if b"chunked" in lower and rng.random() < 0.95:
        chunks = b""
        for _ in range(rng.randrange(3)):
            size = rng.choice(_SIZES) if rng.random() < 0.3 else b"5"
            chunks += size + rng.choice(_ENDS) + b"hello" + rng.choice(_ENDS)
        trailer = b"T: v" + rng.choice(_ENDS) if rng.random() < 0.1 else b""
        return chunks + b"0" + rng.choice(_ENDS) + trailer + rng.choice(_ENDS)
    if b"content-length" in lower:
        return b"hello"[: rng.choice((5, 5, 5, 5, 0, 4))]
    return b""


def generate(rng: random.Random) -> bytes:
    """One to three requests, right or nearly right, some of them damaged."""
    data = b""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        line = b" ".join((rng.choice(_METHODS), rng.choice(_TARGETS), rng.choice(_VERSIONS)))
        if rng.random() < 0.7:
            line = b"POST /a HTTP/1.1"
        lines = [b"Host: h"] if rng.random() < 0.9 else []
        lines += [
            rng.choice(_LINES if rng.random() < 0.2 else _GOOD_LINES)
            for _ in range(rng.randrange(4))
        ]
        if rng.random() < 0.5:
            lines.append(rng.choice((b"Content-Length: 5", b"Transfer-Encoding: chunked")))
        head = b"".join(part + rng.choice(_ENDS) for part in (line, *lines)) + rng.choice(_ENDS)
        data += head + _body(rng, head)
    for _ in range(rng.choice((0, 0, 0, 0, 1, 2))):
        at = rng.randrange(len(data) + 1)
        change = bytes((rng.choice((0, 9, 10, 13, 32, 35, 44, 58, 59, 127, 128, 255, 65, 48)),))
        end = at + rng.choice((0, 1, 1, 2))
        data = data[:at] + rng.choice((change, change, b"")) + data[end:]
    return data if rng.random() < 0.9 else data[: rng.randrange(len(data) + 1)]
