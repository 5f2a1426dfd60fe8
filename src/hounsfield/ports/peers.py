"""Other application entities, as the services call them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hounsfield.domain.device import Device
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one sub-operation."""

    sop_instance_uid: str
    status: int  # DIMSE status; 0 success, 0xBxxx warning, else failure
    reason: str = ""
    sent_bytes: int = 0


@dataclass(slots=True)
class SubOperations:
    """Counts as C-MOVE and C-GET responses carry them (PS3.7 9.1.4), updated while they run."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failures: list[SendResult] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """A report of storage commitment (PS3.4 Table J.3-2)."""

    committed: tuple[tuple[str, str], ...]  # SOP Class UID, SOP Instance UID
    failed: tuple[tuple[str, str, int], ...]  # ..., Failure Reason


class Peers(Protocol):
    """Raises PeerError with what happened, at which step, and what to look at."""

    async def echo(self, peer: Device) -> Mapping[str, str]:
        """C-ECHO. Returns what the association showed: implementation, maximum length, milliseconds."""
        ...

    def find(
        self, peer: Device, model: str, level: Level, identifier: Mapping[str, str]
    ) -> AsyncIterator[Mapping[str, str]]:
        """C-FIND; keyword -> value. `model` is "study", "patient" or "patient-study-only"."""
        ...

    async def move(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        destination: str,
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        """C-MOVE. `model` as for `find`; '' is "patient" at the patient level, else "study"."""
        ...

    async def get(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        """C-GET; what comes goes through the one store path. `model` as for `move`."""
        ...

    async def send(
        self,
        peer: Device,
        instances: Sequence[StoredInstance],
        progress: Callable[[SendResult], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        originator: tuple[str, int] | None = None,
    ) -> None:
        """C-STORE each instance: as stored where the peer takes it, else losslessly transcoded, else reported
        as failed while the rest goes on. `originator` is Move Originator AE title and message id."""
        ...

    async def report_commitment(
        self,
        peer: Device,
        transaction_uid: str,
        committed: Sequence[tuple[str, str]],
        failed: Sequence[tuple[str, str, int]],
    ) -> None:
        """N-EVENT-REPORT on a new association (PS3.4 J.3.3), roles reversed."""
        ...

    async def request_commitment(
        self,
        peer: Device,
        transaction_uid: str,
        pairs: Sequence[tuple[str, str]],
        seconds: float,
        take: Callable[[CommitmentAnswer], None] = lambda answer: None,
        elsewhere: asyncio.Event | None = None,
    ) -> CommitmentAnswer | None:
        """N-ACTION (PS3.4 J.3.2), then up to `seconds` of waiting for the report on the same association, or
        until `elsewhere` is set; None where it did not come: it came, or may yet come, to our own port, on an
        association of the peer's.

        `take` writes the report down, on a thread, before the peer hears that we have it; what it raises
        refuses the report, and is raised."""
        ...
