"""Where bytes are kept: the intake log, large objects, series packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location

Piece = bytes | bytearray | memoryview


@dataclass(slots=True)
class Incoming:
    """One complete object on its way into the log, as the receiver hands it over.

    `meta` is preamble, "DICM" and file meta group; the data set is in `pieces` (memory) or, for a large
    object, already in the file of `spill`. Exactly one of the two is set.
    """

    meta: Piece
    pieces: Sequence[Piece] | None
    spill: Spill | None
    data_set_length: int
    content_hash: bytes
    transfer_syntax_uid: str
    origin: Origin
    at: int
    #: Device default character set: what replay needs to scan the header again as it was scanned.
    character_set: str = ""
    #: QuarantineReason value decided before the index was asked, '' for none.
    quarantine: str = ""


class Spill(Protocol):
    """A large object being received into a file of its own, outside of memory."""

    @property
    def length(self) -> int: ...
    def write(self, piece: Piece) -> None:
        """Append. Raises StorageFullError."""
        ...

    def header(self) -> Piece:
        """A read-only map of the data set received so far, for the header scan. Close with discard/keep."""
        ...

    def discard(self) -> None:
        """Forget it: the file is removed."""
        ...


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record found by replay, in order of the log."""

    location: Location
    content_hash: bytes
    transfer_syntax_uid: str
    origin: Origin
    at: int
    character_set: str
    quarantine: str


class IntakeLog(Protocol):
    """One writer's append-only log. One thread calls `append`."""

    def spill(self) -> Spill:
        """A file for a large object. Any thread."""
        ...

    def append(self, objects: Sequence[Incoming]) -> list[Location]:
        """Write all objects with one vectored append; nothing is durable before `sync`.

        Large objects keep their own file (renamed into its final place) and leave a record in the log.
        Raises StorageFullError after undoing the whole round: none of it is then in the log.
        """
        ...

    def sync(self) -> None:
        """One fdatasync: all appended before are durable when this returns."""
        ...

    def close(self) -> None: ...


class Blobs(Protocol):
    """Reads of what is kept, and the making and removing of packs and segments. Thread-safe."""

    def open_log(self, writer: str) -> IntakeLog:
        """The log of `writer` (a dicom worker, an import run); locked against a second process."""
        ...

    def replay(self, writer: str) -> Iterator[Replayed]:
        """The whole records of a log that is not open; cuts off a torn tail. May be stopped and repeated."""
        ...

    def writers(self) -> list[str]:
        """Every writer that has left a log."""
        ...

    def read(self, location: Location, offset: int = 0, length: int = -1) -> Piece:
        """Bytes of one object (by default all). Raises BlobMovedError, DamagedError when cut short."""
        ...

    def open(self, location: Location) -> AbstractContextManager[Callable[[int, int], Piece]]:
        """A reader `read(offset, length)` over one object, for objects too large for memory."""
        ...

    def write_pack(self, study_uid: str, series_uid: str, generation: int, at: int) -> PackWriter:
        """Begin a series pack (ZIP, stored, ZIP64) under its temporary name."""
        ...

    def keys(self) -> Iterator[tuple[str, int]]:
        """Every blob that is there, with its length: for `doctor`, pixels against index."""
        ...

    def remove(self, key: str) -> None:
        """Remove a blob that the index no longer names. A log segment may be used again later."""
        ...

    def free_bytes(self) -> int:
        """Room left where pixels go."""
        ...


class PackWriter(Protocol):
    def add(self, name: str, pieces: Iterator[Piece], length: int) -> int:
        """Append a member; returns the offset of its first byte within the pack."""
        ...

    def finish(self) -> tuple[str, int]:
        """Write the directory, sync file and folder, give it its final name. Returns key and length."""
        ...

    def abandon(self) -> None:
        """Remove what was written."""
        ...
