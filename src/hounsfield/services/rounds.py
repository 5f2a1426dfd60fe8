"""Rounds: many objects, one append, one sync; then, and only then, the answers.

One thread of the process takes all objects finished since its last round, over all associations. What is
durable goes on to `services.indexing`, in order, before anybody is told: who waits for the index to have
caught up (`Rounds.barrier`) finds everything that was acknowledged.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from hounsfield.domain.errors import DatabaseUnavailableError, HounsfieldError, StorageFullError
from hounsfield.domain.stored import Arrival, QuarantineReason
from hounsfield.domain.study import Location, ObjectKeys
from hounsfield.ports.blobs import Incoming, IntakeLog
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.services import metrics, tracing
from hounsfield.services.indexing import NOWHERE, SUCCESS, Durable, Indexer, Result

log = logging.getLogger(__name__)

#: C-STORE status (PS3.4 B.2.3) of what cannot be kept now.
OUT_OF_RESOURCES = 0xA700

#: Largest number of objects and bytes of one round: bounds the time until its first answer.
ROUND_OBJECTS = 256
ROUND_BYTES = 64 * 1024 * 1024
#: Objects that may be acknowledged and not yet in the index; past it answers wait for the index.
MOST_BEHIND = 2000
BEHIND_SECONDS = 10.0
#: A lone object of at most so many bytes gets its round from who submits it, while a sync takes no longer.
HERE_BYTES, HERE_SECONDS = 1024 * 1024, 0.002
#: Seconds of storing between two fully synced transactions, after which the log's checkpoint moves.
CHECKPOINT_SECONDS = 30.0

#: Told once for each object: status 0 when it is durable, else a C-STORE status and the reason.
Told = Callable[[int, str], None]


@dataclass(slots=True, eq=False)
class Pending:
    """One object waiting for its round: bytes to be logged (`incoming`) or an arrival in place.

    `told` hears of durability or refusal, `future` of what became of it in the end; either may be None.
    """

    incoming: Incoming | None
    keys: ObjectKeys
    arrival: Arrival | None
    taken: int  # bytes of the memory budget, given back by `give` when the round is over
    give: Callable[[int], None] | None = None
    told: Told | None = None
    future: Future[Result] | None = None
    #: Where the log has it: a round that is tried again does not write it again.
    logged: Location | None = None


class Rounds:
    """The committer of one process, whose log is that of `writer`.

    `settle`, in seconds: how long a series must rest to be packed. `remove` forgets a blob of no use.
    """

    def __init__(
        self,
        log: IntakeLog,
        database: Database,
        clock: Clock,
        *,
        writer: str,
        settle: float,
        remove: Callable[[str], object] = lambda key: None,
        start: bool = True,
    ) -> None:
        self.log = log
        self.writer = writer
        self.database = database
        self.clock = clock
        self.indexer = Indexer(database, clock, int(settle * 1_000_000), remove)
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._last_checkpoint = clock.monotonic()
        self._dirty = False
        self._turn = threading.Lock()  # held by who does a round, or moves the checkpoint
        self._pace = 0.0  # seconds that a sync takes now: up at once, down slowly
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)
        if start:
            self._thread.start()

    def submit(self, pending: Pending, *, alone: bool = False) -> None:
        """Any thread. `alone`: the caller has nothing else to do before it is told. A round of this one
        object is then done at once, where the disk is fast: handing it to another thread and back would take
        as long as the sync."""
        if alone and self._may_do_here(pending) and self._turn.acquire(blocking=False):
            try:
                if self._queue.empty():
                    self.round((pending,))
                    return
            finally:
                self._turn.release()
        self._queue.put(pending)

    def _may_do_here(self, pending: Pending) -> bool:
        """Whether nothing in its round could wait for long: for the disk, or for the database."""
        incoming = pending.incoming
        return (
            incoming is not None
            and incoming.spill is None
            and pending.taken <= HERE_BYTES
            and self._pace < HERE_SECONDS
            and self.indexer.behind <= MOST_BEHIND
            and incoming.origin.association not in self.indexer.repeating
        )

    def barrier(self) -> Future[None] | None:
        """Done when all that was acknowledged so far is in the index; None when it is already."""
        return self.indexer.barrier()

    def close(self) -> None:
        """Finish what was submitted, move the checkpoint, stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            with self._turn:
                if batch:
                    self.round(batch)
                if not going:
                    self.indexer.close()
                try:
                    self._checkpoint(force=not going)
                except Exception as error:  # replay then begins further back, and the next one may succeed
                    why = error.what if isinstance(error, HounsfieldError) else repr(error)
                    log.warning("the checkpoint of the intake log did not move", extra={"why": why})

    def _take(self) -> tuple[list[Pending], bool]:
        batch: list[Pending] = []
        size = 0
        try:
            item = self._queue.get(timeout=CHECKPOINT_SECONDS)
            while True:
                if item is None:
                    return batch, False
                batch.append(item)
                size += item.taken
                if len(batch) >= ROUND_OBJECTS or size >= ROUND_BYTES:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch, True

    def round(self, batch: Sequence[Pending]) -> None:
        """One round, by who has the turn. Everybody is told, or refused, when it returns."""
        try:
            if self.indexer.behind > MOST_BEHIND and not self.indexer.wait_below(MOST_BEHIND, BEHIND_SECONDS):
                raise DatabaseUnavailableError("the index cannot be written", "Send it again later")
            self._log(batch)
        except StorageFullError as error:
            kept = self._kept_already(batch)
            self._fail([pending for pending in batch if pending not in kept], error)
            if kept:  # what is kept needs no room
                self.round(kept)
            return
        except DatabaseUnavailableError as error:
            self._fail(batch, error)
            return
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch, error)
            else:  # one bad object never blocks the others: each gets a round of its own
                for pending in batch:
                    self.round((pending,))
            return
        self._dirty = True
        self.indexer.put([Durable(_arrival(pending), pending.future) for pending in batch])
        for pending in batch:
            if pending.give is not None:
                pending.give(pending.taken)
            if pending.told is not None:
                pending.told(SUCCESS, "")

    def _log(self, batch: Sequence[Pending]) -> None:
        """Append and sync what is not kept already, as far as it is looked for: only where a sender was seen
        to repeat itself. What is written twice for want of a look the index finds out, and its space in the
        log is free again when the segment is."""
        repeating = self.indexer.repeating
        if repeating:
            self._look_up([p for p in batch if p.incoming and p.incoming.origin.association in repeating])
        fresh = [p for p in batch if p.incoming is not None and p.logged is None]
        if fresh:
            begun = self.clock.monotonic()
            with tracing.round_span(
                pending.incoming.origin.association for pending in fresh if pending.incoming
            ):
                locations = self.log.append_synced([p.incoming for p in fresh if p.incoming is not None])
            took = self.clock.monotonic() - begun
            self._pace = took if took > self._pace else 0.9 * self._pace + 0.1 * took
            metrics.round_ended(took, len(fresh), sum([location.length for location in locations]))
            for pending, location in zip(fresh, locations, strict=True):
                pending.logged = location

    def _look_up(self, batch: Sequence[Pending]) -> None:
        """Those whose content is kept already need not be written."""
        if not batch:
            return
        with self.database.read() as tx:
            known = tx.index.known_hashes([p.keys.instance.sop_instance_uid for p in batch])
        for pending in batch:
            incoming = pending.incoming
            if incoming is None or pending.logged is not None:
                continue
            if incoming.content_hash in known.get(pending.keys.instance.sop_instance_uid, ()):
                pending.logged = NOWHERE
                if incoming.spill is not None:
                    incoming.spill.discard()

    def _kept_already(self, batch: Sequence[Pending]) -> list[Pending]:
        """After a round that found no room: those that need none."""
        unlogged = [pending for pending in batch if pending.logged is None]
        try:
            self._look_up(unlogged)
        except DatabaseUnavailableError:
            return []  # they are refused with the others, and may come again
        return [pending for pending in unlogged if pending.logged is not None]

    def _checkpoint(self, force: bool) -> None:
        """After a fully synced transaction, all that was indexed before it is in the database for good."""
        now = self.clock.monotonic()
        if not self._dirty or (not force and now - self._last_checkpoint < CHECKPOINT_SECONDS):
            return
        self._last_checkpoint = now  # also when it fails: it is not tried, nor told, with every round
        if not self.indexer.caught_up(BEHIND_SECONDS) or self.indexer.stuck:
            return
        with self.database.write() as tx:
            self.indexer.check(tx)
            tx.settings.set(f"checkpoint:{self.writer}", self.clock.now())
        self.log.checkpoint()
        self._dirty = False

    def _fail(self, batch: Sequence[Pending], error: Exception) -> None:
        expected = isinstance(error, HounsfieldError)
        if not expected:
            log.error("objects could not be kept", exc_info=error)
        why = error.what if isinstance(error, HounsfieldError) else f"internal error: {type(error).__name__}"
        for pending in batch:
            if pending.incoming is not None and pending.incoming.spill is not None:
                pending.incoming.spill.discard()
            refuse(pending, OUT_OF_RESOURCES, why)


def refuse(pending: Pending, status: int, why: str) -> None:
    """Tell everybody that an object is not kept."""
    if pending.give is not None:
        pending.give(pending.taken)
    if pending.told is not None:
        pending.told(status, why)
    if pending.future is not None:
        pending.future.set_result(Result(None, status, why, pending.keys.instance.sop_instance_uid))


def _arrival(pending: Pending) -> Arrival:
    incoming = pending.incoming
    if incoming is None:
        assert pending.arrival is not None
        return pending.arrival
    assert pending.logged is not None
    return Arrival(
        pending.keys,
        incoming.transfer_syntax_uid,
        incoming.content_hash,
        pending.logged,
        incoming.origin,
        incoming.at,
        QuarantineReason(incoming.quarantine) if incoming.quarantine else None,
    )
