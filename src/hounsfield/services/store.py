"""Store: the one way in. Bytes of one object become an object on its way into a round.

A `Receiver` takes the data set in pieces: it hashes while it receives, keeps small objects in memory
within the process's budget, and lets large ones (or those that the budget has no room for) stream into
a file of their own, written by a thread of its own so that no association waits for another's disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from blake3 import blake3

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from hounsfield.domain.errors import StorageFullError
from hounsfield.domain.identify import CANNOT_UNDERSTAND, Refusal, identify
from hounsfield.domain.stored import Arrival, Origin
from hounsfield.domain.study import ObjectKeys
from hounsfield.ports.blobs import Incoming, IntakeLog, Piece, Spill
from hounsfield.ports.clock import Clock
from hounsfield.services.rounds import OUT_OF_RESOURCES, Pending, Result, Rounds
from hounsfield.services.spilling import SpillQueue
from hounsfield.wire.dicomfile.errors import MalformedError, TruncatedError
from hounsfield.wire.dicomfile.header import read_header
from hounsfield.wire.dicomfile.part10 import build_meta

__all__ = ["Receiver", "Result", "Store", "scan"]


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
    ) -> Receiver:
        """Begin to receive one object. `meta`: keep this preamble and file meta group as they are."""
        return Receiver(
            self,
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax_uid,
            origin,
            character_set,
            quarantine,
            meta,
        )

    def enter_in_place(self, arrivals: Sequence[Arrival]) -> list[Future[Result]]:
        """Enter objects whose bytes stay where they are (`file:` locations)."""
        futures = []
        for arrival in arrivals:
            pending = Pending(None, arrival.keys, arrival, 0)
            self.rounds.submit(pending)
            futures.append(pending.future)
        return futures

    def close(self) -> None:
        self.disk.shutdown(wait=True)
        self.rounds.close()


class Receiver:
    """One object on its way in. Used by one thread; ends with `finish` or `abandon`."""

    __slots__ = (
        "_character_set",
        "_hasher",
        "_length",
        "_meta",
        "_origin",
        "_pieces",
        "_quarantine",
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
    ) -> None:
        self._store = store
        self._sop_class = sop_class
        self._sop_instance = sop_instance
        self._syntax = syntax
        self._origin = origin
        self._character_set = character_set
        self._quarantine = quarantine
        self._meta = meta
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
        """Take the next bytes (copied). False: the sender should wait until `resume` is called (from
        another thread); without `resume` the call itself waits."""
        self._hasher.update(piece)
        count = len(piece)
        self._length += count
        if self._spilled is None:
            if self._length <= self._store.large and self._store.budget.take(count):
                self._taken += count
                self._pieces.append(bytes(piece))
                return True
            self._begin_spill()
        assert self._spilled is not None
        return self._spilled.put(bytes(piece), resume)

    def finish(self) -> Future[Result]:
        """The data set is complete. The result comes when the object is durable and in the index, or is
        refused."""
        store = self._store
        content_hash = self._hasher.digest()
        at = store.clock.now()
        if self._spilled is not None:
            return self._finish_spilled(content_hash, at)
        keys = self._keys(self._pieces)
        if isinstance(keys, Refusal):
            self.abandon()
            return _refused(keys, self._sop_instance)
        incoming = self._incoming(keys, content_hash, at)
        pending = Pending(incoming, keys, None, self._taken, store.budget.give)
        store.rounds.submit(pending)
        return pending.future

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
        """Scan the first piece; where the header goes on, all of them."""
        if len(pieces) > 1:
            found = scan(
                pieces[0],
                self._syntax,
                self._character_set,
                self._sop_class,
                self._sop_instance,
                partial=True,
            )
            if found is not None:
                return found
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return _scan_whole(whole, self._syntax, self._character_set, self._sop_class, self._sop_instance)

    def _begin_spill(self) -> None:
        self._meta = self._meta or self._made_meta(self._sop_class, self._sop_instance)
        self._spill = self._store.log.spill(self._meta)
        self._spilled = SpillQueue(self._spill, self._store.disk)
        for piece in self._pieces:
            self._spilled.put(piece, None)
        self._pieces = []
        self._store.budget.give(self._taken)
        self._taken = 0

    def _finish_spilled(self, content_hash: bytes, at: int) -> Future[Result]:
        """On the disk thread: write what is left, sync, scan the file, hand it to a round."""
        answer: Future[Result] = Future()
        spilled, spill = self._spilled, self._spill
        assert spilled is not None and spill is not None

        def settle(error: BaseException | None) -> None:
            try:
                if error is not None:
                    raise error
                spill.sync()
                keys = _scan_whole(
                    spill.header(),
                    self._syntax,
                    self._character_set,
                    self._sop_class,
                    self._sop_instance,
                )
                if isinstance(keys, Refusal):
                    spill.discard()
                    answer.set_result(_refused(keys, self._sop_instance).result())
                    return
                pending = Pending(self._incoming(keys, content_hash, at), keys, None, 0, None, answer)
                self._store.rounds.submit(pending)
            except StorageFullError as error:
                spill.discard()
                answer.set_result(Result(None, OUT_OF_RESOURCES, error.what, self._sop_instance))
            except BaseException as error:
                spill.discard()
                answer.set_exception(error)

        spilled.close(settle)
        return answer


def scan(
    data: Piece,
    transfer_syntax_uid: str,
    character_set: str,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    *,
    partial: bool = False,
) -> ObjectKeys | Refusal | None:
    """Keys of a data set, or why it is refused. With `partial`, None when `data` ends within the header."""
    try:
        header = read_header(data, transfer_syntax_uid, default_character_set=character_set)
    except TruncatedError as error:
        if partial:
            return None
        return Refusal(CANNOT_UNDERSTAND, f"the data set is cut short: {error}")
    except MalformedError as error:
        if partial:
            return None
        return Refusal(CANNOT_UNDERSTAND, str(error))
    if partial and not header.complete:
        return None
    return identify(
        header.values,
        header.request,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        handed_over=header.handed_over,
    )


def _scan_whole(
    data: Piece, syntax: str, character_set: str, sop_class: str, sop_instance: str
) -> ObjectKeys | Refusal:
    found = scan(data, syntax, character_set, sop_class, sop_instance)
    assert found is not None
    return found


def _refused(refusal: Refusal, sop_instance_uid: str) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(Result(None, refusal.status, refusal.reason, sop_instance_uid))
    return future
