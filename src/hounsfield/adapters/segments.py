"""The format of log segments: what a record looks like, and how to find the whole ones again.

A segment is a file of fixed size. Its first page carries the segment header with the segment's generation,
8 random bytes that each life of a (recycled) file gets anew and that every record repeats, so that what an
earlier life left behind is never taken for a record. Rounds follow, each beginning on a page; the records of
a round stand back to back:

    fixed header (84 bytes) | object: file meta, data set | context (JSON)

A large object has a file of its own: its record is header and context alone. Integers are little-endian.
The CRC of a fixed header begins with its position: a copy of a record, in the data set of another, is none.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import blake3

PAGE = 4096
RECORD_MAGIC = b"HFrecor\x01"
SEGMENT_MAGIC = b"HFsegmt\x01"
LARGE = 1  # flag: the object is in a file of its own, named in the context

#: magic, generation, flags, meta length, context length, data set length, at, BLAKE3 of the data set,
#: CRC-32 of context and meta
RECORD = struct.Struct("<8s8sIIIQq32sI")
CRC = struct.Struct("<I")
HEADER_LENGTH = RECORD.size + CRC.size
#: magic, generation, length of the segment
_SEGMENT = struct.Struct("<8s8sQ")
_NAME = re.compile(r"([0-9]{8,})-([0-9a-f]{16})\.seg\Z")
_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One record whose fixed header is whole. `position` is where the header begins."""

    position: int
    flags: int
    meta_length: int
    context_length: int
    data_length: int
    at: int
    content_hash: bytes
    body_crc: int

    @property
    def inline_length(self) -> int:
        """Bytes of the object within the segment."""
        return 0 if self.flags & LARGE else self.meta_length + self.data_length

    @property
    def end(self) -> int:
        return self.position + HEADER_LENGTH + self.inline_length + self.context_length


def new_generation() -> bytes:
    return secrets.token_bytes(8)


def segment_name(sequence: int, generation: bytes) -> str:
    return f"{sequence:08d}-{generation.hex()}.seg"


def parse_segment_name(name: str) -> tuple[int, bytes] | None:
    """Sequence number and generation, None when it is not the name of a segment."""
    match = _NAME.match(name)
    return (int(match[1]), bytes.fromhex(match[2])) if match else None


def segment_header(generation: bytes, length: int) -> bytes:
    """The first page of a segment."""
    head = _SEGMENT.pack(SEGMENT_MAGIC, generation, length)
    return (head + CRC.pack(zlib.crc32(head))).ljust(PAGE, b"\0")


def read_segment_header(data: bytes) -> bytes | None:
    """The generation, None when it is not a whole segment header."""
    head = data[: _SEGMENT.size]
    if len(data) < _SEGMENT.size + CRC.size or not head.startswith(SEGMENT_MAGIC):
        return None
    if CRC.unpack_from(data, _SEGMENT.size)[0] != zlib.crc32(head):
        return None
    generation: bytes = _SEGMENT.unpack(head)[1]
    return generation


def parse_record(data: bytes, position: int, generation: bytes) -> Record | None:
    """The record whose fixed header `data` begins with; None without one of this place and generation."""
    if len(data) < HEADER_LENGTH or data[:8] != RECORD_MAGIC or data[8:16] != generation:
        return None
    if CRC.unpack_from(data, RECORD.size)[0] != zlib.crc32(data[: RECORD.size], position):
        return None
    _, _, flags, meta, context, length, at, content_hash, body = RECORD.unpack_from(data)
    return Record(position, flags, meta, context, length, at, content_hash, body)


def next_page(position: int) -> int:
    return (position + PAGE - 1) & -PAGE


def scan(fd: int, generation: bytes, start: int) -> Iterator[Record]:
    """Every record from `start` (the beginning of a page) on, in order; their bodies are not looked at.

    Records of a round follow each other, rounds begin on a page. Past a header that is not whole the search
    goes on for the next page that begins with one: a torn round never hides a whole one.
    """
    size = os.fstat(fd).st_size
    position = start
    while position >= 0:
        record = parse_record(os.pread(fd, HEADER_LENGTH, position), position, generation)
        if record is not None and record.end <= size:
            yield record
            position = record.end
        else:
            position = _find_record(fd, generation, next_page(position + 1))


def _find_record(fd: int, generation: bytes, start: int) -> int:
    """The first page from `start` on that begins with a record's fixed header; -1 when there is none."""
    mark = RECORD_MAGIC + generation
    while window := os.pread(fd, _WINDOW, start):
        for offset in range(0, len(window), PAGE):
            if window.startswith(mark, offset):
                position = start + offset
                if parse_record(window[offset : offset + HEADER_LENGTH], position, generation):
                    return position
        start += len(window)
    return -1


def read_context(fd: int, record: Record) -> bytes:
    return os.pread(fd, record.context_length, record.end - record.context_length)


def body_is_whole(fd: int, start: int, record: Record, context: bytes) -> bool:
    """Whether the object at `start` of `fd` (segment, or file of its own) and the context are as written."""
    crc = zlib.crc32(os.pread(fd, record.meta_length, start), zlib.crc32(context))
    if crc != record.body_crc:
        return False
    digest = blake3.blake3()
    position, rest = start + record.meta_length, record.data_length
    while rest:
        piece = os.pread(fd, min(rest, _WINDOW), position)
        if not piece:
            return False
        digest.update(piece)
        position += len(piece)
        rest -= len(piece)
    return digest.digest() == record.content_hash
