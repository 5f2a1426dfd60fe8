"""Dead letters that nobody told of: a job whose last attempt killed or froze its process."""

from __future__ import annotations

from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.jobs import JobState
from hounsfield.ports.ledger import LedgerFilter

MOST = 1000


def tell_of_dead(database: Database, clock: Clock) -> int:
    """Write the `job.dead` event of every dead job that has none. Returns how many."""
    with database.read() as tx:
        dead = tx.jobs.list(state=JobState.DEAD, limit=MOST)
        if not dead:
            return 0
        where = LedgerFilter(types=("job.dead",), since=min(job.created_at for job in dead))
        told = {recorded.event.payload.get("job") for recorded in tx.ledger.read(where)}
    events = []
    for job in dead:
        if job.id not in told:
            payload: dict[str, object] = {
                "job": job.id,
                "kind": job.kind,
                "attempts": job.attempts,
                "why": job.error,
            }
            events.append(Event("job.dead", clock.now(), payload=payload))
    if events:
        with database.write() as tx:
            tx.ledger.append(events)
    return len(events)
