"""Recovery: what a log holds and the index does not, after a stop that was not clean.

Every record past a log's checkpoint goes through the same decisions as in the round that wrote it; what
the index knows already comes out as known. So it may be stopped and repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hounsfield.domain.errors import (
    ConflictError,
    DamagedError,
    DatabaseUnavailableError,
    StorageFullError,
)
from hounsfield.domain.events import Event
from hounsfield.domain.identify import Refusal
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Location, ObjectKeys
from hounsfield.ports.blobs import Blobs, Replay, Replayed
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.jobs import NewJob
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.indexing import PACK_SERIES, record
from hounsfield.services.scanning import scan
from hounsfield.services.setting_aside import in_words, set_aside
from hounsfield.services.verify import Damage, damage_events
from hounsfield.wire.dicomfile.part10 import read_meta

log = logging.getLogger(__name__)

BATCH = 128
#: Headers end within this much of nearly every object.
HEADER = 1024 * 1024
#: Troubles of the machine, not of a record: the next start tries again.
PASSING = (DatabaseUnavailableError, StorageFullError, OSError, MemoryError)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the replay of one log did."""

    writer: str
    segments: int
    entered: int
    known: int
    torn: int
    damaged: int
    set_aside: int = 0


def recover(database: Database, blobs: Blobs, clock: Clock, *, settle: float) -> list[Recovered]:
    """Replay every log that no living process has open; its checkpoint is then at its end.

    Call it before a role opens its own log. A record that cannot be entered is set aside, its bytes kept;
    while database or disk fail nothing is, and the log stays as it is: raises what they raise.
    """
    done = []
    for writer in blobs.writers():
        try:
            recovered = _Recovery(writer, database, blobs, clock, settle).run()
        except ConflictError:
            continue  # open in a process that lives: it has recovered it itself
        if recovered is not None:
            done.append(recovered)
    return done


class _Recovery:
    """The replay of one log."""

    def __init__(self, writer: str, database: Database, blobs: Blobs, clock: Clock, settle: float) -> None:
        self.writer = writer
        self.database = database
        self.blobs = blobs
        self.clock = clock
        self.settle = settle
        self.entered = self.known = self.set_aside = 0
        #: Study Instance UID -> where objects were that a person has given up.
        self._given_up: dict[str, set[tuple[str, int]]] = {}

    def run(self) -> Recovered | None:
        replay = self.blobs.replay(self.writer)
        try:
            while batch := _batch(replay):
                self._replay(batch)
        finally:
            replay.close()
        if not (replay.segments or replay.torn):
            return None
        damaged = _damaged(self.database, replay.damaged)
        now = self.clock.now()
        payload: dict[str, object] = {
            "segments": replay.segments,
            "entered": self.entered,
            "known": self.known,
            "torn": replay.torn,
        }
        if self.set_aside:
            payload["set_aside"] = self.set_aside
        with self.database.write() as tx:
            tx.ledger.append(
                [Event("log.replayed", now, payload=payload), *damage_events(damaged, now, "system")]
            )
        log = self.blobs.open_log(self.writer)
        try:
            log.checkpoint()
        finally:
            log.close()
        return Recovered(
            self.writer, replay.segments, self.entered, self.known, replay.torn, len(damaged), self.set_aside
        )

    def _replay(self, batch: Sequence[Replayed]) -> None:
        fresh = _unknown(self.database, batch)
        self.known += len(batch) - len(fresh)
        pairs = []
        for one in fresh:
            try:
                arrival = _arrival(self.blobs, one)
            except PASSING:
                raise
            except Exception as error:
                self._set_aside(one, error)
                continue
            if self._was_given_up(arrival):
                self.known += 1
            else:
                pairs.append((one, arrival))
        if not pairs:
            return
        try:
            self._enter([arrival for _, arrival in pairs])
        except PASSING:
            raise
        except Exception:  # one bad record never blocks the others: each gets a transaction of its own
            for one, arrival in pairs:
                self._enter_alone(one, arrival)

    def _was_given_up(self, arrival: Arrival) -> bool:
        """A person dropped it from the quarantine before the checkpoint of the log had passed it."""
        study = arrival.keys.study.study_instance_uid
        places = self._given_up.get(study)
        if places is None:
            with self.database.read() as tx:
                dropped = tx.ledger.read(LedgerFilter(study=study, types=("instance.dropped",)))
                places = {place for recorded in dropped for place in _places(recorded.event)}
            self._given_up[study] = places
        return (arrival.location.key, arrival.location.offset) in places

    def _enter(self, arrivals: Sequence[Arrival], trouble: str = "") -> None:
        count = _enter(self.database, self.clock, arrivals, self.settle, trouble)
        self.entered += count
        self.known += len(arrivals) - count

    def _enter_alone(self, one: Replayed, arrival: Arrival) -> None:
        """As it is; else into quarantine; else its file is set aside."""
        try:
            self._enter([arrival])
        except PASSING:
            raise
        except Exception as error:
            log.error("the index failed at an object; it is held in quarantine", exc_info=error)
            try:
                self._enter([replace(arrival, quarantine=QuarantineReason.NOT_ENTERED)], in_words(error))
            except PASSING:
                raise
            except Exception as again:
                log.error("nor could it be held in quarantine; its file is set aside", exc_info=again)
                self._set_aside(one, error)

    def _set_aside(self, one: Replayed, error: Exception) -> None:
        set_aside(self.database, self.blobs, self.clock, one, error)
        self.set_aside += 1


