"""Rounds: many objects, one append, one sync, one transaction; then, and only then, the answers.

One thread of the process takes all objects finished since its last round, over all associations.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hounsfield.domain.errors import DatabaseUnavailableError, HounsfieldError, StorageFullError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Location, ObjectKeys
from hounsfield.ports.blobs import Incoming, IntakeLog
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.index import Entered
from hounsfield.ports.jobs import NewJob

log = logging.getLogger(__name__)

#: C-STORE statuses (PS3.4 B.2.3) that a round itself gives.
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700

#: Largest number of objects and bytes of one round: bounds the time until its first answer.
ROUND_OBJECTS = 256
ROUND_BYTES = 64 * 1024 * 1024
#: Store rounds between two fully synced transactions, after which the log's checkpoint moves.
CHECKPOINT_SECONDS = 30.0
#: Stands for "not written, since the same content is kept already".
NOWHERE = Location("", 0, 0, 0)
#: Job that writes a settled series into one file.
PACK_SERIES = "pack-series"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one object. `outcome` is None when it was refused."""

    outcome: Outcome | None
    status: int
    reason: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""


@dataclass(slots=True)
class Pending:
    """One object waiting for its round: bytes to be logged (`incoming`) or an arrival in place."""

    incoming: Incoming | None
    keys: ObjectKeys
    arrival: Arrival | None
    taken: int  # bytes of the memory budget, given back by `give` when the round is over
    give: Callable[[int], None] | None = None
    future: Future[Result] = field(default_factory=Future)
    #: Where the log has it, durably: a round that is tried again does not write it again.
    logged: Location | None = None

    @property
    def content_hash(self) -> bytes:
        if self.incoming is not None:
            return self.incoming.content_hash
        assert self.arrival is not None
        return self.arrival.content_hash


class Syncer:
    """Syncs the log on a thread of its own, while the round's transaction is being filled."""

    def __init__(self, log: IntakeLog) -> None:
        self._log = log
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._running = False
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        self._running = True
        self._asked.put(True)

    def wait(self) -> None:
        """Until the sync that was begun is over; at once where none is. Raises what it failed with."""
        if self._running:
            error = self._answers.get()
            self._running = False
            if error is not None:
                raise error

    def close(self) -> None:
        self._asked.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._asked.get():
            try:
                self._log.sync()
            except BaseException as error:  # raised again by wait()
                self._answers.put(error)
            else:
                self._answers.put(None)


