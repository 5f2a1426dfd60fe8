"""Pixels against index, both ways: is every location there, is every blob named.

Blobs on the disk and rows of the index come in the order of their keys and are merged: what is held in memory
does not grow with the archive. The archive may be running: what looks wrong is looked at a second time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hounsfield.ports.blobs import Blobs
from hounsfield.ports.database import Database
from hounsfield.ports.index import Extent

IN_PLACE = "file:"
LOGS = "log/"
#: Blobs of one question to the index.
BATCH = 200
#: Of what is wrong, so many are named; the others are counted.
MOST_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Fault:
    sop_instance_uid: str
    key: str
    why: str


@dataclass(slots=True)
class Inventory:
    """`faults` and `unnamed` (key, length) name the first MOST_NAMED of what is counted beside them."""

    objects: int = 0
    blobs: int = 0
    faulty: int = 0
    faults: list[Fault] = field(default_factory=list)
    #: Blobs that no row of the index names, and that nothing explains.
    strays: int = 0
    unnamed: list[tuple[str, int]] = field(default_factory=list)


def take_inventory(
    database: Database, blobs: Blobs, progress: Callable[[int], None] = lambda _: None
) -> Inventory:
    """Compare the two. `progress` gets the number of objects looked at so far."""
    found = Inventory()
    newest: dict[str, str] = {}  # log -> its last segment, to which it writes
    segments: list[str] = []  # that no row names
    for key, length, extent in _merged(blobs.keys(), _extents(database)):
        found.blobs += length is not None
        if length is not None and key.startswith(LOGS):
            newest[key.rpartition("/")[0]] = key
        if extent is not None:
            found.objects += extent.objects
            progress(found.objects)
            if extent.objects and _is_wrong(blobs, key, length, extent):
                _look_again(database, blobs, key, found)
        elif key.startswith(LOGS):
            segments.append(key)
        else:
            _note_stray(database, blobs, key, found)
    for key in segments:
        if key not in newest.values():
            _note_stray(database, blobs, key, found)
    return found


def unnamed_files(database: Database, blobs: Blobs) -> Iterator[str]:
    """Blobs but log segments that no row names, as it seems at a first look."""
    named = itertools.chain.from_iterable(_batches(database))
    row = next(named, None)
    there = blobs.keys()
    for key, _ in there:
        while row is not None and row < key:
            row = next(named, None)
        if row != key and not key.startswith(LOGS):
            yield key


def _batches(database: Database) -> Iterator[list[str]]:
    """Keys of the index in order, each batch in a transaction of its own: no writer waits, no log grows."""
    last = ""
    while True:
        with database.read() as tx:
            keys = tx.index.blobs_after(last, BATCH)
        if not keys:
            return
        yield keys
        last = keys[-1]


def _extents(database: Database) -> Iterator[tuple[str, Extent]]:
    for keys in _batches(database):
        with database.read() as tx:
            extents = tx.index.extents(keys)
        yield from sorted(extents.items())


def _merged(
    there: Iterator[tuple[str, int]], named: Iterator[tuple[str, Extent]]
) -> Iterator[tuple[str, int | None, Extent | None]]:
    """Key, length on the disk, extent in the index, where each has it."""
    file, row = next(there, None), next(named, None)
    while file is not None or row is not None:
        if row is None or (file is not None and file[0] < row[0]):
            assert file is not None
            yield file[0], file[1], None
            file = next(there, None)
        elif file is None or row[0] < file[0]:
            yield row[0], None, row[1]
            row = next(named, None)
        else:
            yield file[0], file[1], row[1]
            file, row = next(there, None), next(named, None)


def _is_wrong(blobs: Blobs, key: str, length: int | None, extent: Extent) -> bool:
    if length is None and key.startswith(IN_PLACE):
        length = blobs.length(key)
    return length is None or length < extent.end


def _look_again(database: Database, blobs: Blobs, key: str, found: Inventory) -> None:
    """Segments, packs and rows may have come and gone since; what is still wrong is noted."""
    length = blobs.length(key)  # before the index is asked: bytes go only when no row needs them any more
    with database.read() as tx:
        count, uids = tx.index.beyond(key, -1 if length is None else length, MOST_NAMED)
    why = f"{key} is missing" if length is None else f"{key} ends at {length}, before the object does"
    found.faulty += count
    found.faults += [Fault(uid, key, why) for uid in uids[: MOST_NAMED - len(found.faults)]]


def _note_stray(database: Database, blobs: Blobs, key: str, found: Inventory) -> None:
    with database.read() as tx:
        named = tx.index.extents([key])
    length = blobs.length(key)
    if named or length is None:
        return
    found.strays += 1
    if len(found.unnamed) < MOST_NAMED:
        found.unnamed.append((key, length))
