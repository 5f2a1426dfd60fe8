"""Store: the one way in. Bytes of one object become an object on its way into a round.

A `Receiver` takes the data set in pieces: it hashes while it receives, keeps small objects in memory
within the process's budget, and lets large ones (or those that the budget has no room for) stream into
a file of their own, written by a thread of its own so that no association waits for another's disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from blake3 import blake3

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from hounsfield.domain.errors import StorageFullError
from hounsfield.domain.identify import Refusal
from hounsfield.domain.stored import Arrival, Origin
from hounsfield.domain.study import ObjectKeys
from hounsfield.ports.blobs import Incoming, IntakeLog, Piece, Spill
from hounsfield.ports.clock import Clock
from hounsfield.services.indexing import Result
from hounsfield.services.rounds import OUT_OF_RESOURCES, Pending, Rounds, Told
from hounsfield.services.scanning import Scanner, scan_whole
from hounsfield.services.spilling import SpillQueue
from hounsfield.wire.dicomfile.part10 import build_meta

log = logging.getLogger(__name__)

__all__ = ["Receiver", "Result", "Store"]

#: A piece of fewer bytes than the first is appended to the one before, up to the second.
SMALL_PIECE, GATHERED_PIECE = 4096, 64 * 1024

#: Looks at the keys of an object, on the thread of `finish` or that of its disk: why it is refused, or None.
Check = Callable[[ObjectKeys], Refusal | None]


@dataclass(slots=True)
class Budget:
    """Memory for objects being received, of one process."""

    limit: int
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> bool:
        with self.lock:
            if self.used + count > self.limit:
                return False
            self.used += count
            return True

    def give(self, count: int) -> None:
        with self.lock:
            self.used -= count


class Store:
    """What receivers share. `large` and `budget` are in bytes."""

    def __init__(self, rounds: Rounds, clock: Clock, *, large: int, budget: int) -> None:
        self.rounds = rounds
        self.clock = clock
        self.large = large
        self.budget = Budget(budget)
        self.scanner = Scanner()
        self.disk = ThreadPoolExecutor(2, thread_name_prefix="spill")

    @property
    def log(self) -> IntakeLog:
        return self.rounds.log

    def begin(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        origin: Origin,
        *,
        character_set: str = "",
        quarantine: str = "",
        meta: bytes = b"",
        check: Check | None = None,
        sender: str = "",
    ) -> Receiver:
        """Begin to receive one object. `meta`: keep this preamble and file meta group as they are. `check`
        sees its keys before it is kept, and may refuse it. `sender`: who sends series object by object, where
        that is not the association."""
        return Receiver(
            self,
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax_uid,
            origin,
            character_set,
            quarantine,
            meta,
            check,
            sender or origin.association,
        )

    def enter_in_place(self, arrivals: Sequence[Arrival]) -> list[Future[Result]]:
        """Enter objects whose bytes stay where they are (`file:` locations)."""
        futures = []
        for arrival in arrivals:
            future: Future[Result] = Future()
            self.rounds.submit(Pending(None, arrival.keys, arrival, 0, future=future))
            futures.append(future)
        return futures

    def close(self) -> None:
        self.disk.shutdown(wait=True)
        self.rounds.close()


class Receiver:
    """One object on its way in. Used by one thread; ends with `finish` or `abandon`."""

    __slots__ = (
        "_character_set",
        "_check",
        "_hasher",
        "_length",
        "_meta",
        "_origin",
        "_pieces",
        "_quarantine",
        "_sender",
        "_sop_class",
        "_sop_instance",
        "_spill",
        "_spilled",
        "_store",
        "_syntax",
        "_taken",
    )

    def __init__(
        self,
        store: Store,
        sop_class: str,
        sop_instance: str,
        syntax: str,
        origin: Origin,
        character_set: str,
        quarantine: str,
        meta: bytes,
        check: Check | None,
        sender: str,
    ) -> None:
        self._store = store
        self._sop_class = sop_class
        self._sop_instance = sop_instance
        self._syntax = syntax
        self._origin = origin
        self._character_set = character_set
        self._quarantine = quarantine
        self._meta = meta
        self._check = check
        self._sender = sender
        self._hasher = blake3()
        self._pieces: list[Piece] = []
        self._length = 0
        self._taken = 0
        self._spill: Spill | None = None
        self._spilled: SpillQueue | None = None

    @property
    def length(self) -> int:
        """Bytes of the data set received so far."""
        return self._length

    def write(self, piece: Piece, resume: Callable[[], None] | None = None) -> bool:
        """Take the next bytes (copied, where they may change). False: the sender should wait until `resume`
        is called (from another thread); without `resume` the call itself waits."""
        self._hasher.update(piece)
        count = len(piece)
        self._length += count
        if self._spilled is None:
            if self._length <= self._store.large and self._store.budget.take(count):
                self._taken += count
                if count < SMALL_PIECE:
                    self._gather(piece)
                else:
                    self._pieces.append(_kept(piece))
                return True
            self._begin_spill()
        assert self._spilled is not None
        return self._spilled.put(bytes(piece), resume)

    def _gather(self, piece: Piece) -> None:
        """Small pieces go together: each alone would take many times its size in memory."""
        pieces = self._pieces
        last = pieces[-1] if pieces else None
        if isinstance(last, bytearray) and len(last) < GATHERED_PIECE:
            last += piece
        else:
            pieces.append(bytearray(piece))

    def finish(self, told: Told | None = None, *, alone: bool = False) -> Future[Result]:
        """The data set is complete. The result comes when the object is durable and in the index, or is
        refused; `told` hears before, and `alone` is, as in `finish_durable`."""
        future: Future[Result] = Future()
        self._end(told, future, alone)
        return future

    def finish_durable(self, told: Told, *, alone: bool = False) -> None:
        """The data set is complete. `told` hears, on any thread, when the object is durable or refused; in
        the index it will be a moment later (`Rounds.barrier`). `alone`: see `Rounds.submit`."""
        self._end(told, None, alone)

    def _end(self, told: Told | None, future: Future[Result] | None, alone: bool = False) -> None:
        store = self._store
        content_hash = self._hasher.digest()
        at = store.clock.now()
        if self._spilled is not None:
            self._end_spilled(content_hash, at, told, future)
            return
        keys = self._checked(self._keys(self._pieces))
        if isinstance(keys, Refusal):
            self.abandon()
            self._refuse(keys.status, keys.reason, told, future)
            return
        incoming = self._incoming(keys, content_hash, at)
        pending = Pending(incoming, keys, None, self._taken, store.budget.give, told, future)
        store.rounds.submit(pending, alone=alone)

    def _refuse(self, status: int, why: str, told: Told | None, future: Future[Result] | None) -> None:
        if told is not None:
            told(status, why)
        if future is not None:
            future.set_result(Result(None, status, why, self._sop_instance))

    def abandon(self) -> None:
        """Forget it: nothing of it is kept."""
        self._store.budget.give(self._taken)
        self._taken = 0
        self._pieces = []
        if self._spilled is not None:
            self._spilled.discard()

    def _incoming(self, keys: ObjectKeys, content_hash: bytes, at: int) -> Incoming:
        spill = self._spill
        return Incoming(
            meta=self._meta or self._made_meta(keys.instance.sop_class_uid, keys.instance.sop_instance_uid),
            pieces=None if spill is not None else self._pieces,
            spill=spill,
            data_set_length=self._length,
            content_hash=content_hash,
            transfer_syntax_uid=self._syntax,
            origin=self._origin,
            at=at,
            character_set=self._character_set,
            quarantine=self._quarantine,
        )

    def _made_meta(self, sop_class: str, sop_instance: str) -> bytes:
        return build_meta(
            sop_class,
            sop_instance,
            self._syntax,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            source_ae=self._origin.device if self._origin.source == "dimse" else "",
        )

    def _keys(self, pieces: Sequence[Piece]) -> ObjectKeys | Refusal:
        return self._store.scanner.keys(
            self._sender,
            pieces,
            self._syntax,
            self._character_set,
            self._sop_class,
            self._sop_instance,
        )

    def _checked(self, keys: ObjectKeys | Refusal) -> ObjectKeys | Refusal:
        if self._check is None or isinstance(keys, Refusal):
            return keys
        return self._check(keys) or keys

    def _begin_spill(self) -> None:
        self._meta = self._meta or self._made_meta(self._sop_class, self._sop_instance)
        self._spill = self._store.log.spill(self._meta)
        self._spilled = SpillQueue(self._spill, self._store.disk)
        for piece in self._pieces:
            self._spilled.put(piece, None)
        self._pieces = []
        self._store.budget.give(self._taken)
        self._taken = 0

    def _end_spilled(
        self, content_hash: bytes, at: int, told: Told | None, future: Future[Result] | None
    ) -> None:
        """On the disk thread: write what is left, sync, scan the file, hand it to a round."""
        spilled, spill = self._spilled, self._spill
        assert spilled is not None and spill is not None

        def settle(error: BaseException | None) -> None:
            try:
                if error is not None:
                    raise error
                spill.sync()
                keys = scan_whole(
                    spill.header(),
                    self._syntax,
                    self._character_set,
                    self._sop_class,
                    self._sop_instance,
                )
                keys = self._checked(keys)
                if isinstance(keys, Refusal):
                    spill.discard()
                    self._refuse(keys.status, keys.reason, told, future)
                    return
                incoming = self._incoming(keys, content_hash, at)
                self._store.rounds.submit(Pending(incoming, keys, None, 0, None, told, future))
            except StorageFullError as error:
                spill.discard()
                self._refuse(OUT_OF_RESOURCES, error.what, told, future)
            except Exception as error:
                log.error("a large object could not be kept", exc_info=error)
                spill.discard()
                self._refuse(OUT_OF_RESOURCES, f"internal error: {type(error).__name__}", told, future)

        spilled.close(settle)


def _kept(piece: Piece) -> Piece:
    """The piece as it may wait for its round: bytes, or a view of bytes that it is most of."""
    if isinstance(piece, memoryview):
        whole = piece.obj
        if isinstance(whole, bytes) and 2 * len(piece) >= len(whole):
            return piece
    return bytes(piece)
