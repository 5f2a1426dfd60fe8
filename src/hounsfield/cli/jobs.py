"""job list, revive, discard."""

from __future__ import annotations

from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.ports.jobs import Job, JobState
from hounsfield.services import jobs

app = typer.Typer(help="What the archive still has to do, and what it could not do.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the job.", show_default=False)]


@command(app, "list")
def list_jobs(
    session: Session,
    state: Annotated[JobState | None, typer.Option(help="Only these.", show_default=False)] = None,
    kind: Annotated[str, typer.Option(help="Only of this kind.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
) -> None:
    """List the jobs that wait, run, or were set aside (dead)."""
    with session.archive() as archive, archive.database.read() as tx:
        found = tx.jobs.list(state=state, kind=kind, limit=limit)
    session.out.rows(
        ["id", "kind", "key", "state", "run_at", "attempts", "error"], map(row, found), empty="No jobs."
    )


@command(app, "revive")
def revive(session: Session, number: Number) -> None:
    """Put a job that was set aside back into the queue."""
    with session.archive() as archive:
        job = jobs.revive(archive.database, archive.clock, session.actor, number)
    _told(session, job, "is back in the queue")


@command(app, "discard")
def discard(
    session: Session,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.", show_default=False)],
) -> None:
    """Give a job up."""
    with session.archive() as archive:
        job = jobs.discard(archive.database, archive.clock, session.actor, number, reason)
    _told(session, job, "is given up")


def row(job: Job) -> dict[str, object]:
    return {
        "id": job.id,
        "kind": job.kind,
        "key": job.key,
        "state": str(job.state),
        "run_at": moment(job.run_at),
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "error": job.error,
        "created_at": moment(job.created_at),
        "payload": dict(job.payload),
    }


def _told(session: Session, job: Job, what: str) -> None:
    if session.out.as_json:
        session.out.record({"job": job.id, "kind": job.kind, "result": what})
    else:
        session.out.say(f"Job {job.id} ({job.kind}) {what}.")
