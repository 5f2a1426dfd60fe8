"""Pixels against index, both ways: is every location there, is every blob named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hounsfield.domain.query import Level, Query
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.database import Database

IN_PLACE = "file:"


@dataclass(frozen=True, slots=True)
class Fault:
    sop_instance_uid: str
    key: str
    why: str


@dataclass(slots=True)
class Inventory:
    objects: int = 0
    blobs: int = 0
    faults: list[Fault] = field(default_factory=list)
    #: Blobs that no row of the index names, and that nothing explains: (key, length).
    unnamed: list[tuple[str, int]] = field(default_factory=list)


def take_inventory(database: Database, blobs: Blobs) -> Inventory:
    """Compare the two. The archive may be running: what looks wrong is looked at a second time."""
    sizes = dict(blobs.keys())
    found = Inventory(blobs=len(sizes))
    suspects = []
    for sop, location in _locations(database):
        found.objects += 1
        if _fault(location, sizes.get):
            suspects.append((sop, location))
    if suspects:
        sizes = dict(blobs.keys())  # segments and packs that were made meanwhile
        for sop, location in suspects:
            now = _located(database, sop, location)
            if now is not None and (why := _fault(now, sizes.get)):
                found.faults.append(Fault(sop, now.key, why))
    found.unnamed = _unnamed(database, blobs, sizes)
    return found


def _locations(database: Database) -> Iterator[tuple[str, Location]]:
    """Where every current and every held object is."""
    with database.read() as tx:
        wanted = frozenset({"StudyInstanceUID"})
        studies = [row["StudyInstanceUID"] for row in tx.index.search(Query(Level.STUDY, {}, wanted))]
        held = [(h.arrival.keys.instance.sop_instance_uid, h.arrival.location) for h in tx.index.quarantine()]
    for study in studies:
        with database.read() as tx:
            kept = [(i.sop_instance_uid, i.location) for i in tx.index.instances(study=study)]
        yield from kept
    yield from held


def _located(database: Database, sop: str, before: Location) -> Location | None:
    """Where the object is now; None where it was given up meanwhile."""
    with database.read() as tx:
        current = tx.index.locate(sop)
        held = any(h.arrival.location == before for h in tx.index.quarantine())
    if held:
        return before
    return current.location if current is not None else None


def _fault(location: Location, size_of: Callable[[str], int | None]) -> str:
    """What is wrong with a location; '' for nothing."""
    if location.key.startswith(IN_PLACE):
        try:
            size: int | None = Path(location.key.removeprefix(IN_PLACE)).stat().st_size
        except OSError as error:
            return f"{location.key}: {error.strerror}"
    else:
        size = size_of(location.key)
    if size is None:
        return f"{location.key} is missing"
    end = location.offset + location.length
    return f"{location.key} ends at {size}, the object at {end}" if end > size else ""


def _unnamed(database: Database, blobs: Blobs, sizes: dict[str, int]) -> list[tuple[str, int]]:
    """Blobs that are in no index, except the segment that each log writes to."""
    with database.read() as tx:
        named = {key for key, _ in tx.index.blob_rows()}
    newest: dict[str, str] = {}
    for key in sizes:
        if key.startswith("log/"):
            writer = key.rpartition("/")[0]
            newest[writer] = max(newest.get(writer, ""), key)
    suspects = [key for key in sizes if key not in named and key not in newest.values()]
    if not suspects:
        return []
    there = dict(blobs.keys())
    with database.read() as tx:
        named = {key for key, _ in tx.index.blob_rows()}
    return [(key, there[key]) for key in suspects if key in there and key not in named]
