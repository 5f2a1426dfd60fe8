"""What waits: jobs, and objects in quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from hounsfield.domain.access import Permission, Principal
from hounsfield.domain.errors import NotFoundError
from hounsfield.domain.stored import QuarantineReason
from hounsfield.ports.index import Held
from hounsfield.ports.jobs import Job, JobState
from hounsfield.servers.web import audit
from hounsfield.servers.web.api.shapes import (
    Limit,
    NamedReason,
    Number,
    Offset,
    Shape,
    TheWeb,
    Who,
    moment,
    problems,
)
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.web import Web
from hounsfield.services import jobs, quarantine

router = APIRouter(tags=["work"])

_ID = Annotated[int, Field(ge=1, le=2**63 - 1)]


class KeptJob(Shape):
    id: int
    kind: str
    key: str
    state: JobState
    run_at: datetime | None
    attempts: int
    max_attempts: int
    error: str
    created_at: datetime | None
    payload: dict[str, Any]


class KeptJobs(Shape):
    jobs: list[KeptJob]


class GiveUp(Shape):
    reason: NamedReason


class HeldObject(Shape):
    id: int
    reason: str
    device: str
    address: str
    at: datetime | None
    patient_id: str
    patient_name: str
    accession: str
    modality: str
    study: str
    series: str
    sop: str
    hash: str


class HeldObjects(Shape):
    objects: list[HeldObject]
    next_offset: int | None


class Chosen(Shape):
    """Numbers of held objects."""

    ids: Annotated[list[_ID], Field(min_length=1, max_length=10_000)]


class Dropping(Chosen):
    reason: NamedReason


class Released(Shape):
    current: int
    identical: int
    held: int


class Dropped(Shape):
    dropped: int


@router.get("/jobs", responses=problems())
async def list_jobs(
    web: TheWeb,
    state: JobState | None = None,
    kind: Annotated[str, Query(max_length=64)] = "",
    limit: Limit = 100,
) -> KeptJobs:
    """The jobs that wait, run, or were set aside (dead)."""

    def find() -> list[Job]:
        with web.database.read() as tx:
            return tx.jobs.list(state=state, kind=kind, limit=limit)

    return KeptJobs(jobs=[_job(job) for job in await web.beside_loop(find)])


@router.post("/jobs/{number}/retry", responses=problems(404, 409))
async def retry_job(web: TheWeb, who: Who, number: Number) -> KeptJob:
    """Put a job that was set aside back into the queue. The job as it was."""
    return _job(await web.beside_loop(jobs.revive, web.database, web.clock, who.actor, number))


@router.post("/jobs/{number}/discard", responses=problems(404, 409))
async def discard_job(web: TheWeb, who: Who, number: Number, why: GiveUp) -> KeptJob:
    """Give a job up for good. The job as it was."""
    return _job(await web.beside_loop(jobs.discard, web.database, web.clock, who.actor, number, why.reason))


@router.get("/quarantine", responses=problems())
async def list_held(
    request: Request,
    web: TheWeb,
    who: Who,
    device: Annotated[str, Query(max_length=256)] = "",
    study: Annotated[str, Query(max_length=64)] = "",
    held_for: QuarantineReason | None = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> HeldObjects:
    """What is held, and why."""
    found = await web.beside_loop(_visible, web, who, device, study, held_for or "", offset + limit + 1)
    shown = found[offset : offset + limit]
    audit.searched(request, "quarantine", len(shown))
    more = offset + limit if len(found) > offset + limit else None
    return HeldObjects(objects=[_held(one) for one in shown], next_offset=more)


@router.post("/quarantine/release", responses=problems(404))
async def release_held(web: TheWeb, who: Who, chosen: Chosen) -> Released:
    """Let held objects in. One that conflicts with a current object stays held."""
    await web.beside_loop(_check, web, who, chosen.ids)
    released = await web.beside_loop(
        quarantine.release,
        web.database,
        web.clock,
        who.actor,
        chosen.ids,
        settle_seconds=web.settings.settle_seconds,
    )
    return Released(current=released.current, identical=released.identical, held=released.held)


@router.post("/quarantine/drop", responses=problems(404))
async def drop_held(web: TheWeb, who: Who, chosen: Dropping) -> Dropped:
    """Give held objects up for good."""
    await web.beside_loop(_check, web, who, chosen.ids)
    count = await web.beside_loop(
        quarantine.drop, web.database, web.clock, who.actor, chosen.ids, chosen.reason
    )
    return Dropped(dropped=count)


def _visible(web: Web, who: Principal, device: str, study: str, reason: str, most: int) -> list[Held]:
    """What came from devices at sites of the principal; the first `most` of it."""
    found: list[Held] = []
    with web.database.read() as tx:
        sites = {d.name: d.site for d in tx.devices.all()}
        for one in tx.index.quarantine(device=device, reason=reason, study=study):
            if _sees(who, Permission.QUARANTINE_READ, one, sites):
                found.append(one)
                if len(found) == most:
                    break
    return found


def _check(web: Web, who: Principal, ids: list[int]) -> None:
    """Raises NotFoundError where one of them is not there, or not for this principal: the same words."""
    wanted = set(ids)
    with web.database.read() as tx:
        sites = {d.name: d.site for d in tx.devices.all()}
        for one in tx.index.quarantine():
            if one.id in wanted and _sees(who, Permission.QUARANTINE_CHANGE, one, sites):
                wanted.discard(one.id)
                if not wanted:
                    return
    listed = ", ".join(map(str, sorted(wanted)[:10]))
    raise NotFoundError(f"Nothing is held under {listed}", "See /api/quarantine")


def _sees(who: Principal, needs: Permission, held: Held, sites: dict[str, str]) -> bool:
    origin = held.arrival.origin
    device = "" if origin.source == "stow" else origin.device  # of an upload it is the user
    return who.may_at(needs, sites.get(device) or origin.site)


def _job(job: Job) -> KeptJob:
    return KeptJob(
        id=job.id,
        kind=job.kind,
        key=job.key,
        state=job.state,
        run_at=moment(job.run_at),
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        error=job.error,
        created_at=moment(job.created_at),
        payload=dict(job.payload),
    )


def _held(held: Held) -> HeldObject:
    arrival, keys = held.arrival, held.arrival.keys
    return HeldObject(
        id=held.id,
        reason=held.reason,
        device=arrival.origin.device,
        address=arrival.origin.address,
        at=moment(arrival.at),
        patient_id=keys.patient.patient_id,
        patient_name=keys.patient.name,
        accession=keys.study.accession_number,
        modality=keys.series.modality,
        study=keys.study.study_instance_uid,
        series=keys.series.series_instance_uid,
        sop=keys.instance.sop_instance_uid,
        hash=arrival.content_hash.hex(),
    )


RULES = (
    Rule("GET", "/api/jobs", Permission.JOBS_READ),
    Rule("POST", "/api/jobs/{number}/retry", Permission.JOBS_CHANGE),
    Rule("POST", "/api/jobs/{number}/discard", Permission.JOBS_CHANGE),
    Rule("GET", "/api/quarantine", Permission.QUARANTINE_READ),
    Rule("POST", "/api/quarantine/release", Permission.QUARANTINE_CHANGE),
    Rule("POST", "/api/quarantine/drop", Permission.QUARANTINE_CHANGE),
)
