"""Recovery: what a log holds and the index does not, after a stop that was not clean.

Every record past a log's checkpoint goes through the same decisions as in the round that wrote it; what
the index knows already comes out as known. So it may be stopped and repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hounsfield.domain.errors import ConflictError, DamagedError
from hounsfield.domain.events import Event
from hounsfield.domain.identify import Refusal
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Location, ObjectKeys
from hounsfield.ports.blobs import Blobs, Replay, Replayed
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.jobs import NewJob
from hounsfield.services.indexing import PACK_SERIES, record
from hounsfield.services.store import scan
from hounsfield.services.verify import Damage, damage_events
from hounsfield.wire.dicomfile.part10 import read_meta

BATCH = 128
#: Headers end within this much of nearly every object.
HEADER = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the replay of one log did."""

    writer: str
    segments: int
    entered: int
    known: int
    torn: int
    damaged: int


def recover(database: Database, blobs: Blobs, clock: Clock, *, settle: float) -> list[Recovered]:
    """Replay every log that no living process has open; its checkpoint is then at its end.

    Call it before a role opens its own log. Raises DamagedError when a record cannot be entered: nothing
    is then skipped, and the log stays as it is.
    """
    done = []
    for writer in blobs.writers():
        try:
            recovered = _recover(writer, database, blobs, clock, settle)
        except ConflictError:
            continue  # open in a process that lives: it has recovered it itself
        if recovered is not None:
            done.append(recovered)
    return done


def _recover(writer: str, database: Database, blobs: Blobs, clock: Clock, settle: float) -> Recovered | None:
    replay = blobs.replay(writer)
    entered = known = 0
    try:
        while batch := _batch(replay):
            fresh = _unknown(database, batch)
            known += len(batch) - len(fresh)
            arrivals = [_arrival(blobs, one) for one in fresh]
            count = _enter(database, clock, arrivals, settle) if arrivals else 0
            entered += count
            known += len(arrivals) - count
    finally:
        replay.close()
    if not (replay.segments or replay.torn):
        return None
    damaged = _damaged(database, replay.damaged)
    now = clock.now()
    payload: dict[str, object] = {
        "segments": replay.segments,
        "entered": entered,
        "known": known,
        "torn": replay.torn,
    }
    with database.write() as tx:
        tx.ledger.append(
            [Event("log.replayed", now, payload=payload), *damage_events(damaged, now, "system")]
        )
    log = blobs.open_log(writer)
    try:
        log.checkpoint()
    finally:
        log.close()
    return Recovered(writer, replay.segments, entered, known, replay.torn, len(damaged))


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


def _enter(database: Database, clock: Clock, arrivals: Sequence[Arrival], settle: float) -> int:
    """One round without its log. Returns how many the index did not have."""
    with database.write() as tx:
        entered = tx.index.enter(arrivals)
        now = clock.now()
        record(tx, arrivals, entered, now)
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
