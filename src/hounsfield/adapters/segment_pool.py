"""Spare segments: written and synced ahead of their use, and those of emptied logs used again.

Overwriting blocks that were written before costs a sync half of what fresh blocks cost, so segments are
filled with zeros while the log is idle, and never given back to the file system only to be asked for again.
The pool is one folder shared by all processes: `spare-*` are ready, `used-*` were removed from a log and wait
out the grace in which a reader may still look at them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

from hounsfield.adapters.durable import (
    Reserve,
    create,
    make_folder,
    move_into_place,
    storage_error,
    sync_folder,
    write_all,
)
from hounsfield.adapters.segments import (
    PAGE,
    new_generation,
    parse_segment_name,
    read_segment_header,
    segment_header,
    segment_name,
)
from hounsfield.domain.errors import StorageFullError

_log = logging.getLogger(__name__)
_CHUNK = bytes(1 << 20)
_SYNC_EVERY = 4 << 20
_IDLE_SECONDS = 0.2
_LOOK_EVERY = 2.0
#: A segment that was not finished in so long belongs to nobody who lives.
_LEFT_SECONDS = 600.0


class SegmentPool:
    """Thread-safe; `folder` may be shared with other processes."""

    def __init__(
        self, folder: Path, reserve: Reserve, *, segment_size: int, spares: int, grace: float
    ) -> None:
        self.segment_size = segment_size
        #: When a log of this process appended last (monotonic seconds): the filler keeps out of its way.
        self.last_append = 0.0
        self._folder = folder
        self._reserve = reserve
        self._spares = spares
        self._grace = grace
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    # -- taking and giving back

    def take(self, folder: Path, sequence: int) -> tuple[Path, bytes]:
        """A segment with its durable name in `folder`, and its generation. Raises StorageFullError."""
        try:
            make_folder(self._folder)
            for spare in sorted(self._folder.glob("spare-*.seg")):
                generation = self._generation_of(spare)
                if generation is None:
                    continue
                path = folder / segment_name(sequence, generation)
                try:
                    move_into_place(spare, path)
                except FileNotFoundError:
                    continue  # another process was quicker
                self._wake.set()
                return path, generation
            return self._make_fresh(folder, sequence)
        except OSError as error:
            raise storage_error(error, f"beginning a segment of the intake log in {folder}") from error

    def give_back(self, path: Path) -> None:
        """An emptied segment: keep it for another life, or remove it when enough are kept."""
        make_folder(self._folder)
        kept = sum(1 for spare in self._folder.iterdir() if spare.name.startswith(("used-", "spare-")))
        if kept >= 2 * self._spares or path.stat().st_size != self.segment_size:
            path.unlink()
            sync_folder(path.parent)
            return
        move_into_place(path, self._folder / f"used-{new_generation().hex()}.seg")
        self._wake.set()

    def _make_fresh(self, folder: Path, sequence: int) -> tuple[Path, bytes]:
        """Without a spare at hand: blocks that are allocated but not yet written."""
        self._reserve.check(self.segment_size)
        generation = new_generation()
        making = self._folder / f"fresh-{generation.hex()}.part"
        fd = create(making)
        try:
            os.posix_fallocate(fd, 0, self.segment_size)
            os.pwrite(fd, segment_header(generation, self.segment_size), 0)
            os.fsync(fd)
            path = folder / segment_name(sequence, generation)
            move_into_place(making, path)
        except OSError:
            making.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return path, generation

    # -- filling

    def start(self) -> None:
        """Begin to keep the pool full, in a thread of low priority. Any number of times."""
        with self._start_lock:
            if self._thread is None and self._spares:
                self._thread = threading.Thread(target=self._run, name="segment-pool", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        with self._start_lock:
            self._stopped.set()
            self._wake.set()
            if self._thread is not None:
                self._thread.join()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._stopped.is_set():
            try:
                self.fill()
            except (OSError, StorageFullError) as error:
                _log.warning("No spare segments could be made ahead in %s: %s", self._folder, error)
                self._stopped.wait(60)
            self._wake.wait(_LOOK_EVERY)
            self._wake.clear()

    def fill(self) -> None:
        """Bring the pool to its size unless another process is at it."""
        make_folder(self._folder)
        with (self._folder / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            for left in self._folder.glob("new-*.part"):  # of a filler that was killed
                left.unlink()
            for left in self._folder.glob("fresh-*.part"):  # perhaps being made for a log this moment
                if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                    left.unlink()
            self._renew_used()
            while self._count() < self._spares and self._wait_until_idle():
                self._reserve.check(4 * self.segment_size)
                self._make_spare()

    def _count(self) -> int:
        return sum(1 for _ in self._folder.glob("spare-*.seg"))

    def _renew_used(self) -> None:
        """Give segments whose grace is over a new generation: nothing in them can be replayed any more."""
        for path in sorted(self._folder.glob("used-*.seg")):
            status = path.stat()
            if time.time() - status.st_ctime < self._grace:
                continue
            if self._count() >= 2 * self._spares or status.st_size != self.segment_size:
                path.unlink()
                continue
            generation = new_generation()
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(fd, segment_header(generation, self.segment_size), 0)
                os.fdatasync(fd)
            except BlockingIOError:
                continue  # something of its last life is still being sent
            finally:
                os.close(fd)
            move_into_place(path, self._folder / f"spare-{generation.hex()}.seg")

    def _make_spare(self) -> None:
        generation = new_generation()
        making = self._folder / f"new-{generation.hex()}.part"
        fd = create(making)
        try:
            os.posix_fallocate(fd, 0, self.segment_size)
            write_all(fd, segment_header(generation, self.segment_size))
            written = PAGE
            while written < self.segment_size:
                piece = memoryview(_CHUNK)[: min(len(_CHUNK), self.segment_size - written)]
                write_all(fd, piece)
                written += len(piece)
                if written % _SYNC_EVERY < len(_CHUNK):
                    os.fdatasync(fd)  # in small doses: a round that comes now must not wait for all of it
                    if not self._wait_until_idle():
                        return
            os.fsync(fd)
            move_into_place(making, self._folder / f"spare-{generation.hex()}.seg")
        finally:
            os.close(fd)
            making.unlink(missing_ok=True)

    def _wait_until_idle(self) -> bool:
        """Wait while rounds are being written; False when the pool is being stopped."""
        while not self._stopped.is_set():
            busy = time.monotonic() - self.last_append < _IDLE_SECONDS or self._others_append()
            if not busy:
                return True
            self._stopped.wait(_IDLE_SECONDS)
        return False

    def _others_append(self) -> bool:
        """Whether the newest segment of any writer, of whatever process, was written to a moment ago."""
        now = time.time()
        for folder in self._folder.parent.iterdir():
            if folder == self._folder or not folder.is_dir():
                continue
            segments = [path for path in folder.iterdir() if parse_segment_name(path.name)]
            try:
                if segments and 0 <= now - max(segments).stat().st_mtime < _IDLE_SECONDS:
                    return True
            except FileNotFoundError:
                continue  # emptied between the two looks
        return False

    def _generation_of(self, path: Path) -> bytes | None:
        """As the spare's own header says; None when it is gone, not whole, or of another size."""
        try:
            with path.open("rb") as file:
                right_size = os.fstat(file.fileno()).st_size == self.segment_size
                return read_segment_header(file.read(PAGE)) if right_size else None
        except FileNotFoundError:
            return None
