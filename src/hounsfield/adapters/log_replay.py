"""Reading a log again after an unclean stop: every whole record after the checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hounsfield.adapters.log_folder import LogFolder, Segment
from hounsfield.adapters.segments import (
    HEADER_LENGTH,
    LARGE,
    PAGE,
    RECORD_MAGIC,
    Record,
    body_is_whole,
    next_page,
    read_context,
    scan,
)
from hounsfield.domain.errors import DamagedError
from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Replayed


@dataclass(frozen=True, slots=True)
class ReplayEnd:
    """Where a log that was replayed to its end goes on, and the checkpoint counter it had then."""

    counter: int
    sequence: int
    position: int


class DiskReplay:
    """The records of one writer, whose lock is held from the first to the last or until `close`."""

    def __init__(
        self, folder: LogFolder, path_of: Callable[[str], Path], at_end: Callable[[ReplayEnd], None]
    ) -> None:
        self.segments = 0
        self.torn = 0
        self.damaged: list[Location] = []
        self._folder = folder
        self._path_of = path_of
        self._at_end = at_end
        #: Not whole, and nothing whole came after them yet.
        self._doubtful: list[tuple[Record, Location]] = []
        self._records = self._walk()

    def __iter__(self) -> DiskReplay:
        return self

    def __next__(self) -> Replayed:
        return next(self._records)

    def close(self) -> None:
        self._records.close()

    def _walk(self) -> Generator[Replayed, None, None]:
        if not self._folder.path.is_dir():
            return
        self._folder.lock()
        try:
            checkpoint = self._folder.checkpoint()
            sequence, position = checkpoint.sequence, checkpoint.position
            todo = [] if checkpoint.clean else self._folder.segments()
            for segment in todo:
                if segment.sequence < checkpoint.sequence:
                    continue
                if segment.sequence > sequence:
                    sequence, position = segment.sequence, PAGE
                self.segments += 1
                fd = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    for record in scan(fd, segment.generation, position):
                        position = next_page(record.end)
                        replayed = self._read(fd, segment, record)
                        if replayed is not None:
                            self._clear_doubt()
                            yield replayed
                    self._cut_header(fd, segment, position)
                finally:
                    os.close(fd)
            self.torn += sum(record.end - record.position for record, _ in self._doubtful)
            self._at_end(ReplayEnd(checkpoint.counter, sequence, position))
        finally:
            self._folder.unlock()

    def _read(self, fd: int, segment: Segment, record: Record) -> Replayed | None:
        """The record if it is whole."""
        context = read_context(fd, record)
        start = record.position + HEADER_LENGTH
        key = f"log/{self._folder.writer}/{segment.path.name}"
        found: Replayed | None = None
        # a context that is torn, too, and what only looks like one
        with suppress(ValueError, KeyError, TypeError, AttributeError, FileNotFoundError, DamagedError):
            fields = json.loads(context)
            if record.flags & LARGE:
                key, start = fields["large"], 0
                whole = self._large_is_whole(key, record, context)
            else:
                whole = body_is_whole(fd, start, record, context)
            if whole:
                found = _replayed(record, fields, _location(key, start, record))
        if found is None:
            self._doubtful.append((record, _location(key, start, record)))
        return found

    def _large_is_whole(self, key: str, record: Record, context: bytes) -> bool:
        fd = os.open(self._path_of(key), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return body_is_whole(fd, 0, record, context)
        finally:
            os.close(fd)

    def _clear_doubt(self) -> None:
        """What is not whole before a whole record is not the torn tail."""
        if self._doubtful:
            self.damaged += [location for _, location in self._doubtful]
            self._doubtful.clear()

    def _cut_header(self, fd: int, segment: Segment, position: int) -> None:
        """Leave no half-written header where the log goes on.

        Records that are torn but whose headers are whole stay as they are, and the log goes on behind them:
        what might have been acknowledged, and then changed on the disk, is not written over.
        """
        head = os.pread(fd, HEADER_LENGTH, position)
        mark = RECORD_MAGIC + segment.generation
        written = head.rstrip(b"\0")
        if written and (head.startswith(mark) or mark.startswith(written)):
            self.torn += len(written)
            os.pwrite(fd, bytes(len(head)), position)
            os.fdatasync(fd)


def large_keys(folder: LogFolder) -> Iterator[str]:
    """Keys of the large objects that records after the checkpoint name. The log may be open: a segment that
    was emptied meanwhile has nothing after the checkpoint."""
    checkpoint = folder.checkpoint()
    for segment in folder.segments():
        if segment.sequence < checkpoint.sequence:
            continue
        start = checkpoint.position if segment.sequence == checkpoint.sequence else PAGE
        with suppress(FileNotFoundError), segment.path.open("rb", buffering=0) as file:
            for record in scan(file.fileno(), segment.generation, start):
                if record.flags & LARGE:
                    with suppress(ValueError, KeyError, TypeError):  # a context that is torn
                        yield str(json.loads(read_context(file.fileno(), record))["large"])


def _location(key: str, start: int, record: Record) -> Location:
    return Location(key, start, record.meta_length + record.data_length, record.meta_length)


def _replayed(record: Record, fields: dict[str, str], location: Location) -> Replayed:
    return Replayed(
        location=location,
        content_hash=record.content_hash,
        transfer_syntax_uid=fields["transfer_syntax"],
        origin=Origin(
            *(fields["source"], fields["device"], fields["association"], fields["address"]),
            fields.get("site", ""),  # absent in records of earlier releases
        ),
        at=record.at,
        character_set=fields["character_set"],
        quarantine=fields["quarantine"],
    )
