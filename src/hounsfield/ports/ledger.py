"""The ledger: append-only, hash-chained, one chain for each writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hounsfield.domain.events import Event, Recorded


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    accession: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    device: str = ""
    association: str = ""
    types: tuple[str, ...] = ()
    since: int = 0
    until: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class ChainReport:
    writer: str
    events: int
    broken_at: int  # 0 when whole
    why: str = ""


class Ledger(Protocol):
    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Number, chain and write events in this transaction. Unknown types or payload fields are errors.
        A transaction that rolls back leaves the writer's chain as it was."""
        ...

    def head(self) -> int:
        """Number of our writer's last event, as the database has it; 0 where there is none."""
        ...

    def read(self, where: LedgerFilter) -> Iterator[Recorded]:
        """In order of time, then of writer and number. An accession or patient also finds the events of the
        studies that are known to carry it."""
        ...

    def after(self, cursor: dict[str, int], limit: int) -> list[Recorded]:
        """Events past the last seen number of each writer (a writer not in `cursor` from its start): never
        skips one, in whatever order transactions became visible."""
        ...

    def save_cursor(self, consumer: str, cursor: dict[str, int]) -> None: ...

    def load_cursor(self, consumer: str) -> dict[str, int]: ...

    def verify(self) -> Iterator[ChainReport]:
        """Recompute every chain."""
        ...
