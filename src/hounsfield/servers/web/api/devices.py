"""Devices: written down, admitted, refused, called. Those at sites that the principal has, and no others."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from hounsfield.domain.access import Permission, Principal
from hounsfield.domain.device import Device, DeviceState
from hounsfield.domain.errors import ConflictError, NotFoundError
from hounsfield.servers.web.api.shapes import Done, Reason, Shape, TheWeb, Who, Word, moment, problems
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.web import Web
from hounsfield.services import device_records

router = APIRouter(tags=["devices"])

#: Roles in which a device only brings studies.
_ROLES_OF_SITES = frozenset({"store", "commit"})


class DeviceValues(Shape):
    """What a person writes down of a device."""

    ae_title: Annotated[str, Field(max_length=16)]
    host: Word = ""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    tls: bool = False
    site: Word = ""
    character_set: Word = Field(default="", description="Default of (0008,0005) for objects that name none.")
    roles: Annotated[list[Word], Field(max_length=8)] = Field(
        default=[], description="Of store, query, retrieve, commit; none: all."
    )
    calling_addresses: Annotated[list[Word], Field(max_length=100)] = Field(
        default=[], description="Networks or addresses it may call from; none: any."
    )
    max_associations: Annotated[int, Field(ge=0, le=10_000)] = 0
    reason: Reason = ""


class NewDevice(DeviceValues):
    name: Annotated[str, Field(min_length=1, max_length=64)]


class KeptDevice(Shape):
    name: str
    ae_title: str
    host: str
    port: int
    tls: bool
    state: DeviceState
    site: str
    character_set: str
    roles: list[str]
    calling_addresses: list[str]
    max_associations: int
    first_seen: datetime | None
    last_seen: datetime | None
    last_address: str
    evidence: str


class KeptDevices(Shape):
    devices: list[KeptDevice]


class Why(Shape):
    reason: Reason = ""
    release: bool = Field(default=True, description="For admit: let in what it has sent so far.")


class Answered(Shape):
    """What the C-ECHO showed."""

    values: dict[str, str]


@router.get("/devices", responses=problems())
async def list_devices(web: TheWeb, who: Who) -> KeptDevices:
    """The devices at the sites of whoever asks."""

    def find() -> list[Device]:
        with web.database.read() as tx:
            return tx.devices.all()

    found = await web.beside_loop(find)
    return KeptDevices(devices=[_shown(d) for d in found if who.may_at(Permission.DEVICES_READ, d.site)])


@router.post("/devices", status_code=201, responses=problems(409))
async def add_device(web: TheWeb, who: Who, new: NewDevice) -> KeptDevice:
    """Write a device down, admitted."""
    _check_site(who, new.site)
    await web.beside_loop(_check_reach, web, who, new)
    device = _device(new.name, new, DeviceState.ADMITTED)
    saved = await web.beside_loop(
        device_records.save, web.database, web.clock, who.actor, device, reason=new.reason
    )
    return _shown(saved)


@router.get("/devices/{name}", responses=problems(404))
async def show_device(web: TheWeb, who: Who, name: str) -> KeptDevice:
    """One device."""
    return _shown(await web.beside_loop(_get, web, who, name))


@router.put("/devices/{name}", responses=problems(404))
async def change_device(web: TheWeb, who: Who, name: str, values: DeviceValues) -> KeptDevice:
    """Change a device; its state stays."""
    before = await web.beside_loop(_get, web, who, name, Permission.DEVICES_CHANGE)
    _check_site(who, values.site)
    await web.beside_loop(_check_reach, web, who, values)
    device = _device(before.name, values, before.state)
    saved = await web.beside_loop(
        device_records.save,
        web.database,
        web.clock,
        who.actor,
        device,
        replace=True,
        reason=values.reason,
    )
    return _shown(saved)


@router.delete("/devices/{name}", responses=problems(404))
async def remove_device(web: TheWeb, who: Who, name: str) -> Done:
    """Forget a device's record; what it stored stays."""
    before = await web.beside_loop(_get, web, who, name, Permission.DEVICES_CHANGE)
    await web.beside_loop(device_records.remove, web.database, web.clock, who.actor, before.name)
    return Done()


