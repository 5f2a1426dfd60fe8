"""quarantine list, release, drop."""

from __future__ import annotations

from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.domain.errors import NotFoundError
from hounsfield.domain.stored import QuarantineReason
from hounsfield.ports.index import Held
from hounsfield.services import quarantine
from hounsfield.services.archive import Archive

app = typer.Typer(help="Objects that wait for a person's decision.", no_args_is_help=True)

Ids = Annotated[list[int] | None, typer.Argument(help="Numbers of `quarantine list`.", show_default=False)]
Device = Annotated[str, typer.Option(help="All of this device or AE title.", show_default=False)]
Study = Annotated[str, typer.Option(help="All of this study (Study Instance UID).", show_default=False)]
Why = Annotated[
    QuarantineReason | None, typer.Option("--held-for", help="All held for this reason.", show_default=False)
]


@command(app, "list")
def list_held(session: Session, device: Device = "", study: Study = "", held_for: Why = None) -> None:
    """List what is held, and why."""
    with session.archive() as archive, archive.database.read() as tx:
        found = tx.index.quarantine(device=device, reason=held_for or "", study=study)
        columns = ["id", "reason", "device", "at", "patient_id", "modality", "study", "sop"]
        session.out.rows(columns, map(row, found), empty="Nothing is held.")


@command(app, "release")
def release(
    session: Session, ids: Ids = None, device: Device = "", study: Study = "", held_for: Why = None
) -> None:
    """Let held objects in. One that conflicts with a current object stays held."""
    with session.archive() as archive:
        released = quarantine.release(
            archive.database,
            archive.clock,
            session.actor,
            _chosen(archive, ids, device, study, held_for),
            settle_seconds=archive.settings.settle_seconds,
        )
    if session.out.as_json:
        session.out.record(
            {"current": released.current, "identical": released.identical, "held": released.held}
        )
    else:
        session.out.say(
            f"{released.current} are current now, {released.identical} were kept already, "
            f"{released.held} stay held."
        )


@command(app, "drop")
def drop(
    session: Session,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.", show_default=False)],
    ids: Ids = None,
    device: Device = "",
    study: Study = "",
    held_for: Why = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give held objects up for good."""
    with session.archive() as archive:
        chosen = _chosen(archive, ids, device, study, held_for)
        if not yes:
            typer.confirm(f"Give up {len(chosen)} held objects for good?", abort=True, err=True)
        count = quarantine.drop(archive.database, archive.clock, session.actor, chosen, reason)
    if session.out.as_json:
        session.out.record({"dropped": count})
    else:
        session.out.say(f"{count} objects are given up.")


def row(held: Held) -> dict[str, object]:
    arrival, keys = held.arrival, held.arrival.keys
    return {
        "id": held.id,
        "reason": held.reason,
        "device": arrival.origin.device,
        "address": arrival.origin.address,
        "at": moment(arrival.at),
        "patient_id": keys.patient.patient_id,
        "patient_name": keys.patient.name,
        "accession": keys.study.accession_number,
        "modality": keys.series.modality,
        "study": keys.study.study_instance_uid,
        "series": keys.series.series_instance_uid,
        "sop": keys.instance.sop_instance_uid,
        "hash": arrival.content_hash.hex(),
    }


def _chosen(
    archive: Archive, ids: list[int] | None, device: str, study: str, held_for: QuarantineReason | None
) -> list[int]:
    """The numbers given, or those that the options name."""
    if ids:
        return ids
    if not (device or study or held_for):
        raise typer.BadParameter("name numbers, or one of --device, --study, --held-for")
    with archive.database.read() as tx:
        found = [h.id for h in tx.index.quarantine(device=device, reason=held_for or "", study=study)]
    if not found:
        raise NotFoundError("Nothing like that is held", "See `hounsfield quarantine list`")
    return found
