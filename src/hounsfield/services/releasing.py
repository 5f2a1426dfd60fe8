"""Releasing: after a device was admitted, the objects that waited for that come in, in the background."""

from __future__ import annotations

from hounsfield.domain.stored import QuarantineReason
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.jobs import Job, NewJob
from hounsfield.services.leases import Lease
from hounsfield.services.quarantine import release

#: Job that lets in what was held only because nobody knew the device.
RELEASE_QUARANTINE = "release-quarantine"
#: Objects of one transaction: others wait for it.
BATCH = 200


def release_job(device: str, ae_title: str, actor: str) -> NewJob:
    """The job to enqueue in the transaction that admits a device."""
    payload = {"device": device, "ae_title": ae_title, "actor": actor}
    return NewJob(RELEASE_QUARANTINE, device, payload)


class Releaser:
    """The handler of RELEASE_QUARANTINE jobs. `settle` in seconds, as for a store round."""

    def __init__(self, database: Database, clock: Clock, *, settle: float) -> None:
        self.database = database
        self.clock = clock
        self.settle = settle

    def handle(self, job: Job, lease: Lease) -> None:
        """Release batch by batch. What conflicts with a kept object stays held, for a person."""
        actor = str(job.payload.get("actor") or "system")
        # while it waited, an unknown device went by its AE title
        names = dict.fromkeys((str(job.payload["device"]), str(job.payload.get("ae_title") or "")))
        with self.database.read() as tx:
            ids = [
                held.id
                for name in names
                if name
                for held in tx.index.quarantine(device=name, reason=QuarantineReason.UNKNOWN_DEVICE)
            ]
        for at in range(0, len(ids), BATCH):
            lease.check()
            release(self.database, self.clock, actor, ids[at : at + BATCH], settle_seconds=self.settle)


__all__ = ["RELEASE_QUARANTINE", "Releaser", "release_job"]