@router.post("/devices/{name}/admit", responses=problems(404))
async def admit_device(web: TheWeb, who: Who, name: str, why: Why) -> KeptDevice:
    """Admit a device."""
    before = await web.beside_loop(_get, web, who, name, Permission.DEVICES_CHANGE)
    admitted = await web.beside_loop(
        device_records.admit,
        web.database,
        web.clock,
        who.actor,
        before.name,
        release=why.release,
        reason=why.reason,
    )
    return _shown(admitted)


@router.post("/devices/{name}/refuse", responses=problems(404))
async def refuse_device(web: TheWeb, who: Who, name: str, why: Why) -> KeptDevice:
    """Refuse a device: its associations are rejected from now on."""
    before = await web.beside_loop(_get, web, who, name, Permission.DEVICES_CHANGE)
    refused = await web.beside_loop(
        device_records.refuse, web.database, web.clock, who.actor, before.name, reason=why.reason
    )
    return _shown(refused)


@router.post("/devices/{name}/echo", responses=problems(404, 502))
async def echo_device(web: TheWeb, who: Who, name: str) -> Answered:
    """Call a device with C-ECHO."""
    device = await web.beside_loop(_get, web, who, name, Permission.DEVICES_CHANGE)
    reachable = await web.beside_loop(device_records.reachable, web.database, device.name)
    return Answered(values=dict(await web.peers.echo(reachable)))


def _get(web: Web, who: Principal, name: str, needs: Permission = Permission.DEVICES_READ) -> Device:
    """Raises NotFoundError, in the same words for a device at another site."""
    with web.database.read() as tx:
        device = tx.devices.by_name(name)
    if device is None or not who.may_at(needs, device.site):
        raise NotFoundError(f"There is no device {name}", "See /api/devices")
    return device


def _check_site(who: Principal, site: str) -> None:
    if not who.may_at(Permission.DEVICES_CHANGE, site):
        raise Problem(403, "This is not for you", "The device has to stand at a site of yours")


def _check_reach(web: Web, who: Principal, values: DeviceValues) -> None:
    """Whoever is limited to sites writes down no device that sees more than they do: over DIMSE, queries and
    retrieves know no sites, and what goes to an AE title goes to whoever is written down with it."""
    if who.scope.unlimited:
        return
    if not values.roles or not _ROLES_OF_SITES.issuperset(values.roles):
        raise Problem(
            403,
            "This is not for you",
            "A device that queries or retrieves reaches the studies of all sites: give it the roles store "
            "and commit, or ask an administrator",
        )
    with web.database.read() as tx:
        others = tx.devices.by_ae_title(values.ae_title)
    if not all(who.scope.has_site(other.site) for other in others):
        raise ConflictError(f"The AE title {values.ae_title} is taken", "Choose another one")


def _device(name: str, values: DeviceValues, state: DeviceState) -> Device:
    return Device(
        name=name,
        ae_title=values.ae_title,
        host=values.host,
        port=values.port,
        tls=values.tls,
        state=state,
        site=values.site,
        character_set=values.character_set,
        roles=tuple(values.roles),
        calling_addresses=tuple(values.calling_addresses),
        max_associations=values.max_associations,
    )


def _shown(device: Device) -> KeptDevice:
    return KeptDevice(
        name=device.name,
        ae_title=device.ae_title,
        host=device.host,
        port=device.port,
        tls=device.tls,
        state=device.state,
        site=device.site,
        character_set=device.character_set,
        roles=list(device.roles),
        calling_addresses=list(device.calling_addresses),
        max_associations=device.max_associations,
        first_seen=moment(device.first_seen),
        last_seen=moment(device.last_seen),
        last_address=device.last_address,
        evidence=device.evidence,
    )


RULES = (
    Rule("GET", "/api/devices", Permission.DEVICES_READ),
    Rule("POST", "/api/devices", Permission.DEVICES_CHANGE),
    Rule("GET", "/api/devices/{name}", Permission.DEVICES_READ),
    Rule("PUT", "/api/devices/{name}", Permission.DEVICES_CHANGE),
    Rule("DELETE", "/api/devices/{name}", Permission.DEVICES_CHANGE),
    Rule("POST", "/api/devices/{name}/admit", Permission.DEVICES_CHANGE),
    Rule("POST", "/api/devices/{name}/refuse", Permission.DEVICES_CHANGE),
    Rule("POST", "/api/devices/{name}/echo", Permission.DEVICES_CHANGE),
)
