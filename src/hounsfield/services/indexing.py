"""Indexing: what the log holds durably enters the index, many objects in one transaction.

One thread of the process takes what the rounds have made durable, in order. The object is acknowledged by
then: what happens here decides where it stands (current, duplicate, conflict, quarantine), never whether it
is kept. If the process ends first, replay of the log does the same.

These commits are not synced. A PostgreSQL that crashes, while we live on, forgets the last of them: the
number of our last ledger event then goes back. The log's checkpoint stays where it is, and the process has
to start again, which replays what the database has lost.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from hounsfield.domain.errors import (
    DatabaseSetBackError,
    DatabaseUnavailableError,
    HounsfieldError,
    StorageFullError,
)
from hounsfield.domain.events import Event, Recorded, Subjects
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Location
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.index import Entered
from hounsfield.ports.jobs import NewJob
from hounsfield.services.setting_aside import in_words

log = logging.getLogger(__name__)

SUCCESS = 0x0000
#: Stands for "not written, since the same content is kept already".
NOWHERE = Location("", 0, 0, 0)
#: Job that writes a settled series into one file.
PACK_SERIES = "pack-series"
#: Where large objects are, each in a file of its own.
LARGE = "large/"
MOST_REPEATING = 1024
#: Objects of one transaction.
BATCH = 512
#: Objects gather for so long before they enter the index, unless somebody waits for it.
LINGER_SECONDS = 0.02
#: Between two tries while the database is away; and how long the end of the process waits for it.
RETRY_SECONDS = 0.5
CLOSING_SECONDS = 10.0


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
class Durable:
    """One arrival whose bytes are durable; `future`, where somebody asks, gets where it stands."""

    arrival: Arrival
    future: Future[Result] | None = None


class GivenUpError(HounsfieldError):
    """What a duplicate stands for is no longer kept."""


class Indexer:
    """`settle` in microseconds: how long a series must rest to be packed. `remove` forgets a blob that a
    duplicate left without a use."""

    def __init__(
        self, database: Database, clock: Clock, settle: int, remove: Callable[[str], object]
    ) -> None:
        self.database = database
        self.clock = clock
        self.settle = settle
        self.remove = remove
        #: Set when an object could not be entered: the log must then not forget it.
        self.stuck = False
        #: Associations that sent what is kept already: the rounds look before they write what they send.
        self.repeating: set[str] = set()
        #: Whether the database takes nothing now.
        self.away = False
        #: Whether it has lost commits of ours; `on_set_back` is then called, once, on any thread.
        self.set_back = False
        self.on_set_back: Callable[[], None] = lambda: None
        self._last = 0  # number of our last ledger event that was committed
        self._lock = threading.Condition()
        self._items: list[Durable] = []
        self._put = 0
        self._done = 0
        self._waiters: list[tuple[int, Future[None]]] = []
        self._sleeping = False
        self._closing = False
        self._enqueued: OrderedDict[str, int] = OrderedDict()  # series UID -> when its pack job was made
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Durable]) -> None:
        with self._lock:
            self._items.extend(items)
            self._put += len(items)
            if self._sleeping or len(self._items) >= BATCH:
                self._lock.notify_all()

    @property
    def behind(self) -> int:
        """Objects that are durable and not in the index yet."""
        return self._put - self._done

    def barrier(self) -> Future[None] | None:
        """Done when all that was put so far is in the index; None when it is already."""
        with self._lock:
            if self._done == self._put:
                return None
            future: Future[None] = Future()
            self._waiters.append((self._put, future))
            self._lock.notify_all()
            return future

    def wait_below(self, count: int, seconds: float) -> bool:
        """Wait until fewer than `count` objects are behind; whether that came true in time."""
        with self._lock:
            return self._lock.wait_for(lambda: self._put - self._done < count, seconds)

    def caught_up(self, seconds: float) -> bool:
        """Wait until nothing is behind, at most so long, and not at all while the database is away."""
        with self._lock:
            self._lock.wait_for(lambda: self.away or self._put == self._done, seconds)
            return self._put == self._done

    def close(self) -> None:
        """Enter what is left, stop."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            self._enter(batch)
            with self._lock:
                self._done += len(batch)
                ready = [future for upto, future in self._waiters if upto <= self._done]
                self._waiters = [w for w in self._waiters if w[0] > self._done]
                self._lock.notify_all()
            for future in ready:
                future.set_result(None)

    def _take(self) -> list[Durable]:
        with self._lock:
            self._sleeping = True
            while not self._items and not self._closing:
                self._lock.wait()
            self._sleeping = False
            self._lock.wait_for(self._urgent, LINGER_SECONDS)
            batch = self._items[:BATCH]
            del self._items[:BATCH]
            return batch

    def _urgent(self) -> bool:
        return bool(self._waiters) or self._closing or len(self._items) >= BATCH

    def _enter(self, batch: Sequence[Durable], trouble: str = "") -> None:
        """`trouble`: why the index failed at the one object of the batch, which is to be held for that."""
        deadline, again = self.clock.monotonic() + CLOSING_SECONDS, False
        while True:
            try:
                results = self._commit([item.arrival for item in batch], trouble)
            except (DatabaseUnavailableError, StorageFullError) as error:
                if not self._closing:
                    deadline = self.clock.monotonic() + CLOSING_SECONDS
                elif self.clock.monotonic() > deadline:
                    self._give_up(batch, error)
                    return
                log.warning("the index cannot be written; it is tried again", extra={"why": error.what})
                with self._lock:
                    self.away = True
                    self._lock.notify_all()
                    self._lock.wait(RETRY_SECONDS)
            except DatabaseSetBackError as error:
                self._give_up(batch, error)
                return
            except GivenUpError as error:
                if len(batch) == 1:  # as if it had come a moment earlier: there is nothing to enter
                    _settle(batch[0], error)
                else:
                    for item in batch:
                        self._enter((item,))
                return
            except Exception as error:
                if len(batch) > 1:  # one bad object never blocks the others: each gets its own transaction
                    for item in batch:
                        self._enter((item,))
                elif trouble:
                    self._give_up(batch, error)
                elif not again:  # it may have been a trouble of the machine, which passes
                    again = True
                    with self._lock:
                        self._lock.wait(RETRY_SECONDS)
                    continue
                else:
                    log.error("the index failed at an object; it is held in quarantine", exc_info=error)
                    to_hold = replace(batch[0].arrival, quarantine=QuarantineReason.NOT_ENTERED)
                    self._enter((Durable(to_hold, batch[0].future),), in_words(error))
                return
            else:
                self.away = False
                for item, result in zip(batch, results, strict=True):
                    if item.future is not None:
                        item.future.set_result(result)
                return

    def _give_up(self, batch: Sequence[Durable], error: Exception) -> None:
        """They stay in the log, whose checkpoint stops here: the next start tries again, and sets aside what
        it cannot enter either."""
        self.stuck = True
        log.error("kept objects are not in the index; a restart tries again", exc_info=error)
        for item in batch:
            _settle(item, error)

    def _commit(self, arrivals: Sequence[Arrival], trouble: str = "") -> list[Result]:
        now = self.clock.now()
        with self.database.write(synced=False) as tx:
            if any(arrival.location is NOWHERE for arrival in arrivals):
                _check_kept(tx, arrivals)
            entered = tx.index.enter(arrivals)
            recorded = record(tx, arrivals, entered, now, trouble)
            if self.set_back or recorded[0].n <= self._last:
                raise self._was_set_back()
            packing = self._enqueue_packing(tx, arrivals, entered, now)
        self._last = recorded[-1].n
        for uid in packing:  # only now: had it been rolled back, there would be no job
            self._enqueued[uid] = now
            self._enqueued.move_to_end(uid)
        while len(self._enqueued) > 4096:
            self._enqueued.popitem(last=False)
        self._remove_unused(arrivals, entered)
        self._note_repeating(arrivals, entered)
        return [_result(a, e) for a, e in zip(arrivals, entered, strict=True)]

    def check(self, tx: Transaction) -> None:
        """Raises DatabaseSetBackError when commits of ours are gone."""
        if self.set_back or tx.ledger.head() < self._last:
            raise self._was_set_back()

    def _was_set_back(self) -> DatabaseSetBackError:
        first, self.set_back = not self.set_back, True
        self.stuck = True
        if first:
            log.critical("the database has lost what it had confirmed; the log has it: starting again")
            self.on_set_back()
        return DatabaseSetBackError(
            "The database has lost what it had confirmed", "The next start replays it from the log"
        )

    def _enqueue_packing(
        self, tx: Transaction, arrivals: Sequence[Arrival], entered: Sequence[Entered], now: int
    ) -> set[str]:
        """A series that got an object is packed once it has settled. A waiting job covers later objects,
        since it postpones itself while the series changes: so one job for each settle time is enough."""
        packing = set()
        for arrival, result in zip(arrivals, entered, strict=True):
            uid = arrival.keys.series.series_instance_uid
            before = self._enqueued.get(uid)
            # a clock that was set back makes another one
            waits = before is not None and 0 <= now - before < self.settle // 2
            if result.outcome is Outcome.STORED and not waits:
                packing.add(uid)
        if packing:
            tx.jobs.enqueue([NewJob(PACK_SERIES, uid, run_at=now + self.settle) for uid in sorted(packing)])
        return packing

    def _note_repeating(self, arrivals: Sequence[Arrival], entered: Sequence[Entered]) -> None:
        for arrival, result in zip(arrivals, entered, strict=True):
            if result.outcome is Outcome.DUPLICATE:
                if len(self.repeating) >= MOST_REPEATING:
                    self.repeating.clear()
                self.repeating.add(arrival.origin.association)

    def _remove_unused(self, arrivals: Sequence[Arrival], entered: Sequence[Entered]) -> None:
        """The files of large objects that turned out to be there already. Not one that a row names: where it
        could not be told that a transaction was committed, its objects come again, each its own duplicate."""
        for arrival, result in zip(arrivals, entered, strict=True):
            at = arrival.location
            if result.outcome is not Outcome.DUPLICATE or not at.key.startswith(LARGE):
                continue
            try:
                with self.database.read() as tx:
                    named = tx.index.knows_location(at.key, at.offset)
                if not named:
                    self.remove(at.key)
            except (HounsfieldError, OSError) as error:  # `doctor` shows it
                log.warning("a file of no use stays behind", extra={"key": at.key, "why": str(error)})