def _places(event: Event) -> Iterator[tuple[str, int]]:
    places = event.payload.get("places", ())
    assert isinstance(places, list | tuple)
    for key, offset in places:
        yield str(key), int(offset)


def _batch(replay: Replay) -> list[Replayed]:
    batch = []
    for one in replay:
        batch.append(one)
        if len(batch) == BATCH:
            break
    return batch


def _unknown(database: Database, batch: Sequence[Replayed]) -> list[Replayed]:
    with database.read() as tx:
        return [one for one in batch if not tx.index.knows_location(one.location.key, one.location.offset)]


def _enter(database: Database, clock: Clock, arrivals: Sequence[Arrival], settle: float, trouble: str) -> int:
    """One round without its log. Returns how many the index did not have."""
    with database.write() as tx:
        entered = tx.index.enter(arrivals)
        now = clock.now()
        record(tx, arrivals, entered, now, trouble)
        series = {
            arrival.keys.series.series_instance_uid
            for arrival, result in zip(arrivals, entered, strict=True)
            if result.outcome is Outcome.STORED
        }
        due = now + int(settle * 1_000_000)
        tx.jobs.enqueue([NewJob(PACK_SERIES, uid, run_at=due) for uid in sorted(series)])
    return sum(result.outcome is not Outcome.DUPLICATE for result in entered)


def _arrival(blobs: Blobs, one: Replayed) -> Arrival:
    return Arrival(
        _keys(blobs, one),
        one.transfer_syntax_uid,
        one.content_hash,
        one.location,
        one.origin,
        one.at,
        QuarantineReason(one.quarantine) if one.quarantine else None,
    )


def _keys(blobs: Blobs, one: Replayed) -> ObjectKeys:
    """Scan the header again, as the receiver did. UIDs that the data set lacks are in the file meta group,
    which was made of those of the C-STORE-RQ."""
    at = one.location
    found = _scan(blobs, one, "", "")
    if isinstance(found, Refusal) and at.meta_length:
        meta = read_meta(bytes(blobs.read(at, 0, at.meta_length)))
        found = _scan(blobs, one, meta.sop_class_uid, meta.sop_instance_uid)
    if isinstance(found, Refusal):
        raise DamagedError(
            f"The object at {at.key}, offset {at.offset} cannot be entered: {found.reason}",
            "It was taken in by another release: start that one again, and report this",
        )
    return found


def _scan(blobs: Blobs, one: Replayed, sop_class: str, sop_instance: str) -> ObjectKeys | Refusal:
    at = one.location
    length = at.length - at.meta_length
    found = None
    if length > HEADER:
        start = blobs.read(at, at.meta_length, HEADER)
        found = scan(start, one.transfer_syntax_uid, one.character_set, sop_class, sop_instance, partial=True)
    if found is None:
        data = blobs.read(at, at.meta_length)
        found = scan(data, one.transfer_syntax_uid, one.character_set, sop_class, sop_instance)
    assert found is not None  # only a partial scan may not know
    return found


def _damaged(database: Database, places: Sequence[Location]) -> list[Damage]:
    """Those that the index knows: the others were never acknowledged."""
    damaged = []
    with database.read() as tx:
        for at in places:
            if tx.index.knows_location(at.key, at.offset):
                damaged.append(Damage("", "", at.key, at.offset, "found damaged when the log was replayed"))
    return damaged


__all__ = ["Recovered", "recover"]
