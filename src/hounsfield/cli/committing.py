"""commit: ask another application entity whether it keeps safely what we sent it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from hounsfield.cli.output import to_json
from hounsfield.cli.peers import Peer, SeriesUids, Tls, named_device
from hounsfield.cli.session import Session, command
from hounsfield.domain.device import Device
from hounsfield.domain.errors import PeerError
from hounsfield.services import commitment_scu
from hounsfield.services.commitment_scu import Outcome

#: Failure Reason (0008,1197), PS3.3 C.14.1.1.
REASONS = {
    0x0110: "processing failure",
    0x0112: "not kept there",
    0x0119: "kept there with another SOP class",
    0x0122: "the peer does not support its SOP class",
    0x0131: "the transaction was asked for twice",
    0x0213: "the peer has no resources for it",
}


def register(app: typer.Typer) -> None:
    command(app, "commit")(commit)


def commit(
    session: Session,
    peer: Peer,
    study: Annotated[str, typer.Option(help="Study Instance UID.", show_default=False)],
    series: SeriesUids = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait for the report; 0: ask, and do not wait.", min=0)
    ] = 30.0,
    tls: Tls = False,
) -> None:
    """Ask a peer to commit to what was sent to it (storage commitment), and show what it is committed to.

    Exit code 0 where it is committed to everything, 6 where it is not, or has not reported in time. A report
    that comes later is taken by the running archive: hounsfield ledger --type commitment.answered.
    """
    device = named_device(session, peer, tls)
    with session.archive() as archive:
        outcome = asyncio.run(
            commitment_scu.ask(
                archive.database,
                archive.clock,
                archive.peers,
                device,
                study,
                series or (),
                seconds=wait,
                actor=session.actor,
            )
        )
    _show(session, device, outcome)
    if not outcome.answered and wait:
        raise PeerError(
            f"{device.name} took the request and has not reported in {wait:g} seconds",
            f"If it does later: hounsfield ledger --study {study} --type commitment.answered",
        )
    if outcome.failed or outcome.missing:
        raise PeerError(
            f"{len(outcome.failed) + len(outcome.missing)} objects are not committed", "Send them again"
        )


def _show(session: Session, peer: Device, outcome: Outcome) -> None:
    failed = [
        {"sop": sop, "reason": f"{reason:04X}", "meaning": REASONS.get(reason, "")}
        for sop, reason in outcome.failed
    ]
    if session.out.as_json:
        values: dict[str, object] = {
            "peer": peer.name,
            "transaction": outcome.transaction_uid,
            "asked": len(outcome.asked),
            "answered": outcome.answered,
            "committed": outcome.committed,
            "failed": failed,
            "missing": outcome.missing,
        }
        session.out.line(to_json(values))
        return
    if not outcome.answered:
        session.out.say(f"{peer.name} was asked for {len(outcome.asked)} objects.")
        return
    session.out.say(f"{len(outcome.committed)} of {len(outcome.asked)} objects are committed by {peer.name}.")
    for one in failed:
        session.out.warn(f"{one['sop']}: reason {one['reason']} {one['meaning']}".rstrip())
    for sop in outcome.missing:
        session.out.warn(f"{sop}: not named in the report")