def _settle(item: Durable, error: Exception) -> None:
    if item.future is not None:
        item.future.set_exception(error)


def _check_kept(tx: Transaction, arrivals: Sequence[Arrival]) -> None:
    """Raises GivenUpError for one that was not written, since it was kept, and was given up since."""
    unwritten = [arrival for arrival in arrivals if arrival.location is NOWHERE]
    known = tx.index.known_hashes([arrival.keys.instance.sop_instance_uid for arrival in unwritten])
    for arrival in unwritten:
        if arrival.content_hash not in known.get(arrival.keys.instance.sop_instance_uid, ()):
            raise GivenUpError("An object that came again was given up by a person in the same moment")


def record(
    tx: Transaction, arrivals: Sequence[Arrival], entered: Sequence[Entered], now: int, trouble: str = ""
) -> list[Recorded]:
    """Write the ledger events of a round: one for the objects of each association, series and outcome.
    `trouble`: why the index failed at what is now held."""
    events: list[Event] = []
    groups: dict[tuple[str, str, Outcome, bool], list[object]] = {}
    for arrival, result in zip(arrivals, entered, strict=True):
        origin = arrival.origin
        subjects = _subjects(arrival)
        actor = origin.actor
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
            if trouble:
                details["why"] = trouble
            events.append(Event("instance.quarantined", now, subjects, actor, payload=details))
    return tx.ledger.append(events)


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
