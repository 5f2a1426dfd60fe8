"""Sweeping: blobs that nothing names any more are removed, their room used again.

The bytes go first, their row in the index after: a crash in between leaves a row without bytes, which the
next sweep takes (removing what is not there is no error). A log segment stays as long as replay may need
it: the blobs say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from hounsfield.ports.blobs import Blobs
from hounsfield.ports.database import Database
from hounsfield.services.leases import Lease, NoLease

IN_PLACE = "file:"


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
