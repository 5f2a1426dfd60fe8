"""Quarantine: what was kept apart waits for a person, who lets it in or gives it up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hounsfield.domain.errors import NotFoundError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.stored import Arrival, Outcome
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.index import Held
from hounsfield.ports.jobs import NewJob
from hounsfield.services.indexing import PACK_SERIES


@dataclass(frozen=True, slots=True)
class Released:
    """How many of the objects became current, were known already, and stay held."""

    current: int
    identical: int
    held: int


def release(
    database: Database, clock: Clock, actor: str, ids: Sequence[int], *, settle_seconds: float
) -> Released:
    """Let held objects become current, through the same decisions as a store. Raises NotFoundError."""
    with database.write() as tx:
        held = _named(tx, ids)
        entered = tx.index.release([h.id for h in held])
        now = clock.now()
        became: dict[tuple[Subjects, str], list[str]] = defaultdict(list)
        jobs = []
        for one, result in zip(held, entered, strict=True):
            if result.outcome is Outcome.STORED:
                series = one.arrival.keys.series.series_instance_uid
                became[_subjects(one.arrival), one.reason].append(_sop(one))
                jobs.append(NewJob(PACK_SERIES, series, run_at=now + int(settle_seconds * 1_000_000)))
        tx.ledger.append(
            [
                Event("instance.released", now, subjects, actor, payload={"objects": sops, "reason": reason})
                for (subjects, reason), sops in became.items()
            ]
        )
        tx.jobs.enqueue(list({job.key: job for job in jobs}.values()))
    outcomes = [result.outcome for result in entered]
    current, identical = outcomes.count(Outcome.STORED), outcomes.count(Outcome.DUPLICATE)
    return Released(current, identical, len(outcomes) - current - identical)


def drop(database: Database, clock: Clock, actor: str, ids: Sequence[int], why: str) -> int:
    """Give held objects up for good, with who, when and why in the ledger. Raises NotFoundError.

    Their bytes go when the blob that holds them is no longer named by anything. Until then a log may be
    replayed that has them behind its checkpoint: the event tells recovery to pass them over.
    """
    with database.write() as tx:
        held = _named(tx, ids)
        tx.index.drop_held([h.id for h in held])
        given_up: dict[tuple[Subjects, str], list[Held]] = defaultdict(list)
        for one in held:
            given_up[_subjects(one.arrival), one.reason].append(one)
        tx.ledger.append(
            [
                Event(
                    "instance.dropped",
                    clock.now(),
                    subjects,
                    actor,
                    payload={
                        "objects": [[_sop(one), one.arrival.content_hash.hex()] for one in some],
                        "places": [[one.arrival.location.key, one.arrival.location.offset] for one in some],
                        "reason": reason,
                        "why": why,
                    },
                )
                for (subjects, reason), some in given_up.items()
            ]
        )
    return len(held)


def _named(tx: Transaction, ids: Sequence[int]) -> list[Held]:
    wanted = set(ids)
    held = [one for one in tx.index.quarantine() if one.id in wanted]
    if missing := wanted - {one.id for one in held}:
        listed = ", ".join(map(str, sorted(missing)))
        raise NotFoundError(f"Nothing is held under {listed}", "See `hounsfield quarantine list`")
    return held


def _sop(held: Held) -> str:
    return held.arrival.keys.instance.sop_instance_uid


def _subjects(arrival: Arrival) -> Subjects:
    keys = arrival.keys
    return Subjects(
        accession=keys.study.accession_number,
        patient=keys.patient.patient_id,
        study=keys.study.study_instance_uid,
        series=keys.series.series_instance_uid,
        device=arrival.origin.device,
    )
