"""Byte ranges of bulk data and single parts (RFC 9110 section 14)."""

from __future__ import annotations

import re
from typing import Final

_ONE: Final = re.compile(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*\Z", re.IGNORECASE)


class RangeError(ValueError):
    """A Range that asks for nothing that is there: status 416, with `content_range` as its Content-Range."""

    def __init__(self, size: int, why: str) -> None:
        super().__init__(why)
        self.content_range = f"bytes */{size}"


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes [start, stop) of a representation of `size` bytes that a Range header asks for.

    None: send the whole of it (status 200), because the header is empty, of another unit than bytes, or asks
    for several ranges, which RFC 9110 14.2 lets a server ignore.
    Raises RangeError for a range that cannot be read, or that has no byte of the representation.
    """
    if not header or not header[:6].lower().startswith("bytes=") or "," in header:
        return None
    found = _ONE.match(header)
    if found is None or found[1] == found[2] == "":
        raise RangeError(size, "the Range header is none that RFC 9110 knows")
    first, last = found[1], found[2]
    if not first:
        length = min(int(last), size)
        if not length:
            raise RangeError(size, "the Range asks for no bytes")
        return size - length, size
    start = int(first)
    if last and int(last) < start:
        raise RangeError(size, "the Range ends before it begins")
    if start >= size:
        raise RangeError(size, f"the Range begins behind the last of {size} bytes")
    return start, min(int(last) + 1, size) if last else size


def content_range(start: int, stop: int, size: int) -> str:
    """The Content-Range of a 206 answer with the bytes [start, stop)."""
    return f"bytes {start}-{stop - 1}/{size}"
