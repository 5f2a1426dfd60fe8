"""Storage commitment as SCU (PS3.4 J.2): another system is asked to commit to what we sent it.

Its report comes on the association of the request or, often much later, on one that it opens to us. The
ledger is where both meet: what was asked, under the device that was asked, and what was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from hounsfield.domain.device import Device
from hounsfield.domain.errors import HounsfieldError, NotFoundError, RefusedError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.ids import new_timed_uid, timed_uid_milliseconds
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.ports.peers import CommitmentAnswer, Peers
from hounsfield.services.commitment import MOST_OBJECTS, Pair

#: Between two looks for a report that came to our server while the request waits for it.
LOOK_SECONDS = 0.2
#: Microseconds by which the clock of another machine of the archive may be behind.
CLOCKS_DIFFER = 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of ours."""

    transaction_uid: str
    subjects: Subjects  # the device that was asked, the study, the series where it is one
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request, by SOP Instance UID."""

    transaction_uid: str
    asked: tuple[str, ...]
    #: False: nothing was reported so far, and the fields below are empty.
    answered: bool = False
    committed: tuple[str, ...] = ()
    failed: tuple[tuple[str, int], ...] = ()  # with the Failure Reason (0008,1197)
    missing: tuple[str, ...] = ()  # asked for, and not named in the report


async def ask(
    database: Database,
    clock: Clock,
    peers: Peers,
    peer: Device,
    study: str,
    series: Sequence[str] = (),
    *,
    seconds: float,
    actor: str,
) -> Outcome:
    """Ask `peer` to commit to a study, or to some series of it, and wait `seconds` for its report.

    Raises NotFoundError for what is not kept here, RefusedError for too many objects, PeerError where the
    request did not reach the peer, or the peer refused it.
    """
    with database.read() as tx:
        pairs = tuple(_pair(instance) for instance in _chosen(tx, study, series))
        device = _subject(tx, peer)
    if len(pairs) > MOST_OBJECTS:
        raise RefusedError(
            f"One request names {MOST_OBJECTS} objects at most, not {len(pairs)}", "Name series of the study"
        )
    one, now = series[0] if len(series) == 1 else "", clock.now()
    asked = Asked(new_timed_uid(now), Subjects(study=study, series=one, device=device), pairs)
    payload: dict[str, object] = {
        "transaction": asked.transaction_uid,
        "objects": [[sop, sop_class] for sop_class, sop in pairs],
    }
    # Before it is sent: the report may come on another association while this one still waits.
    _write(database, Event("commitment.asked", now, asked.subjects, actor, payload=payload))

    def take_here(report: CommitmentAnswer) -> None:
        take(database, clock, asked, report, over="same")

    elsewhere = asyncio.Event()
    looking = asyncio.create_task(_look(database, asked, elsewhere))
    try:
        report = await peers.request_commitment(
            peer, asked.transaction_uid, pairs, seconds, take_here, elsewhere
        )
    except HounsfieldError as error:
        payload = {"transaction": asked.transaction_uid, "why": error.what}
        _write(database, Event("commitment.refused", clock.now(), asked.subjects, actor, payload=payload))
        raise
    finally:
        looking.cancel()
    return outcome(asked, report) if report is not None else _told_elsewhere(database, asked)


def find_asked(database: Database, transaction_uid: str, devices: Sequence[str]) -> Asked:
    """The request that a report answers, if it went to one of `devices` (names under which the reporting
    peer is known). Raises NotFoundError where there is none.

    The transaction UID tells when it was made: however many requests there were, one moment is looked at.
    """
    at = timed_uid_milliseconds(transaction_uid)
    if at is not None:
        with database.read() as tx:
            for device in devices:
                since = max(1, at * 1000)
                where = LedgerFilter(
                    device=device, types=("commitment.asked",), since=since, until=since + 999
                )
                for recorded in tx.ledger.read(where):
                    payload = recorded.event.payload
                    if payload.get("transaction") == transaction_uid:
                        pairs = payload["objects"]
                        assert isinstance(pairs, list)
                        return Asked(
                            transaction_uid,
                            recorded.event.subjects,
                            tuple((str(sop_class), str(sop)) for sop, sop_class in pairs),
                        )
    raise NotFoundError("no such transaction was asked for by this archive")


def take(
    database: Database,
    clock: Clock,
    asked: Asked,
    report: CommitmentAnswer,
    *,
    over: str,
    association: str = "",
) -> None:
    """Write a report down; durable when this returns. One that comes again is not written down again."""
    told = outcome(asked, report)
    payload: dict[str, object] = {
        "transaction": told.transaction_uid,
        "committed": len(told.committed),
        "failed": [[sop, f"{reason:04X}"] for sop, reason in told.failed],
        "missing": list(told.missing),
        "over": over,
    }
    of = asked.subjects
    subjects = Subjects(study=of.study, series=of.series, device=of.device, association=association)
    with database.write() as tx:
        known = _answers(tx, asked)
        if not any({**payload, "over": event.payload.get("over")} == event.payload for event in known):
            now, actor = clock.now(), f"device:{of.device}"
            tx.ledger.append([Event("commitment.answered", now, subjects, actor, payload=payload)])


def outcome(asked: Asked, report: CommitmentAnswer) -> Outcome:
    """A report held against what was asked. An object counts as committed under the SOP class that it has."""
    said = set(report.committed)
    sops = tuple(sop for _, sop in asked.pairs)
    ours = set(sops)
    failed = {sop: reason for _, sop, reason in report.failed if sop in ours}
    committed = tuple(sop for pair in asked.pairs if pair in said and (sop := pair[1]) not in failed)
    named = {*committed, *failed}
    missing = tuple(sop for sop in sops if sop not in named)
    return Outcome(asked.transaction_uid, sops, True, committed, tuple(failed.items()), missing)


async def _look(database: Database, asked: Asked, told: asyncio.Event) -> None:
    """Set `told` once our server has taken the report."""

    def answered() -> bool:
        with database.read() as tx:
            return bool(_answers(tx, asked))

    while not await asyncio.to_thread(answered):  # noqa: ASYNC110 - it is another process that writes it
        await asyncio.sleep(LOOK_SECONDS)
    told.set()


def _told_elsewhere(database: Database, asked: Asked) -> Outcome:
    """What our server took meanwhile."""
    sops = tuple(sop for _, sop in asked.pairs)
    with database.read() as tx:
        events = _answers(tx, asked)
    if not events:
        return Outcome(asked.transaction_uid, sops)
    listed, missing = events[-1].payload.get("failed"), events[-1].payload.get("missing")
    assert isinstance(listed, list) and isinstance(missing, list)
    failed = {str(sop): int(str(reason), 16) for sop, reason in listed}
    committed = tuple(sop for sop in sops if sop not in failed and sop not in missing)
    return Outcome(asked.transaction_uid, sops, True, committed, tuple(failed.items()), tuple(missing))


def _answers(tx: Transaction, asked: Asked) -> list[Event]:
    # not the whole history of the study; the clocks of two machines may differ
    since = max(0, (timed_uid_milliseconds(asked.transaction_uid) or 0) * 1000 - CLOCKS_DIFFER)
    where = LedgerFilter(study=asked.subjects.study, types=("commitment.answered",), since=since)
    events = (recorded.event for recorded in tx.ledger.read(where))
    return [event for event in events if event.payload.get("transaction") == asked.transaction_uid]


def _chosen(tx: Transaction, study: str, series: Sequence[str]) -> list[StoredInstance]:
    kept = list(tx.index.instances(study=study))
    if not kept:
        raise NotFoundError(f"No study {study} is kept", "See `hounsfield study list`")
    for uid in series:
        if not any(instance.series_instance_uid == uid for instance in kept):
            raise NotFoundError(f"The study has no series {uid}", f"See `hounsfield study show {study}`")
    return [i for i in kept if not series or i.series_instance_uid in series]


def _subject(tx: Transaction, peer: Device) -> str:
    """Under which name the ledger knows a peer: that of its record, else its AE title."""
    if tx.devices.by_name(peer.name) is not None:
        return peer.name
    titled = tx.devices.by_ae_title(peer.ae_title)
    return titled[0].name if len(titled) == 1 else peer.ae_title


def _pair(instance: StoredInstance) -> Pair:
    return instance.sop_class_uid, instance.sop_instance_uid


def _write(database: Database, event: Event) -> None:
    with database.write() as tx:
        tx.ledger.append([event])
