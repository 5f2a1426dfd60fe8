"""The job queue: durable, in the same database, enqueued in the transaction that causes the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"  # under a lease
    DEAD = "dead"  # set aside for a person


@dataclass(frozen=True, slots=True)
class NewJob:
    kind: str
    key: str = ""  # while a job of this kind and key waits, a second one is not made
    payload: Mapping[str, object] = field(default_factory=dict)
    run_at: int = 0  # microseconds; 0 for at once
    max_attempts: int = 12


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    kind: str
    key: str
    payload: Mapping[str, object]
    state: JobState
    run_at: int
    attempts: int
    max_attempts: int
    error: str
    created_at: int
    lease_until: int = 0


class Jobs(Protocol):
    def enqueue(self, jobs: Sequence[NewJob]) -> None: ...

    def claim(self, kinds: Sequence[str], owner: str, now: int, lease: int) -> Job | None:
        """The next due job, leased to `owner` until now + lease (microseconds), its attempt counted. A lease
        that ran out makes a job due again; one whose attempts are used up goes to the dead."""
        ...

    def extend(self, job_id: int, owner: str, until: int) -> bool:
        """Prolong the lease; False when it was lost."""
        ...

    def finish(self, job_id: int, owner: str) -> bool:
        """Done: remove it. False when the lease was lost."""
        ...

    def postpone(self, job_id: int, owner: str, run_at: int) -> None:
        """Not yet: put it back without counting the attempt."""
        ...

    def fail(self, job_id: int, owner: str, error: str, retry_at: int) -> JobState:
        """Put it back for `retry_at`, or set it aside when its attempts are used up."""
        ...

    def revive(self, job_id: int) -> None: ...

    def discard(self, job_id: int) -> None: ...

    def list(self, *, state: JobState | None = None, kind: str = "", limit: int = 100) -> list[Job]: ...

    def counts(self) -> Mapping[tuple[str, str], int]:
        """(kind, state) -> how many."""
        ...
