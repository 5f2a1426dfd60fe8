"""Large objects: each received into a file of its own, which becomes its place by a rename."""

from __future__ import annotations

import logging
import mmap
import os
import secrets
import threading
from concurrent.futures import Executor, Future
from datetime import UTC, datetime
from pathlib import Path

from hounsfield.adapters.durable import (
    Piece,
    Reserve,
    create,
    make_folder,
    storage_error,
    sync_folder,
    write_all,
)

_log = logging.getLogger(__name__)

#: Written behind in doses, so that the last sync, which a round of the log waits for, has little to do.
_SYNC_EVERY = 16 << 20


class DiskSpill:
    """A plain Part 10 file: the file meta group, then the data set as it arrives.

    `from_memory`: the log itself made it, of an object larger than a segment; nobody else will discard it.
    """

    def __init__(
        self, path: Path, meta: Piece, reserve: Reserve, writeback: Executor, *, from_memory: bool = False
    ) -> None:
        self.path = path
        self.meta = bytes(meta)
        self.key = ""  # of its place, once it has one
        self.from_memory = from_memory
        self._incoming = path
        self._reserve = reserve
        self._writeback = writeback
        self._written_back: Future[None] | None = None
        self._length = 0
        self._to_sync = 0
        self._kept = False
        self._closing = threading.Lock()
        self._fd = -1
        try:
            reserve.check()
            self._fd = create(path)
            write_all(self._fd, self.meta)
        except OSError as error:
            self.discard()
            raise storage_error(error, "receiving a large object") from error

    @property
    def length(self) -> int:
        """Of the data set."""
        return self._length

    def write(self, piece: Piece) -> None:
        try:
            write_all(self._fd, piece)
        except OSError as error:
            raise storage_error(error, "receiving a large object") from error
        self._length += len(piece)
        self._to_sync += len(piece)
        if self._to_sync >= _SYNC_EVERY:
            self._to_sync = 0
            self._reserve.check()
            if self._written_back is None or self._written_back.done():
                self._await_write_back()
                self._written_back = self._writeback.submit(self._write_back)

    def _await_write_back(self) -> None:
        """Also raises what the last one failed with: the kernel reports an error only once."""
        if self._written_back is not None and not self._written_back.cancel():
            try:
                self._written_back.result()
            except OSError as error:
                raise storage_error(error, "receiving a large object") from error
        self._written_back = None

    def _write_back(self) -> None:
        with self._closing:
            if self._fd >= 0:
                os.fdatasync(self._fd)

    def sync(self) -> None:
        """What was written so far is on the disk when this returns."""
        self._await_write_back()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise storage_error(error, "receiving a large object") from error

    def header(self) -> memoryview:
        """The data set received so far. Unmapped when the last view of it is gone."""
        if not self._length:
            return memoryview(b"")
        end = len(self.meta) + self._length
        return memoryview(mmap.mmap(self._fd, end, prot=mmap.PROT_READ))[len(self.meta) :]

    def discard(self) -> None:
        if self._kept:
            return
        self._close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:  # the log's next opening removes it
            _log.warning("A file of an object that is not kept stays behind: %s", error)

    def place(self, root: Path, content_hash: bytes, at: int) -> str:
        """Sync it and give it its final name; returns its key. Raises OSError or StorageFullError."""
        self._await_write_back()
        os.fdatasync(self._fd)
        month = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y/%m")
        # the random part keeps two receptions of the same bytes apart: each has a life of its own
        key = f"large/{month}/{content_hash.hex()[:40]}-{secrets.token_hex(4)}.dcm"
        target = root / key
        make_folder(target.parent)
        self._incoming.rename(target)
        self.path, self.key = target, key
        sync_folder(target.parent)
        return key

    def unplace(self) -> None:
        """Back among what is being received: its round was undone."""
        self._kept = False
        if self.key:
            self.path.rename(self._incoming)
            self.path, self.key = self._incoming, ""
        if self.from_memory:
            self.discard()

    def hand_over(self) -> None:
        """The log has it now: `discard` no longer does anything."""
        self._kept = True

    def close(self) -> None:
        """Its round is durable: nothing will be undone any more."""
        self._close()

    def _close(self) -> None:
        with self._closing:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