class Rounds:
    """The committer of one process, whose log is that of `writer`.

    `settle`, in seconds: how long a series must rest to be packed.
    """

    def __init__(
        self,
        log: IntakeLog,
        database: Database,
        clock: Clock,
        *,
        writer: str,
        settle: float,
        start: bool = True,
    ) -> None:
        self.log = log
        self.writer = writer
        self.database = database
        self.clock = clock
        self.settle = int(settle * 1_000_000)
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._enqueued: OrderedDict[str, int] = OrderedDict()  # series UID -> when its pack job was made
        self._last_checkpoint = clock.monotonic()
        self._dirty = False
        self._syncer = Syncer(log)
        self._thread = threading.Thread(target=self._run, name="rounds", daemon=True)
        if start:
            self._thread.start()

    def submit(self, pending: Pending) -> None:
        """Any thread. The pending's future gets its result when its round is durable."""
        self._queue.put(pending)

    def close(self) -> None:
        """Finish what was submitted, move the checkpoint, stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._take()
            if batch:
                self.round(batch)
            try:
                self._checkpoint(force=not going)
            except HounsfieldError as error:  # replay then begins further back, and the next one may succeed
                log.warning("the checkpoint of the intake log did not move", extra={"why": error.what})
        self._syncer.close()

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
        """One round. Every future is resolved when it returns."""
        try:
            results = self._commit(batch, self._log(batch))
        except (StorageFullError, DatabaseUnavailableError) as error:
            self._fail(batch, error)
            return
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch, error)
            else:  # one bad object never blocks the others: each gets a round of its own
                for pending in batch:
                    self.round((pending,))
            return
        for pending, result in zip(batch, results, strict=True):
            _give(pending)
            pending.future.set_result(result)

    def _log(self, batch: Sequence[Pending]) -> list[Arrival]:
        """Append what is not kept already, and begin to sync it; the arrivals of the batch, in order."""
        with self.database.read() as tx:
            known = tx.index.known_hashes([p.keys.instance.sop_instance_uid for p in batch])
        fresh: list[Pending] = []
        for pending in batch:
            incoming = pending.incoming
            if incoming is None or pending.logged is not None:
                continue
            if incoming.content_hash in known.get(pending.keys.instance.sop_instance_uid, ()):
                pending.logged = NOWHERE
                if incoming.spill is not None:
                    incoming.spill.discard()
            else:
                fresh.append(pending)
        if fresh:
            locations = self.log.append([p.incoming for p in fresh if p.incoming is not None])
            for pending, location in zip(fresh, locations, strict=True):
                pending.logged = location
            self._syncer.begin()
        return [_arrival(pending) for pending in batch]

    def _await_sync(self, batch: Sequence[Pending]) -> None:
        """Raises StorageFullError when the batch could not be made durable: the log has then undone it."""
        try:
            self._syncer.wait()
        except BaseException:
            for pending in batch:
                pending.logged = None
            raise

    def _commit(self, batch: Sequence[Pending], arrivals: Sequence[Arrival]) -> list[Result]:
        """Enter the batch while its bytes are being synced; commit once they are."""
        try:
            return self._entered(batch, arrivals)
        finally:
            self._await_sync(batch)  # at once where it was waited for; else before anything is tried again

    def _entered(self, batch: Sequence[Pending], arrivals: Sequence[Arrival]) -> list[Result]:
        with self.database.write(synced=False) as tx:
            entered = tx.index.enter(arrivals)
            for arrival, result in zip(arrivals, entered, strict=True):
                if arrival.location is NOWHERE and result.outcome is not Outcome.DUPLICATE:
                    raise HounsfieldError("an object that was kept was deleted just now", "Send it again")
            record(tx, arrivals, entered, self.clock.now())
            self._enqueue_packing(tx, arrivals, entered)
            self._await_sync(batch)
        self._dirty = True
        return [_result(a, e) for a, e in zip(arrivals, entered, strict=True)]

    def _enqueue_packing(
        self, tx: Transaction, arrivals: Sequence[Arrival], entered: Sequence[Entered]
    ) -> None:
        """A series that got an object is packed once it has settled. A waiting job covers later objects,
        since it postpones itself while the series changes: so one job for each settle time is enough."""
        now = self.clock.now()
        jobs = []
        for arrival, result in zip(arrivals, entered, strict=True):
            uid = arrival.keys.series.series_instance_uid
            if result.outcome is not Outcome.STORED or now - self._enqueued.get(uid, 0) < self.settle // 2:
                continue
            self._enqueued[uid] = now
            self._enqueued.move_to_end(uid)
            jobs.append(NewJob(PACK_SERIES, uid, run_at=now + self.settle))
        while len(self._enqueued) > 4096:
            self._enqueued.popitem(last=False)
        if jobs:
            tx.jobs.enqueue(jobs)

    def _checkpoint(self, force: bool) -> None:
        """After a fully synced transaction, all rounds before it are in the database for good."""
        now = self.clock.monotonic()
        if not self._dirty or (not force and now - self._last_checkpoint < CHECKPOINT_SECONDS):
            return
        with self.database.write() as tx:
            tx.settings.set(f"checkpoint:{self.writer}", self.clock.now())
        self.log.checkpoint()
        self._last_checkpoint = now
        self._dirty = False

    def _fail(self, batch: Sequence[Pending], error: Exception) -> None:
        for pending in batch:
            _give(pending)
            if isinstance(error, HounsfieldError):
                pending.future.set_result(
                    Result(None, OUT_OF_RESOURCES, error.what, pending.keys.instance.sop_instance_uid)
                )
            else:
                pending.future.set_exception(error)


def record(tx: Transaction, arrivals: Sequence[Arrival], entered: Sequence[Entered], now: int) -> None:
    """Write the ledger events of a round: one for the objects of each association, series and outcome."""
    events: list[Event] = []
    groups: dict[tuple[str, str, Outcome, bool], list[object]] = {}
    for arrival, result in zip(arrivals, entered, strict=True):
        origin = arrival.origin
        subjects = _subjects(arrival)
        actor = f"device:{origin.device}" if origin.device else "system"
        if result.new_study:
            events.append(Event("study.created", now, subjects, actor))
        if result.new_series:
            payload: dict[str, object] = {"modality": arrival.keys.series.modality}
            events.append(Event("series.created", now, subjects, actor, payload=payload))
        sop = arrival.keys.instance.sop_instance_uid
        size = arrival.location.length - arrival.location.meta_length
        if result.outcome in (Outcome.STORED, Outcome.DUPLICATE):
            stored = result.outcome is Outcome.STORED
            item: object = (
                [sop, arrival.keys.instance.sop_class_uid, arrival.content_hash.hex(), size]
                if stored
                else sop
            )
            key = (origin.association, subjects.series, result.outcome, arrival.keys.handed_over)
            group = groups.get(key)
            if group is not None:
                group.append(item)
                continue
            groups[key] = group = [item]
            kind = "instance.stored" if stored else "instance.duplicate"
            payload = {"objects": group, "source": origin.source}
            if arrival.keys.handed_over:
                payload["handed_over"] = True
            events.append(Event(kind, now, subjects, actor, payload=payload))
            continue
        details: dict[str, object] = {
            "sop": sop,
            "sop_class": arrival.keys.instance.sop_class_uid,
            "hash": arrival.content_hash.hex(),
            "bytes": size,
            "quarantine": result.quarantine_id,
            "source": origin.source,
        }
        if result.outcome is Outcome.CONFLICT:
            details["current"] = result.current_hash.hex()
            events.append(Event("instance.conflict", now, subjects, actor, payload=details))
        else:
            details["reason"] = result.reason
            events.append(Event("instance.quarantined", now, subjects, actor, payload=details))
    tx.ledger.append(events)


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


def _subjects(arrival: Arrival) -> Subjects:
    keys = arrival.keys
    return Subjects(
        accession=keys.study.accession_number,
        patient=keys.patient.patient_id,
        study=keys.study.study_instance_uid,
        series=keys.series.series_instance_uid,
        device=arrival.origin.device,
        association=arrival.origin.association,
    )


def _result(arrival: Arrival, entered: Entered) -> Result:
    return Result(
        entered.outcome,
        SUCCESS,
        entered.reason,
        arrival.keys.instance.sop_instance_uid,
        arrival.keys.study.study_instance_uid,
        arrival.keys.series.series_instance_uid,
    )


def _give(pending: Pending) -> None:
    if pending.give is not None:
        pending.give(pending.taken)
        pending.give = None


__all__ = ["PACK_SERIES", "Pending", "Result", "Rounds", "record"]
