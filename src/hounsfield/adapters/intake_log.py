"""The writing side of one intake log: rounds of records into fixed-size segments, as `segments` lays out."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from hounsfield.adapters.durable import (
    Piece,
    Reserve,
    make_folder,
    storage_error,
    sync_folder,
    write_synced,
    write_vector,
)
from hounsfield.adapters.log_folder import Checkpoint, LogFolder
from hounsfield.adapters.segment_pool import SegmentPool
from hounsfield.adapters.segments import (
    CRC,
    HEADER_LENGTH,
    LARGE,
    PAGE,
    RECORD,
    RECORD_MAGIC,
)
from hounsfield.adapters.spills import DiskSpill
from hounsfield.domain.errors import StorageFullError
from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Incoming

_PADDING = memoryview(bytes(PAGE))
_NO_HEADER = bytes(HEADER_LENGTH)
_CONTEXTS_KEPT = 1024


#: The JSON at the end of a record, its CRC-32, and the key of the large object it names ('' for none).
_Context = tuple[bytes, int, str]


@dataclass(slots=True)
class LogEnd:
    """Where a log goes on. `fd` is -1 while there is no segment."""

    sequence: int
    generation: bytes = b""
    fd: int = -1
    key: str = ""
    size: int = 0
    position: int = PAGE


class DiskIntakeLog:
    """One thread calls `append`, `sync`, `checkpoint` and `close`; `spill` is for any thread."""

    def __init__(
        self,
        root: Path,
        folder: LogFolder,
        pool: SegmentPool,
        reserve: Reserve,
        writeback: Executor,
        end: LogEnd,
        checkpoint: Checkpoint,
    ) -> None:
        self._root = root
        self._folder = folder
        self._pool = pool
        self._reserve = reserve
        self._writeback = writeback
        self._end = end
        self._checkpoint = checkpoint
        self._incoming = root / "incoming" / folder.writer
        self._incoming_lock = threading.Lock()
        self._contexts: dict[tuple[Origin, str, str, str], _Context] = {}
        #: Since the last sync: (segment's fd, where its records begin), and the large objects placed.
        self._unsynced: list[tuple[int, list[int]]] = []
        self._to_sync: set[int] = set()  # their descriptors, but for what was durable when it was written
        self._syncing = False  # whether writes are to be durable when they return
        self._placed: list[DiskSpill] = []
        self._full_segments: list[int] = []  # fds to close at the next sync
        #: Records of failed rounds whose headers could not be cleared (of descriptors of their own), and
        #: what to say until they are.
        self._to_undo: list[tuple[int, list[int]]] = []
        self._unusable = ""
        self._closed = False

    # -- large objects

    def spill(self, meta: Piece, *, from_memory: bool = False) -> DiskSpill:
        try:
            with self._incoming_lock:
                make_folder(self._incoming)
        except OSError as error:
            raise storage_error(error, f"making {self._incoming}") from error
        path = self._incoming / f"{secrets.token_hex(8)}.part"
        return DiskSpill(path, meta, self._reserve, self._writeback, from_memory=from_memory)

    def clear_incoming(self) -> int:
        """Remove what a process that was killed left half received; returns how many."""
        left = list(self._incoming.glob("*.part"))
        for path in left:
            path.unlink()
        return len(left)

    # -- rounds

    def append_synced(self, objects: Sequence[Incoming]) -> list[Location]:
        self._syncing = True
        try:
            locations = self.append(objects)
        finally:
            self._syncing = False
        self.sync()
        return locations

    def append(self, objects: Sequence[Incoming]) -> list[Location]:
        if not objects:
            return []
        if self._unusable:
            self._undo_again()
        self._pool.last_append = time.monotonic()
        self._reserve.check()
        before, placed_before = len(self._unsynced), len(self._placed)
        try:
            lengths, contexts = self._measure(objects)
            return self._write_rounds(objects, lengths, contexts)
        except BaseException as error:
            self._undo(before, placed_before)
            if isinstance(error, OSError):
                if self._syncing:
                    self._leave_segment()
                raise storage_error(error, f"writing to the intake log {self._folder.writer!r}") from error
            raise

    def _measure(self, objects: Sequence[Incoming]) -> tuple[list[int], list[_Context]]:
        """Length and context of each record; places the large objects."""
        lengths: list[int] = []
        contexts: list[_Context] = []
        known = self._contexts
        largest = self._pool.segment_size - 2 * PAGE
        for each in objects:
            what = (each.origin, each.transfer_syntax_uid, each.character_set, each.quarantine)
            context = known.get(what)
            if context is None:
                if len(known) >= _CONTEXTS_KEPT:
                    known.clear()
                context = known[what] = _context(each, "")
            length = HEADER_LENGTH + len(each.meta) + each.data_set_length + len(context[0])
            if each.spill is not None or length > largest:
                context = _context(each, self._place(each))
                length = HEADER_LENGTH + len(context[0])
            lengths.append(length)
            contexts.append(context)
        return lengths, contexts

    def _place(self, each: Incoming) -> str:
        spill = each.spill
        if spill is None:  # in memory, but more than a segment holds
            spill = self.spill(each.meta, from_memory=True)
            self._placed.append(spill)
            for piece in each.pieces or ():
                spill.write(piece)
        elif isinstance(spill, DiskSpill):
            self._placed.append(spill)
        else:
            raise TypeError(f"the spill is not one of this log: {spill!r}")
        if spill.meta != each.meta or spill.length != each.data_set_length:
            raise ValueError("the spill does not hold what its object is said to be")
        key = spill.place(self._root, each.content_hash, each.at)
        spill.hand_over()
        return key

    def _write_rounds(
        self, objects: Sequence[Incoming], lengths: list[int], contexts: list[_Context]
    ) -> list[Location]:
        """One round, or several where it is longer than what is left of the segment, and than a segment."""
        end = self._end
        total = sum(lengths)
        if end.fd < 0 or end.position + total > end.size:
            self._switch_segment()
        if end.position + total <= end.size:
            return self._write_round(objects, lengths, contexts, total)
        locations: list[Location] = []
        first, total = 0, 0
        for index, length in enumerate(lengths):
            if end.position + total + length > end.size:
                part = slice(first, index)
                locations += self._write_round(objects[part], lengths[part], contexts[part], total)
                self._switch_segment()
                first, total = index, 0
            total += length
        return locations + self._write_round(objects[first:], lengths[first:], contexts[first:], total)

    def _write_round(
        self,
        objects: Sequence[Incoming],
        lengths: Sequence[int],
        contexts: Sequence[_Context],
        total: int,
    ) -> list[Location]:
        end = self._end
        key, generation, position = end.key, end.generation, end.position
        pack, pack_crc, crc32 = RECORD.pack, CRC.pack, zlib.crc32
        buffers: list[Piece] = []
        locations: list[Location] = []
        positions: list[int] = []
        for each, length, (context, context_crc, large) in zip(objects, lengths, contexts, strict=True):
            meta, data_length, content_hash = each.meta, each.data_set_length, each.content_hash
            meta_length, context_length = len(meta), len(context)
            crc = crc32(meta, context_crc)
            head = pack(
                RECORD_MAGIC,
                generation,
                LARGE if large else 0,
                meta_length,
                context_length,
                data_length,
                each.at,
                content_hash,
                crc,
            )
            buffers.append(head + pack_crc(crc32(head, position)))
            positions.append(position)
            if large:
                locations.append(Location(large, 0, meta_length + data_length, meta_length))
            else:
                buffers.append(meta)
                buffers.extend(each.pieces or ())
                locations.append(
                    Location(key, position + HEADER_LENGTH, meta_length + data_length, meta_length)
                )
            buffers.append(context)
            position += length
        padding = -position % PAGE
        if padding:
            buffers.append(_PADDING[:padding])
        self._unsynced.append((end.fd, positions))
        if not (self._syncing and write_synced(end.fd, buffers, end.position, total + padding)):
            self._to_sync.add(end.fd)
            write_vector(end.fd, buffers, end.position, total + padding)
        end.position = position + padding
        return locations

    def _switch_segment(self) -> None:
        end = self._end
        if end.fd >= 0:
            self._full_segments.append(end.fd)
            end.fd = -1
        sequence = end.sequence + 1
        path, generation = self._left_taken(sequence) or self._pool.take(self._folder.path, sequence)
        end.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        end.sequence, end.generation, end.position = sequence, generation, PAGE
        end.key = f"log/{self._folder.writer}/{path.name}"
        end.size = os.fstat(end.fd).st_size

    def _left_taken(self, sequence: int) -> tuple[Path, bytes] | None:
        """The segment of that number if one was taken and then could not be opened."""
        for segment in self._folder.segments():
            if segment.sequence == sequence:
                sync_folder(self._folder.path)
                return segment.path, segment.generation
        return None

    def _undo(self, before: int, placed_before: int) -> None:
        """Take back what was written since `before`: without their headers the records are nothing.

        Where the log goes on was only to be moved once a round was written, so the next takes its place.
        """
        undone = self._unsynced[before:]
        try:
            _clear_headers(undone)
            for spill in self._placed[placed_before:]:
                spill.unplace()
        except OSError as error:
            self._unusable = (
                f"The intake log {self._folder.writer!r} takes nothing more: "
                f"a failed write could not be undone ({error.strerror})"
            )
            # the segments themselves may be left, and closed, before the disk is well again
            self._to_undo += [(os.dup(fd), positions) for fd, positions in undone]
        del self._unsynced[before:], self._placed[placed_before:]

    def _undo_again(self) -> None:
        """What could not be undone, once the disk is well again. Raises StorageFullError while it is not."""
        if self._closed:
            raise StorageFullError(self._unusable, "Open it again")
        try:
            _clear_headers(self._to_undo)
        except OSError as error:
            doing = f"undoing a failed write to the intake log {self._folder.writer!r}"
            raise storage_error(error, doing) from error
        while self._to_undo:
            os.close(self._to_undo.pop()[0])
        self._unusable = ""

    def sync(self) -> None:
        try:
            for fd in self._to_sync:
                os.fdatasync(fd)
        except OSError as error:
            self._undo(0, 0)
            self._leave_segment()
            raise storage_error(error, f"syncing the intake log {self._folder.writer!r}") from error
        finally:
            self._to_sync.clear()
            while self._full_segments:
                os.close(self._full_segments.pop())
        self._unsynced.clear()
        while self._placed:
            self._placed.pop().close()

    def _leave_segment(self) -> None:
        """After a failed sync the kernel may have dropped the pages, and will not say so twice: no more into
        this segment."""
        if self._end.fd >= 0:
            self._full_segments.append(self._end.fd)
            self._end.fd = -1

    # -- checkpoint and close

    def checkpoint(self) -> None:
        if self._unsynced:
            raise ValueError("checkpoint() before sync(): what is not durable cannot be behind a checkpoint")
        if not self._is_behind_checkpoint():
            self._write_checkpoint(clean=False)

    def _is_behind_checkpoint(self) -> bool:
        now = self._checkpoint
        return (now.sequence, now.position) == (self._end.sequence, self._end.position)

    def _write_checkpoint(self, *, clean: bool) -> None:
        end = self._end
        new = Checkpoint(self._checkpoint.counter + 1, end.sequence, end.position, clean)
        try:
            self._folder.write_checkpoint(new, synced=clean)
        except OSError as error:
            doing = f"writing the checkpoint of the intake log {self._folder.writer!r}"
            raise storage_error(error, doing) from error
        self._checkpoint = new

    def close(self) -> None:
        try:
            if self._is_behind_checkpoint() and not self._unusable and not self._unsynced:
                self._write_checkpoint(clean=True)
        finally:
            open_fds = [fd for fd, _ in (*self._unsynced, *self._to_undo)]
            fds = {self._end.fd, *self._full_segments, *open_fds} - {-1}
            for fd in fds:
                os.close(fd)
            self._end.fd = -1
            self._full_segments.clear()
            self._unsynced.clear()
            self._to_undo.clear()
            self._unusable = f"The intake log {self._folder.writer!r} is closed"
            self._closed = True
            self._folder.unlock()


def _clear_headers(records: Sequence[tuple[int, Sequence[int]]]) -> None:
    for fd, positions in records:
        for position in positions:
            write_vector(fd, [_NO_HEADER], position, HEADER_LENGTH)


def _context(each: Incoming, large: str) -> _Context:
    """What replay needs beside the object."""
    origin = each.origin
    fields = {
        "source": origin.source,
        "device": origin.device,
        "association": origin.association,
        "address": origin.address,
        "site": origin.site,
        "transfer_syntax": each.transfer_syntax_uid,
        "character_set": each.character_set,
        "quarantine": each.quarantine,
    }
    if large:
        fields["large"] = large
    data = json.dumps(fields, separators=(",", ":")).encode()
    return data, zlib.crc32(data), large
