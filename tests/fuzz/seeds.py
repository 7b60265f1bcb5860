"""Write first inputs for the fuzz targets into a folder: python3 seeds.py FOLDER.

Requests and chunked bodies come from tests/http/requests.txt, so that what is added there is fuzzed
too; the first byte, which says where a target cuts its input, is the middle.
"""

import sys
from pathlib import Path

REQUESTS = Path(__file__).resolve().parents[1] / "http" / "requests.txt"


RANGES = (
    *("bytes=0-0", "bytes=-5", "bytes=9-", "bytes=0-4, 6-7,-1", "bytes=0-,0-", "bytes=, 1-2 ,"),
    *(
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ),
)
PART = 'Content-Disposition: form-data; name="a"; filename="b\\"c"\r\nContent-Type: text/plain'
BODIES = (
    f"--X\r\n{PART}\r\n\r\none\r\n--X\r\n{PART}\r\n\r\n\r\n--X--\r\n",
    f"preamble\r\n--X\r\n{PART}\r\n\r\n\r\n--\r\r\n--Y\r\n--X--epilogue",
)


def unescape(text: str) -> bytes:
    """The bytes of a line, without its repetitions: N times the text would only be slow."""
    result = bytearray()
    at = 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1] == "*":
            at = text.index("{", at) + 1
        elif text[at] == "\\" and text[at + 1] == "x":
            result.append(int(text[at + 2 : at + 4], 16))
            at += 4
        elif text[at] == "\\":
            result += {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}[text[at + 1]]
            at += 2
        else:
            result += b"" if text[at] == "}" else text[at].encode("latin-1")
            at += 1
    return bytes(result)


def write(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main() -> None:
    folder = Path(sys.argv[1])
    for target in ("parser", "chunked", "path", "range", "multipart"):
        write(folder / target, "empty", b"")
    for line in REQUESTS.read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(" ")
        if not line or name == "#" or " " not in rest:
            continue
        data = unescape(rest.split(" ", 1)[1])
        write(folder / "parser", name, b"\x80" + data)
        head, found, body = data.partition(b"chunked\r\n\r\n")
        if found:
            write(folder / "chunked", name, b"\x80" + body)
        words = head.split(b" ")
        if len(words) > 1:
            write(folder / "path", name, words[1])
    for number, text in enumerate(RANGES):
        write(folder / "range", str(number), (10).to_bytes(8, "little") + text.encode())
    for number, text in enumerate(BODIES):
        line = "multipart/form-data; boundary=X\n"
        write(folder / "multipart", str(number), b"\x80" + (line + text).encode())


if __name__ == "__main__":
    main()
