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
    object, already in the file of `spill`, begun with the same `meta`. Exactly one of the two is set.
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

    def sync(self) -> None:
        """What was written so far is durable when this returns, so that the round has nothing to wait for.
        Raises StorageFullError."""
        ...

    def header(self) -> Piece:
        """A read-only map of the data set received so far, for the header scan. Close with discard/keep."""
        ...

    def discard(self) -> None:
        """Forget it: the file is removed. Does nothing once `IntakeLog.append` has taken it over; after an
        append or sync that failed it is the caller's again."""
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


class Replay(Protocol):
    """The whole records after the checkpoint, in order of the log. The counts are final once it has ended."""

    @property
    def segments(self) -> int:
        """How many segments were read."""
        ...

    @property
    def torn(self) -> int:
        """Bytes of the torn tail that were cut off."""
        ...

    @property
    def damaged(self) -> Sequence[Location]:
        """Objects that are not whole although whole ones follow them: rounds never acknowledged that a power
        cut tore or, where the index knows the location, kept bytes that have changed."""
        ...

    def __iter__(self) -> Iterator[Replayed]: ...
    def __next__(self) -> Replayed: ...

    def close(self) -> None:
        """Stop early."""
        ...


class IntakeLog(Protocol):
    """One writer's append-only log. All but `spill` are called one at a time."""

    def spill(self, meta: Piece) -> Spill:
        """A file for a large object, beginning with `meta` so that it is a plain Part 10 file. Any thread."""
        ...

    def append(self, objects: Sequence[Incoming]) -> list[Location]:
        """Write all objects with one vectored append; nothing is durable before `sync`.

        Large objects keep their own file (renamed into its final place) and leave a record in the log.
        Raises StorageFullError (disk full, read-only or failing) after undoing the whole round: none of it is
        then in the log, and the log can be used on.
        """
        ...

    def sync(self) -> None:
        """One fdatasync: all appended before are durable when this returns. Raises StorageFullError after
        undoing everything appended since the last sync: none of that may be acknowledged."""
        ...

    def append_synced(self, objects: Sequence[Incoming]) -> list[Location]:
        """`append` and `sync` in one; cheaper, as a write that is durable when it returns is one call of the
        system instead of two. Raises StorageFullError as they do."""
        ...

    def checkpoint(self) -> None:
        """Everything appended so far is in the database, and the database has been synced since (a
        transaction with `synced=True` was committed after the last round's). Replay begins here from now on.
        Cheap; the service calls it when idle, every few seconds under load, and before `close`, which then
        costs the next start nothing. Segments only become removable behind it."""
        ...

    def close(self) -> None:
        """Release the log. What was appended but is not behind a checkpoint will be replayed."""
        ...


class View(Protocol):
    """Bytes where they lie, to be sent and not looked into: an I/O error on the way to a socket is an error
    of that socket, elsewhere it ends the process. Valid until `close`."""

    @property
    def piece(self) -> memoryview: ...
    def close(self) -> None: ...


class Blobs(Protocol):
    """Reads of what is kept, and the making and removing of packs and segments. Thread-safe."""

    def open_log(self, writer: str) -> IntakeLog:
        """The log of `writer` (a dicom worker, an import run); locked against a second process.

        Raises ConflictError when it is open already, or holds records after its checkpoint that this process
        has not replayed to the end: enter those first, then open it and call `checkpoint`.
        """
        ...

    def replay(self, writer: str) -> Replay:
        """The whole records after the checkpoint of a log that is not open; cuts off a torn tail. May be
        stopped and repeated. After a clean close it is empty at no cost. Raises ConflictError while open."""
        ...

    def writers(self) -> list[str]:
        """Every writer that has left a log."""
        ...

    def read(self, location: Location, offset: int = 0, length: int = -1) -> Piece:
        """Bytes of one object (by default all). Raises BlobMovedError, DamagedError when cut short."""
        ...

    def cached(self, location: Location, offset: int = 0) -> Piece | None:
        """The object from `offset` on, when that needs no waiting for a disk; None otherwise, and where
        `read` would raise. For an event loop."""
        ...

    def view(self, location: Location, offset: int = 0) -> View | None:
        """The same without a copy."""
        ...

    def open(self, location: Location) -> AbstractContextManager[Callable[[int, int], Piece]]:
        """A reader `read(offset, length)` over one object, for objects too large for memory."""
        ...

    def write_pack(self, study_uid: str, series_uid: str, generation: int, at: int) -> PackWriter:
        """Begin a series pack (ZIP, stored, ZIP64) under its temporary name."""
        ...

    def keys(self) -> Iterator[tuple[str, int]]:
        """Every blob that is there, with its length, in order of the keys; files in place are not among them.
        Streamed: for `doctor`, pixels against index."""
        ...

    def length(self, key: str) -> int | None:
        """Length of a blob, also of a file in place; None where it is not there."""
        ...

    def changed_at(self, key: str) -> int:
        """When a blob was last written or got its name, microseconds since 1970 by the clock of its disk; 0
        where it is not there."""
        ...

    def objects_in(self, key: str) -> Iterator[tuple[str, bytes]]:
        """SOP Instance UID and BLAKE3 of the data set of each object in a large file or a pack, all of which
        is read. Raises DamagedError for what is none that we have written, or not as we have written it."""
        ...

    def logged(self) -> set[str]:
        """Keys of the large objects that records after the checkpoints of the logs name, of those that are
        open as well."""
        ...

    def set_aside(self, location: Location, content_hash: bytes) -> str:
        """Keep an object of the log as a Part 10 file of its own in `set-aside/`, durably; again, it is the
        same file. Returns its path below the data folder. Raises StorageFullError, DamagedError."""
        ...

    def aside(self) -> list[tuple[str, int]]:
        """What was set aside and is still there: path below the data folder, length."""
        ...

    def remove(self, key: str) -> bool:
        """Remove a blob that the index no longer names; one that is not there is no error. A log segment may
        be used again later. False: it has to stay for now (a segment that replay may still need; try again
        after the next checkpoint) and its row with it. Raises RefusedError for a file indexed in place."""
        ...

    def free_bytes(self) -> int:
        """Room left where pixels go."""
        ...


class PackWriter(Protocol):
    def add(self, name: str, pieces: Iterator[Piece], length: int) -> int:
        """Append a member; returns the offset of its first byte within the pack. The pieces of a member up to
        1 MiB are gathered, so they must stay valid together."""
        ...

    def finish(self) -> tuple[str, int]:
        """Write the directory, sync file and folder, give it its final name. Returns key and length."""
        ...

    def abandon(self) -> None:
        """Remove what was written."""
        ...
