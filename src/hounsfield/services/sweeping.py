"""Sweeping: blobs that nothing names any more are removed, their room used again.

The bytes go first, their row in the index after: a crash in between leaves a row without bytes, which the
next sweep takes (removing what is not there is no error). A log segment stays as long as replay may need
it: the blobs say so.

`sweep_left` looks for what has no row: a crash between the name of a large file or a pack and its transaction
leaves one. A database that was put back from a backup makes as many as there are files since, which are then
all that is left of their objects. So such a file goes only where each object in it is whole elsewhere.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from hounsfield.domain.errors import DamagedError, HounsfieldError, NotFoundError
from hounsfield.domain.events import Event
from hounsfield.domain.ids import path_name
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.jobs import JobState
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.inventory import unnamed_files
from hounsfield.services.leases import Lease, NoLease
from hounsfield.services.reading import Reader

log = logging.getLogger(__name__)

IN_PLACE = "file:"
#: Seconds since a file got its name, before which its writer may only be slow.
LEFT_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Swept:
    removed: int
    waiting: int  # segments that have to stay until the next checkpoint


def sweep(database: Database, blobs: Blobs, lease: Lease | None = None) -> Swept:
    """Remove every blob that has become empty. Files indexed in place are somebody else's: only forgotten."""
    lease = lease or NoLease()
    with database.read() as tx:
        unused = tx.index.unused_blobs("")
    gone, waiting = [], 0
    for key in unused:
        lease.check()
        if key.startswith(IN_PLACE) or blobs.remove(key):
            gone.append(key)
        else:
            waiting += 1
    if gone:
        with database.write() as tx:
            for key in gone:
                tx.index.forget_blob(key)
    return Swept(len(gone), waiting)


def sweep_left(database: Database, blobs: Blobs, clock: Clock, lease: Lease | None = None) -> list[str]:
    """Remove large files and packs that a crash left, and whose every object is whole in another place.
    Returns their keys. What is not ours, and what may be the last of its object, stays for `doctor`."""
    lease = lease or NoLease()
    removed = []
    for key in unnamed_files(database, blobs):
        lease.check()
        if not 0 < blobs.changed_at(key) < clock.now() - LEFT_SECONDS * 1_000_000:
            continue
        objects = _copies(database, blobs, key, lease)
        if objects is not None and _remove(database, blobs, clock, key, objects):
            removed.append(key)
    return removed


def _copies(database: Database, blobs: Blobs, key: str, lease: Lease) -> list[str] | None:
    """SOP Instance UIDs of what is in the file; None where it has something that is not whole elsewhere."""
    reader = Reader(database, blobs)
    found = []
    try:
        for sop, content_hash in blobs.objects_in(key):
            lease.check()
            with database.read() as tx:
                kept = tx.index.locate(sop)
            if kept is None or kept.content_hash != content_hash or kept.location.key == key:
                return None
            if not reader.matches_hash(kept):
                return None
            found.append(sop)
    except (DamagedError, NotFoundError):  # `doctor` names it
        return None
    return found


def _remove(database: Database, blobs: Blobs, clock: Clock, key: str, objects: list[str]) -> bool:
    if key in blobs.logged():
        return False  # replay will want it
    with database.write() as tx:
        if tx.index.extents([key]) or _is_being_packed(tx, key):
            return False
        payload: dict[str, object] = {"key": key, "bytes": blobs.length(key) or 0, "objects": objects}
        tx.ledger.append([Event("blob.removed", clock.now(), payload=payload)])
    try:
        blobs.remove(key)
    except (HounsfieldError, OSError) as error:  # told again, and tried again, the next time
        log.warning("a file of no use stays behind", extra={"key": key, "why": str(error)})
        return False
    return True


def _is_being_packed(tx: Transaction, key: str) -> bool:
    """A packer that was stopped for hours may be about to tell the index of its pack."""
    running = tx.jobs.list(kind=PACK_SERIES, state=JobState.RUNNING)
    return any(path_name(job.key) in key for job in running)
