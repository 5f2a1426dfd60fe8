"""The jobs that were set aside: a person puts them back or gives them up, and the ledger tells."""

from __future__ import annotations

from hounsfield.domain.errors import ConflictError, NotFoundError
from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.jobs import Job, JobState


def revive(database: Database, clock: Clock, actor: str, job_id: int) -> Job:
    """Put a dead job back into the queue, its attempts not counted. Raises NotFoundError."""
    with database.write() as tx:
        job = _dead(tx, job_id)
        tx.jobs.revive(job_id)
        payload = {"job": job.id, "kind": job.kind}
        tx.ledger.append([Event("job.revived", clock.now(), actor=actor, payload=payload)])
    return job


def discard(database: Database, clock: Clock, actor: str, job_id: int, why: str) -> Job:
    """Give a job up that is not running. Raises NotFoundError, ConflictError."""
    with database.write() as tx:
        job = _find(tx, job_id)
        if job.state is JobState.RUNNING and job.lease_until > clock.now():
            raise ConflictError(f"Job {job_id} is running", "Wait until it has ended")
        tx.jobs.discard(job_id)
        payload = {"job": job.id, "kind": job.kind, "error": job.error, "why": why}
        tx.ledger.append([Event("job.discarded", clock.now(), actor=actor, payload=payload)])
    return job


def _dead(tx: Transaction, job_id: int) -> Job:
    job = _find(tx, job_id)
    if job.state is not JobState.DEAD:
        raise ConflictError(f"Job {job_id} is not set aside: it is {job.state}", "There is nothing to do")
    return job


def _find(tx: Transaction, job_id: int) -> Job:
    for job in tx.jobs.list(limit=1_000_000):
        if job.id == job_id:
            return job
    raise NotFoundError(f"There is no job {job_id}", "See `hounsfield job list`")
