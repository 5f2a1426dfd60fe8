"""Large objects on their way to their files: written by threads of their own, at the disk's speed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from hounsfield.ports.blobs import Piece, Spill

#: A spilled object waits for its disk when this much of it is not written yet; its sender then waits too.
SPILL_BACKLOG = 4 * 1024 * 1024
#: Memory that a waiting piece takes beyond its bytes: there are senders of single bytes.
PIECE_COST = 64
#: A spilled object is synced in steps, so that its end is not one long sync.
SPILL_SYNC_STEP = 64 * 1024 * 1024


class SpillQueue:
    """Writes one object's pieces in order on a disk thread; tells the sender to wait past a backlog."""

    def __init__(self, spill: Spill, pool: ThreadPoolExecutor) -> None:
        self._spill = spill
        self._pool = pool
        self._lock = threading.Condition()
        self._waiting: list[Piece] = []
        self._backlog = 0
        self._busy = False
        self._unsynced = 0
        self._resume: Callable[[], None] | None = None
        self._then: Callable[[BaseException | None], None] | None = None
        self._error: BaseException | None = None
        self._dropped = False

    def put(self, piece: Piece, resume: Callable[[], None] | None) -> bool:
        with self._lock:
            if self._error is not None:
                return True  # the outcome is told at the end; until then the sender's bytes are drained
            self._waiting.append(piece)
            self._backlog += len(piece) + PIECE_COST
            self._wake()
            if self._backlog < SPILL_BACKLOG:
                return True
            if resume is None:
                while self._backlog >= SPILL_BACKLOG and self._error is None:
                    self._lock.wait()
                return True
            self._resume = resume
            return False

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            self._pool.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                pieces, self._waiting = self._waiting, []
                if self._dropped:
                    self._spill.discard()
                if not pieces or self._dropped:
                    self._busy = False
                    then, self._then = self._then, None
                    self._lock.notify_all()
                    break
            self._write(pieces)
            with self._lock:
                self._backlog -= sum(map(len, pieces)) + PIECE_COST * len(pieces)
                resume, self._resume = self._resume, None
                self._lock.notify_all()
            if resume is not None:
                resume()
        if then is not None:
            then(self._error)

    def _write(self, pieces: list[Piece]) -> None:
        if self._error is not None:
            return
        try:
            for piece in pieces:
                self._spill.write(piece)
                self._unsynced += len(piece)
            if self._unsynced >= SPILL_SYNC_STEP:
                self._spill.sync()
                self._unsynced = 0
        except BaseException as error:  # told to the sender at the end
            self._error = error

    def close(self, then: Callable[[BaseException | None], None]) -> None:
        """After the last put: when all is written, `then` runs on the disk thread, with what went wrong."""
        with self._lock:
            self._then = then
            self._wake()

    def discard(self) -> None:
        with self._lock:
            self._dropped = True
            self._waiting = []
            if not self._busy:
                self._spill.discard()
