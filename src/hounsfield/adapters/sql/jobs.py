"""`ports.jobs.Jobs` over one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hounsfield.adapters.sql.connection import POSTGRESQL, Connection
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.ports.clock import Clock
from hounsfield.ports.jobs import Job, JobState, NewJob

_COLUMNS = "id, kind, key, payload, state, run_at, attempts, max_attempts, error, created_at, due_at"
_ERROR_LIMIT = 4000
_EXHAUSTED = "its lease ran out at the last attempt: the process that ran it died or hung"


class SqlJobs:
    __slots__ = ("clock", "connection")

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock

    def enqueue(self, jobs: Sequence[NewJob]) -> None:
        now = self.clock.now()
        for job in jobs:
            run_at = job.run_at or now
            self.connection.execute(
                "INSERT INTO job (kind, key, payload, state, run_at, due_at, max_attempts, created_at)"
                " VALUES (?, ?, ?, 'waiting', ?, ?, ?, ?)"
                " ON CONFLICT (kind, key) WHERE state = 'waiting' AND key <> '' DO NOTHING",
                (
                    job.kind,
                    clean_key(job.key),
                    json.dumps(job.payload),
                    run_at,
                    run_at,
                    job.max_attempts,
                    now,
                ),
            )

    def claim(self, kinds: Sequence[str], owner: str, now: int, lease: int) -> Job | None:
        if not kinds:
            return None
        marks = self.connection.marks(len(kinds))
        skip = " FOR UPDATE SKIP LOCKED" if self.connection.dialect == POSTGRESQL else ""
        self.connection.execute(
            f"UPDATE job SET state = 'dead', owner = '', error = CASE WHEN error = '' THEN ? ELSE error END"
            f" WHERE id IN (SELECT id FROM job WHERE state <> 'dead' AND state = 'running' AND due_at <= ?"
            f" AND attempts >= max_attempts AND kind IN ({marks}){skip})",
            (_EXHAUSTED, now, *kinds),
        )
        row = self.connection.execute(
            f"UPDATE job SET state = 'running', owner = ?, due_at = ?, attempts = attempts + 1"
            f" WHERE id = (SELECT id FROM job WHERE state <> 'dead' AND due_at <= ? AND kind IN ({marks})"
            f" ORDER BY due_at, id LIMIT 1{skip}) RETURNING {_COLUMNS}",
            (owner, now + lease, now, *kinds),
        ).fetchall()
        return _job(row[0]) if row else None

    def extend(self, job_id: int, owner: str, until: int) -> bool:
        return self._owned("UPDATE job SET due_at = ?", (until,), job_id, owner) == 1

    def finish(self, job_id: int, owner: str) -> bool:
        return self._owned("DELETE FROM job", (), job_id, owner) == 1

    def postpone(self, job_id: int, owner: str, run_at: int) -> None:
        if self._has_twin(job_id, owner, uncounted=1):
            return
        self._owned(
            "UPDATE job SET state = 'waiting', owner = '', run_at = ?, due_at = ?, attempts = attempts - 1",
            (run_at, run_at),
            job_id,
            owner,
        )

    def fail(self, job_id: int, owner: str, error: str, retry_at: int) -> JobState:
        text = clean(error) if len(error) < _ERROR_LIMIT else clean(error[:_ERROR_LIMIT])
        if self._owned("UPDATE job SET error = ?", (text,), job_id, owner) == 0:
            return self._state(job_id)  # the lease was lost: whoever has it now decides
        if self._owned(
            "UPDATE job SET state = 'dead', owner = ''", (), job_id, owner, "attempts >= max_attempts"
        ):
            return JobState.DEAD
        if not self._has_twin(job_id, owner):
            self._owned(
                "UPDATE job SET state = 'waiting', owner = '', run_at = ?, due_at = ?",
                (retry_at, retry_at),
                job_id,
                owner,
            )
        return JobState.WAITING

    def revive(self, job_id: int) -> None:
        now = self.clock.now()
        self.connection.execute(
            "UPDATE job SET state = 'waiting', owner = '', attempts = 0, run_at = ?, due_at = ?"
            " WHERE id = ? AND state = 'dead' AND (key = '' OR NOT EXISTS (SELECT 1 FROM job other"
            " WHERE other.kind = job.kind AND other.key = job.key AND other.state = 'waiting'))",
            (now, now, job_id),
        )
        # One of its kind and key that waits already does its work.
        self.connection.execute("DELETE FROM job WHERE id = ? AND state = 'dead'", (job_id,))

    def discard(self, job_id: int) -> None:
        self.connection.execute("DELETE FROM job WHERE id = ?", (job_id,))

    def list(self, *, state: JobState | None = None, kind: str = "", limit: int = 100) -> list[Job]:
        given = {"state": state.value if state else "", "kind": kind}
        conditions = {column: value for column, value in given.items() if value}
        where = " WHERE " + " AND ".join(f"{column} = ?" for column in conditions) if conditions else ""
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM job{where} ORDER BY due_at, id LIMIT ?", (*conditions.values(), limit)
        )
        return [_job(row) for row in rows]

    def counts(self) -> Mapping[tuple[str, str], int]:
        rows = self.connection.execute("SELECT kind, state, count(*) FROM job GROUP BY kind, state")
        return {(kind, state): count for kind, state, count in rows}

    def _owned(self, sql: str, values: Sequence[Any], job_id: int, owner: str, also: str = "1 = 1") -> int:
        """Run a statement on a job that is still ours. Returns how many rows it met."""
        return self.connection.execute(
            f"{sql} WHERE id = ? AND owner = ? AND state = 'running' AND {also}", (*values, job_id, owner)
        ).rowcount

    def _has_twin(self, job_id: int, owner: str, uncounted: int = 0) -> bool:
        """Whether a job of the same kind and key was enqueued while this one ran. That one then takes its
        place, and its attempts with it, so that what keeps failing comes to its end."""
        row = self.connection.execute(
            "SELECT other.id, job.attempts, job.error FROM job JOIN job other ON other.kind = job.kind"
            " AND other.key = job.key AND other.state = 'waiting'"
            " WHERE job.id = ? AND job.owner = ? AND job.state = 'running' AND job.key <> ''",
            (job_id, owner),
        ).fetchone()
        if row is None:
            return False
        twin, attempts, error = row[0], row[1] - uncounted, row[2]
        self.connection.execute(
            "UPDATE job SET error = ?, attempts = CASE WHEN attempts < ? THEN ? ELSE attempts END"
            " WHERE id = ?",
            (error, attempts, attempts, twin),
        )
        return self._owned("DELETE FROM job", (), job_id, owner) == 1

    def _state(self, job_id: int) -> JobState:
        row = self.connection.execute("SELECT state FROM job WHERE id = ?", (job_id,)).fetchone()
        return JobState(row[0]) if row else JobState.WAITING


def _job(row: tuple[Any, ...]) -> Job:
    job_id, kind, key, payload, state, run_at, attempts, max_attempts, error, created_at, due_at = row
    return Job(
        *(
            job_id,
            kind,
            key,
            json.loads(payload),
            JobState(state),
            run_at,
            attempts,
            max_attempts,
            error,
            created_at,
        ),
        lease_until=due_at if state == JobState.RUNNING else 0,
    )
