"""The index: patients, studies, series, instances, and what is held in quarantine.

All calls belong to one transaction (`ports.database`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hounsfield.domain.access import Scope
from hounsfield.domain.query import Level, Query
from hounsfield.domain.stored import Arrival, Outcome
from hounsfield.domain.study import Location, StoredInstance


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of one arrival of a round."""

    outcome: Outcome
    quarantine_id: int = 0
    current_hash: bytes = b""  # for a conflict: of the one that stays current
    new_study: bool = False
    new_series: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """One object in quarantine."""

    id: int
    arrival: Arrival
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesState:
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    instances: int
    changed_at: int
    generation: int  # of its newest pack; 0 for none
    unpacked: int  # instances that are not in the newest pack


@dataclass(frozen=True, slots=True)
class Extent:
    """What the index says is in one blob: current and held objects."""

    objects: int = 0
    end: int = 0  # where the furthest of them ends


class Index(Protocol):
    def enter(self, arrivals: Sequence[Arrival]) -> list[Entered]:
        """Enter one round, in order. Decides duplicate, conflict and other-study against what is kept and
        within the round itself. A duplicate's location is not used. Fast path: raw executemany."""
        ...

    def known_hashes(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
        """BLAKE3 of every kept version, current or in quarantine, of those that are kept."""
        ...

    def search(self, query: Query) -> Iterator[Mapping[str, str]]:
        """Rows of keyword -> value (`domain.attributes`), streamed. Only current objects are found.
        The same query has the same order each time: by what is looked for where that is a patient's name,
        birth date or the start of an identifier, else newest study first; then by series and instance
        number."""
        ...

    def study_seen(self, study_instance_uid: str, scope: Scope) -> bool:
        """Whether there is such a study, and it is in the scope."""
        ...

    def instances(
        self,
        *,
        study: str = "",
        series: Sequence[str] = (),
        sop: Sequence[str] = (),
        patient: str | None = None,
        after: int = 0,
        limit: int = 0,
    ) -> Iterator[StoredInstance]:
        """Current instances of what is named, by series number and instance number."""
        ...

    def locate(self, sop_instance_uid: str) -> StoredInstance | None:
        """One current instance."""
        ...

    def kept(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """For storage commitment: for each (SOP class UID, SOP instance UID) '' if it is kept, 'class' if
        kept with another SOP class, 'missing' otherwise."""
        ...

    def quarantine(self, *, device: str = "", reason: str = "", study: str = "") -> Iterator[Held]: ...

    def release(self, ids: Sequence[int]) -> list[Entered]:
        """Let quarantined objects become current, through the same decisions as `enter`."""
        ...

    def drop_held(self, ids: Sequence[int]) -> list[Location]:
        """Forget quarantined objects after a person's decision."""
        ...

    def series_state(self, series_instance_uid: str) -> SeriesState | None: ...

    def relocate(
        self,
        series_instance_uid: str,
        generation: int,
        moves: Mapping[str, tuple[Location, Location]],
        metadata: Location | None,
    ) -> int:
        """After a pack was written: point instances (by SOP Instance UID, from old to new location; one that
        is no longer at the old one is left alone) to it. Returns how many moved."""
        ...

    def metadata(self, series_instance_uid: str) -> Location | None:
        """Where the settled series' DICOM JSON (gzip) is; None while not built or out of date."""
        ...

    def unused_blobs(self, prefix: str) -> list[str]:
        """Blob keys beginning with `prefix` that no row names any more."""
        ...

    def forget_blob(self, key: str) -> None: ...

    def blobs_after(self, key: str, limit: int) -> list[str]:
        """The next keys of the blobs that the index names, in order; '' begins."""
        ...

    def extents(self, keys: Sequence[str]) -> dict[str, Extent]:
        """Of those of the blobs that the index names. Reads a row of the index for each object in them."""
        ...

    def beyond(self, key: str, end: int, limit: int) -> tuple[int, list[str]]:
        """Objects of a blob that would end after `end`: how many, and SOP Instance UIDs of the first."""
        ...

    def knows_location(self, key: str, offset: int) -> bool:
        """Whether a current or quarantined row points there: for replay."""
        ...

    def counts(self) -> Mapping[str, int]:
        """patients, studies, series, instances, quarantine, bytes."""
        ...


__all__ = ["Entered", "Extent", "Held", "Index", "Level", "SeriesState"]
