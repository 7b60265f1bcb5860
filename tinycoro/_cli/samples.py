"""What the demonstration shows: two pictures made here, and files for its folder."""

import struct
import zlib
from pathlib import Path

LARGE_BYTES = 50 * 1024 * 1024

PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 120" width="320" height="120">
<rect width="320" height="120" rx="10" fill="#16324f"/>
<g fill="none" stroke-width="6" stroke-linecap="round">
<path stroke="#5bd1d7" d="M20 40 C 80 0, 120 90, 180 40 S 270 20, 300 60"/>
<path stroke="#f7b32b" d="M20 70 C 90 110, 130 10, 190 70 S 260 100, 300 60"/>
<path stroke="#f25c54" d="M20 100 C 70 60, 150 120, 200 90 S 270 70, 300 60"/>
</g>
<circle cx="300" cy="60" r="9" fill="#ffffff"/>
</svg>
"""

_README = """These files are served by native threads, without Python.

large.bin has 50 MiB of zeros; ask for a piece of it: curl -r 100-199 .../files/large.bin
What is uploaded to /files comes to lie beside them.
"""


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gradient(width: int = 320, height: int = 120) -> bytes:
    """A PNG: red grows to the right, green downwards."""
    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            rows += bytes((40 + 200 * x // width, 40 + 160 * y // height, 150))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


def fill(folder: Path) -> None:
    """Put files into an empty folder; the large one takes no room on the disk."""
    (folder / "readme.txt").write_text(_README, encoding="utf-8")
    with (folder / "large.bin").open("wb") as file:
        file.truncate(LARGE_BYTES)
