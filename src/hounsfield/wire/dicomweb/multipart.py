"""multipart/related bodies (RFC 2387, RFC 2046 5.1): heads of parts to send, and a bounded push parser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from hounsfield.wire.dicomweb.accept import RELATED, AcceptError, MediaRange, parse_media_type

#: RFC 2046 allows 70 characters; Orthanc sends 73.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,199}[0-9A-Za-z'()+_,./:=?-]\Z")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TEXT: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")


class MultipartError(ValueError):
    """A body that is not the multipart/related it says it is: status 400. Never holds data of parts."""


class MultipartLimitError(MultipartError):
    """More parts, headers or bytes than are taken: status 413."""


def part_head(boundary: str, content_type: str, location: str = "") -> bytes:
    """What comes before the data of a part: delimiter, Content-Type, Content-Location, empty line. The first
    part and later ones begin alike, with CRLF. Raises ValueError for what cannot be in a header."""
    if _CONTROL.search(content_type) or _CONTROL.search(location):
        raise ValueError("a control character in the header of a part")
    where = f"Content-Location: {location}\r\n" if location else ""
    return f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n{where}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """What comes behind the data of the last part."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")


def related_length(boundary: str, parts: Iterable[tuple[str, str, int]]) -> int:
    """The Content-Length of a body of `parts`: (content type, location, bytes of data) each."""
    fixed = len(part_head(boundary, ""))
    total = len(closing(boundary))
    for content_type, location, size in parts:
        total += fixed + len(content_type) + size + (len(location) + 20 if location else 0)
    return total


def related_type(boundary: str, part_type: str, transfer_syntax: str = "") -> str:
    """The Content-Type of such a body."""
    syntax = f"; transfer-syntax={transfer_syntax}" if transfer_syntax else ""
    return f'{RELATED}; type="{part_type}"{syntax}; boundary={boundary}'


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins. `headers`: names in lower case."""

    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def location(self) -> str:
        return self.headers.get("content-location", "")


@dataclass(frozen=True, slots=True)
class PartData:
    """Bytes of the current part, a view into what was fed."""

    data: memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The current part is complete."""


Event = PartBegin | PartData | PartEnd


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken in; sizes in bytes."""

    max_parts: int = 100_000
    max_headers: int = 32  # header fields of one part
    max_header_bytes: int = 8192  # all header fields of one part
    max_preamble: int = 8192  # before the first delimiter


DEFAULT_LIMITS: Final = Limits()


class RelatedReader:
    """Takes a body in any pieces, gives events as soon as they are certain. Holds back no more than a
    delimiter, the preamble or the headers of one part.

    The grammar of parts is python-multipart's; the preamble, limits and what headers mean are ours.
    """

    def __init__(self, boundary: bytes, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._delimiter = b"--" + boundary
        self._preamble: bytearray | None = bytearray()  # None behind the first delimiter
        self._events: list[Event] = []
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._name = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            # ours count first; these stop what is not told to us, such as endless spaces
            max_header_count=limits.max_headers + 1,
            max_header_size=limits.max_header_bytes * 2,
        )

    @property
    def ended(self) -> bool:
        """Whether the closing delimiter has been seen; what follows it, the epilogue, is ignored."""
        return self._ended

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises MultipartError, after which the reader is of no use."""
        if self._preamble is not None:
            data = self._behind_preamble(data)
        events: list[Event] = []
        self._events = events
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MultipartError(f"the body is no multipart in or behind part {self._parts}") from error
        return events

    def finish(self) -> None:
        """The body has ended. Raises MultipartError where its closing delimiter has not been seen."""
        if not self._ended:
            raise MultipartError(f"the body ends in part {self._parts}, before its closing delimiter")

    def _behind_preamble(self, data: bytes) -> bytes:
        """What there is from the first delimiter on, b'' while it has not come."""
        held = self._preamble
        assert held is not None
        before = len(held)
        held += data[: self._limits.max_preamble + len(self._delimiter) + 2 - before]
        at = held.find(self._delimiter)
        while at > 0 and held[at - 1] != 0x0A:  # not at the beginning of a line
            at = held.find(self._delimiter, at + 1)
        if at < 0:
            if len(held) > self._limits.max_preamble:
                raise MultipartError("the body does not begin with the boundary of its Content-Type")
            return b""
        self._preamble = None
        return data[at - before :] if at >= before else bytes(held[at:before]) + data

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise MultipartLimitError(f"more than {self._limits.max_parts} parts")
        self._headers = {}
        self._header_bytes = 0

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            raise MultipartLimitError(f"part {self._parts} has more headers than are taken")

    def _on_header_end(self) -> None:
        name, value = self._name.decode("latin-1").lower(), self._value.decode("latin-1").strip(" \t")
        self._name.clear()
        self._value.clear()
        if not _TEXT.match(value):
            raise MultipartError(f"a control character in the header of part {self._parts}")
        if name in self._headers:
            raise MultipartError(f"a header is twice in part {self._parts}")
        self._headers[name] = value
        if len(self._headers) > self._limits.max_headers:
            raise MultipartLimitError(f"part {self._parts} has more headers than are taken")

    def _on_headers_finished(self) -> None:
        self._events.append(PartBegin(self._headers))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(PartData(memoryview(data)[start:end]))

    def _on_part_end(self) -> None:
        self._events.append(PartEnd())

    def _on_end(self) -> None:
        self._ended = True


def boundary_of(content_type: str) -> bytes:
    """The boundary of a Content-Type that is multipart/related, quoted or not. Raises MultipartError."""
    boundary = _related(content_type).parameters.get("boundary", "")
    if not _BOUNDARY.match(boundary):
        raise MultipartError("the Content-Type has no boundary of 1 to 200 characters that RFC 2046 allows")
    return boundary.encode("ascii")


def related_part_type(content_type: str) -> str:
    """The type of the root part ("application/dicom", "application/dicom+json", "application/dicom+xml"), in
    lower case, '' where not told. Raises MultipartError."""
    return _related(content_type).parameters.get("type", "").split(";")[0].strip().lower()


def _related(content_type: str) -> MediaRange:
    try:
        found = parse_media_type(content_type)
    except AcceptError as error:
        raise MultipartError(str(error)) from error
    if found.media_type != RELATED:
        raise MultipartError(f"the Content-Type is not {RELATED}")
    return found
