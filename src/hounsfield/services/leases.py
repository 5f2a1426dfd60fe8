"""What a job's handler and the worker that runs it say to each other."""

from __future__ import annotations

import time
from typing import Protocol


class StoppedError(Exception):
    """The worker is stopping, or lost the job: leave at once, with nothing half done."""


class PostponedError(Exception):
    """Not yet: run the job again at `run_at` (microseconds since 1970, UTC); no attempt is counted."""

    def __init__(self, run_at: int) -> None:
        super().__init__(f"postponed to {run_at}")
        self.run_at = run_at


class Lease(Protocol):
    """The right to work on one job, kept alive by the worker for as long as the handler runs."""

    def check(self) -> None:
        """Call between steps. Raises StoppedError."""
        ...

    def rest(self, seconds: float) -> None:
        """Leave the machine to others for a while. Raises StoppedError."""
        ...


class NoLease:
    """For work that a person called for directly: nothing stops it, and it rests only as told."""

    def check(self) -> None:
        return

    def rest(self, seconds: float) -> None:
        time.sleep(seconds)
