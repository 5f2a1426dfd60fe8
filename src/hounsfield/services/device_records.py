"""Device records: written down, admitted, refused, removed; each change with its event in one transaction."""

from __future__ import annotations

import dataclasses
import ipaddress

from hounsfield.domain.device import Device, DeviceState
from hounsfield.domain.errors import ConflictError, NotFoundError, RefusedError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.ids import is_ae_title
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.services.releasing import release_job

ROLES = ("store", "query", "retrieve", "commit")


def save(
    database: Database, clock: Clock, actor: str, device: Device, *, replace: bool = False, reason: str = ""
) -> Device:
    """Write a device down. Raises ConflictError where the name is taken and `replace` is not set,
    RefusedError for a value that cannot be."""
    _check(device)
    with database.write() as tx:
        before = tx.devices.by_name(device.name)
        if before is not None and not replace:
            raise ConflictError(
                f"There is a device {device.name} already",
                "Choose another name, or give --replace to change it",
            )
        if before is not None:
            device = dataclasses.replace(
                device,
                first_seen=before.first_seen,
                last_seen=before.last_seen,
                last_address=before.last_address,
                evidence=before.evidence,
            )
        tx.devices.save(device)
        _record(tx, clock, actor, "changed" if before else "added", before, device, reason)
    return device


def admit(
    database: Database, clock: Clock, actor: str, name: str, *, release: bool = True, reason: str = ""
) -> Device:
    """Admit a device; with `release`, a job lets in what it has sent so far. Raises NotFoundError."""
    with database.write() as tx:
        device = _decide(tx, clock, actor, name, DeviceState.ADMITTED, reason)
        if release:
            tx.jobs.enqueue([release_job(device.name, device.ae_title, actor)])
    return device


def refuse(database: Database, clock: Clock, actor: str, name: str, *, reason: str = "") -> Device:
    """Refuse a device: its associations are rejected from now on. Raises NotFoundError."""
    with database.write() as tx:
        return _decide(tx, clock, actor, name, DeviceState.REFUSED, reason)


def remove(database: Database, clock: Clock, actor: str, name: str, *, reason: str = "") -> None:
    """Forget a device's record; what it stored stays. Raises NotFoundError."""
    with database.write() as tx:
        before = get(tx, name)
        tx.devices.remove(before.name)
        _record(tx, clock, actor, "removed", before, None, reason)


def get(tx: Transaction, name: str) -> Device:
    """The device of that name or, where exactly one has it, AE title. Raises NotFoundError."""
    device = tx.devices.by_name(name)
    if device is not None:
        return device
    titled = tx.devices.by_ae_title(name)
    if len(titled) == 1:
        return titled[0]
    if titled:
        names = ", ".join(sorted(d.name for d in titled))
        raise NotFoundError(f"Several devices have the AE title {name}", f"Give one of the names {names}")
    raise NotFoundError(f"There is no device {name}", "See `hounsfield device list`")


def reachable(database: Database, name: str) -> Device:
    """A device that we can call. Raises NotFoundError, RefusedError where it has no address."""
    with database.read() as tx:
        device = get(tx, name)
    if not device.host or not device.port:
        raise RefusedError(
            f"The device {device.name} has no address",
            f"Give it one: hounsfield device add {device.name} {device.ae_title}@HOST:PORT --replace",
        )
    return device


def parse_peer(text: str, name: str | None = None) -> Device | None:
    """A device of "AET@HOST:PORT" ("AET@[::1]:104" for IPv6); None for a text without an @.

    Raises RefusedError for an address that cannot be.
    """
    title, at, address = text.rpartition("@")
    if not at:
        return None
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise RefusedError(f"{address!r} is not HOST:PORT", "Name a peer as AET@HOST:PORT")
    bare = host.removeprefix("[").removesuffix("]")
    device = Device(name=text[:64] if name is None else name, ae_title=title, host=bare, port=int(port))
    _check(device)
    return device


def _decide(tx: Transaction, clock: Clock, actor: str, name: str, state: DeviceState, reason: str) -> Device:
    before = get(tx, name)
    after = dataclasses.replace(before, state=state)
    tx.devices.save(after)
    _record(tx, clock, actor, str(state), before, after, reason)
    return after


def _check(device: Device) -> None:
    if not device.name or len(device.name) > 64 or not device.name.isprintable():
        raise RefusedError(f"{device.name!r} cannot be a device name", "Use 1 to 64 printable characters")
    if not is_ae_title(device.ae_title):
        raise RefusedError(
            f"{device.ae_title!r} is not an AE title", "Use 1 to 16 printable ASCII characters, no backslash"
        )
    for role in device.roles:
        if role not in ROLES:
            raise RefusedError(f"{role!r} is not a role", f"Roles are {', '.join(ROLES)}")
    for network in device.calling_addresses:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise RefusedError(
                f"{network!r} is not an address or network", "Write it as 10.1.2.0/24"
            ) from None


def _record(
    tx: Transaction,
    clock: Clock,
    actor: str,
    change: str,
    before: Device | None,
    after: Device | None,
    reason: str,
) -> None:
    device = after or before
    assert device is not None
    payload = {"change": change, "before": _json(before), "after": _json(after), "reason": reason}
    tx.ledger.append(
        [Event("device.changed", clock.now(), Subjects(device=device.name), actor, payload=payload)]
    )


def _json(device: Device | None) -> dict[str, object] | None:
    if device is None:
        return None
    values = dataclasses.asdict(device)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
