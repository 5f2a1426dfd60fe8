"""Storage commitment, push model (PS3.4 J): what is kept is said to be kept, and only after looking.

The N-ACTION is answered once the request is a durable job. The job decides when it runs and is tried
until the report is delivered; the server may deliver it first, on the same association (`delivered`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hounsfield.domain.device import Device, DeviceState
from hounsfield.domain.errors import (
    DamagedError,
    HounsfieldError,
    NotFoundError,
    PeerError,
    RefusedError,
)
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.jobs import Job, NewJob
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.ports.peers import Peers
from hounsfield.services.leases import Lease
from hounsfield.services.reading import Reader
from hounsfield.services.verify import Damage, damage_events

#: Job that delivers one report on a new association.
REPORT_COMMITMENT = "report-commitment"
#: Failure Reason (0008,1197), PS3.4 Table J.3.3-2 (PS3.3 C.14.1.1).
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119
#: With a back-off of at most an hour: about eight days of trying.
MAX_ATTEMPTS = 200
#: Time for the report on the same association, before the job opens a new one.
GRACE_SECONDS = 10
#: Most objects of one request; the rest of the world sends a study at a time.
MOST_OBJECTS = 100_000

Pair = tuple[str, str]  # SOP Class UID, SOP Instance UID


@dataclass(frozen=True, slots=True)
class Decision:
    committed: tuple[Pair, ...]
    failed: tuple[tuple[str, str, int], ...]  # ..., Failure Reason


def request(
    database: Database,
    clock: Clock,
    transaction_uid: str,
    pairs: Sequence[Pair],
    *,
    device: str,
    ae_title: str,
    association: str = "",
) -> None:
    """An N-ACTION came: write it down and make sure that it is answered. Durable when this returns.

    `device` is the record's name, or the AE title of an unknown one. Raises RefusedError for a request that
    cannot be taken (no UID for its transaction, no or too many objects).
    """
    if not is_tolerated_uid(transaction_uid):
        raise RefusedError("The Transaction UID of the commitment request is missing or not a UID")
    if not 0 < len(pairs) <= MOST_OBJECTS:
        raise RefusedError(f"A commitment request must name 1 to {MOST_OBJECTS} objects, not {len(pairs)}")
    now = clock.now()
    subjects = Subjects(device=device, association=association)
    asked: dict[str, object] = {"transaction": transaction_uid, "objects": len(pairs)}
    payload: dict[str, object] = {
        "transaction": transaction_uid,
        "device": device,
        "ae_title": ae_title,
        "association": association,
        "pairs": [list(pair) for pair in pairs],
    }
    job = NewJob(
        REPORT_COMMITMENT,
        f"{device} {transaction_uid}",
        payload,
        run_at=now + GRACE_SECONDS * 1_000_000,
        max_attempts=MAX_ATTEMPTS,
    )
    with database.write() as tx:
        tx.ledger.append([Event("commitment.requested", now, subjects, f"device:{device}", payload=asked)])
        tx.jobs.enqueue([job])


def decide(database: Database, blobs: Blobs, clock: Clock, pairs: Sequence[Pair]) -> Decision:
    """Which objects are safely kept: in the index, of that class, and their bytes there to be read."""
    committed: list[Pair] = []
    failed: list[tuple[str, str, int]] = []
    damaged: list[Damage] = []
    reader = Reader(database, blobs)
    with database.read() as tx:
        verdicts = tx.index.kept(pairs)
        uids = [uid for (_, uid), verdict in zip(pairs, verdicts, strict=True) if not verdict]
        found = _located(tx, uids)
    for (sop_class, uid), verdict in zip(pairs, verdicts, strict=True):
        if verdict == "class":
            failed.append((sop_class, uid, CLASS_INSTANCE_CONFLICT))
            continue
        instance = found.get(uid)
        if verdict or instance is None:
            failed.append((sop_class, uid, NO_SUCH_OBJECT_INSTANCE))
            continue
        try:
            reader.at(instance, lambda location: _look(blobs, location))
            committed.append((sop_class, uid))
        except NotFoundError:
            failed.append((sop_class, uid, NO_SUCH_OBJECT_INSTANCE))
        except (DamagedError, OSError) as error:
            failed.append((sop_class, uid, PROCESSING_FAILURE))
            at = instance.location
            damaged.append(Damage(uid, instance.study_instance_uid, at.key, at.offset, str(error)))
    if damaged:
        with database.write() as tx:
            tx.ledger.append(list(damage_events(damaged, clock.now(), "system")))
    return Decision(tuple(committed), tuple(failed))


def _located(tx: Transaction, uids: Sequence[str]) -> dict[str, StoredInstance]:
    """Named explicitly: an empty list of UIDs would ask for everything."""
    return {i.sop_instance_uid: i for i in tx.index.instances(sop=uids)} if uids else {}


def _look(blobs: Blobs, location: Location) -> None:
    """The first and the last byte are there, and it begins as a Part 10 object where it was one."""
    head = bytes(blobs.read(location, 0, min(132, location.length)))
    if location.meta_length and head[128:132] != b"DICM":
        raise DamagedError(f"There is no DICOM object at {location.key}, offset {location.offset}")
    if not len(blobs.read(location, location.length - 1, 1)):
        raise DamagedError(f"The object at {location.key}, offset {location.offset} is cut short")


def delivered(
    database: Database,
    clock: Clock,
    transaction_uid: str,
    decision: Decision,
    *,
    device: str,
    association: str = "",
    attempt: int = 1,
    over: str = "same",
) -> None:
    """The peer took the report: the job of this request has nothing more to do."""
    with database.write() as tx:
        tx.ledger.append(
            [_reported(clock.now(), transaction_uid, decision, device, association, attempt, over)]
        )


def _reported(
    now: int, transaction_uid: str, decision: Decision, device: str, association: str, attempt: int, over: str
) -> Event:
    payload: dict[str, object] = {
        "transaction": transaction_uid,
        "committed": len(decision.committed),
        "failed": [[uid, f"{reason:04X}"] for _, uid, reason in decision.failed],
        "attempt": attempt,
        "over": over,
    }
    subjects = Subjects(device=device, association=association)
    return Event("commitment.reported", now, subjects, f"device:{device}", payload=payload)


class Reporter:
    """The handler of REPORT_COMMITMENT jobs."""

    def __init__(self, database: Database, blobs: Blobs, clock: Clock, peers: Peers) -> None:
        self.database = database
        self.blobs = blobs
        self.clock = clock
        self.peers = peers

    def handle(self, job: Job, lease: Lease) -> None:
        """Decide and deliver. Raises PeerError to be tried again."""
        transaction = str(job.payload["transaction"])
        device = str(job.payload["device"])
        if self._already(job, transaction, device):
            return
        decision = decide(self.database, self.blobs, self.clock, _pairs(job.payload["pairs"]))
        lease.check()
        association = str(job.payload.get("association", ""))
        try:
            peer = self._peer(device, str(job.payload.get("ae_title", "")))
            asyncio.run(self.peers.report_commitment(peer, transaction, decision.committed, decision.failed))
        except HounsfieldError as error:
            payload: dict[str, object] = {
                "transaction": transaction,
                "attempt": job.attempts,
                "why": error.what,
            }
            subjects = Subjects(device=device, association=association)
            with self.database.write() as tx:
                tx.ledger.append(
                    [Event("commitment.undelivered", self.clock.now(), subjects, payload=payload)]
                )
            raise
        delivered(
            self.database,
            self.clock,
            transaction,
            decision,
            device=device,
            association=association,
            attempt=job.attempts,
            over="new",
        )

    def _already(self, job: Job, transaction: str, device: str) -> bool:
        where = LedgerFilter(device=device, types=("commitment.reported",), since=job.created_at)
        with self.database.read() as tx:
            return any(r.event.payload.get("transaction") == transaction for r in tx.ledger.read(where))

    def _peer(self, name: str, ae_title: str) -> Device:
        with self.database.read() as tx:
            named = tx.devices.by_name(name)
            known = [named] if named is not None else tx.devices.by_ae_title(ae_title)
        for device in known:
            if device.state is not DeviceState.REFUSED and device.host and device.port:
                return device
        raise PeerError(
            f"The commitment report for {ae_title or name} has no address to go to",
            f"Give the device a host and a port: hounsfield device add {name} ...",
        )


def _pairs(listed: object) -> list[Pair]:
    assert isinstance(listed, list)
    return [(str(sop_class), str(uid)) for sop_class, uid in listed]


__all__ = [
    "REPORT_COMMITMENT",
    "Decision",
    "Reporter",
    "decide",
    "delivered",
    "request",
]
