"""device add, list, show, admit, refuse, remove."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.domain.device import Device, DeviceState
from hounsfield.services import device_records

app = typer.Typer(help="The application entities that the archive knows.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the device, or its AE title.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.", show_default=False)]


@command(app, "add")
def add(
    session: Session,
    name: Annotated[str, typer.Argument(help="How you want to call it.", show_default=False)],
    address: Annotated[
        str, typer.Argument(help="AET@HOST:PORT, or AET alone where it only calls us.", show_default=False)
    ],
    tls: Annotated[bool, typer.Option("--tls", help="Call it over TLS.")] = False,
    role: Annotated[
        list[str] | None, typer.Option(help="What it may do: store, query, retrieve, commit. Default: all.")
    ] = None,
    calling_address: Annotated[
        list[str] | None, typer.Option(help="Address or network it may call from. Default: any.")
    ] = None,
    character_set: Annotated[
        str, typer.Option(help='Of objects that name none, such as "ISO_IR 100".', show_default=False)
    ] = "",
    site: Annotated[str, typer.Option(help="Where it stands.", show_default=False)] = "",
    max_associations: Annotated[int, typer.Option(help="At one time; 0: the server's default.", min=0)] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Change the device of that name.")] = False,
    reason: Reason = "",
) -> None:
    """Write a device down; it is then admitted."""
    device = device_records.parse_peer(address, name) or Device(name, address)
    device = dataclasses.replace(
        device,
        tls=tls,
        roles=tuple(role or ()),
        calling_addresses=tuple(calling_address or ()),
        character_set=character_set,
        site=site,
        max_associations=max_associations,
    )
    with session.archive(make=True) as archive:
        saved = device_records.save(
            archive.database, archive.clock, session.actor, device, replace=replace, reason=reason
        )
    _told(session, saved, f"{saved.name} is written down.")


@command(app, "list")
def list_devices(
    session: Session,
    state: Annotated[DeviceState | None, typer.Option(help="Only these.", show_default=False)] = None,
) -> None:
    """List the devices, also those that wait to be admitted."""
    with session.archive() as archive, archive.database.read() as tx:
        found = [device for device in tx.devices.all() if state in (None, device.state)]
    columns = ["name", "ae_title", "host", "port", "tls", "state", "last_seen", "last_address"]
    session.out.rows(columns, map(row, found), empty="No devices yet; add one with `hounsfield device add`.")


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show everything about one device."""
    with session.archive() as archive, archive.database.read() as tx:
        session.out.record(row(device_records.get(tx, name)))


@command(app, "admit")
def admit(
    session: Session,
    name: Name,
    keep_held: Annotated[
        bool, typer.Option("--keep-held", help="Leave in quarantine what it has sent until now.")
    ] = False,
    reason: Reason = "",
) -> None:
    """Admit a device, and let in what it has sent while it waited."""
    with session.archive() as archive:
        device = device_records.admit(
            archive.database, archive.clock, session.actor, name, release=not keep_held, reason=reason
        )
    come = "" if keep_held else "; what it has sent while it waited comes in, in the background"
    _told(session, device, f"{device.name} is admitted{come}.")


@command(app, "refuse")
def refuse(session: Session, name: Name, reason: Reason = "") -> None:
    """Refuse a device: its associations are rejected. What it has sent stays where it is."""
    with session.archive() as archive:
        device = device_records.refuse(archive.database, archive.clock, session.actor, name, reason=reason)
    _told(session, device, f"{device.name} is refused.")


@command(app, "remove")
def remove(session: Session, name: Name, reason: Reason = "") -> None:
    """Forget a device's record; what it has stored stays."""
    with session.archive() as archive:
        device_records.remove(archive.database, archive.clock, session.actor, name, reason=reason)
    if session.out.as_json:
        session.out.record({"removed": name})
    else:
        session.out.say(f"{name} is removed.")


def row(device: Device) -> dict[str, object]:
    values = dataclasses.asdict(device)
    return values | {
        "state": str(device.state),
        "first_seen": moment(device.first_seen),
        "last_seen": moment(device.last_seen),
    }


def _told(session: Session, device: Device, sentence: str) -> None:
    if session.out.as_json:
        session.out.record(row(device))
    else:
        session.out.say(sentence)
