"""`ports.people` over one transaction: devices and live settings."""

from __future__ import annotations

import json
from typing import Any

from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.saving import grow, grown, save
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.domain.device import Device, DeviceState

_DEVICE = (
    *(
        "name",
        "ae_title",
        "host",
        "port",
        "tls",
        "state",
        "site",
        "character_set",
        "roles",
        "calling_addresses",
    ),
    *("max_associations", "first_seen", "last_seen", "last_address", "evidence"),
)


class SqlDevices:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def all(self) -> list[Device]:
        return self._select("")

    def by_name(self, name: str) -> Device | None:
        found = self._select("WHERE name = ?", clean_key(name))
        return found[0] if found else None

    def by_ae_title(self, ae_title: str) -> list[Device]:
        return self._select("WHERE ae_title = ?", clean_key(ae_title))

    def _select(self, where: str, *values: str) -> list[Device]:
        rows = self.connection.execute(
            f"SELECT {', '.join(_DEVICE)} FROM device {where} ORDER BY name", values
        )
        return [_device(row) for row in rows]

    def save(self, device: Device) -> None:
        values = (
            clean_key(device.name),
            clean_key(device.ae_title),
            clean(device.host),
            device.port,
            int(device.tls),
            device.state.value,
            clean(device.site),
            clean(device.character_set),
            json.dumps(device.roles),
            json.dumps(device.calling_addresses),
            device.max_associations,
            device.first_seen,
            device.last_seen,
            clean(device.last_address),
            json.dumps(device.evidence),
        )
        save(self.connection, "device", _DEVICE, values)
        self._changed()

    def remove(self, name: str) -> bool:
        removed = (
            self.connection.execute("DELETE FROM device WHERE name = ?", (clean_key(name),)).rowcount == 1
        )
        if removed:
            self._changed()
        return removed

    def touch(self, name: str, at: int, address: str) -> None:
        # No new version: nothing of it changes what a server decides.
        self.connection.execute(
            "UPDATE device SET first_seen = CASE WHEN first_seen = 0 THEN ? ELSE first_seen END,"
            " last_seen = ?, last_address = ? WHERE name = ?",
            (at, at, clean(address), clean_key(name)),
        )

    def version(self) -> int:
        return grown(self.connection, "devices")

    def _changed(self) -> None:
        grow(self.connection, "devices")


def _device(row: tuple[Any, ...]) -> Device:
    name, ae_title, host, port, tls, state, site, character_set, roles, addresses, *rest = row
    limit, first_seen, last_seen, last_address, evidence = rest
    return Device(
        *(name, ae_title, host, port, bool(tls), DeviceState(state), site, character_set),
        *(tuple(json.loads(roles)), tuple(json.loads(addresses)), limit, first_seen, last_seen),
        last_address=last_address,
        evidence=json.loads(evidence),
    )


class SqlLiveSettings:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get(self, key: str) -> object | None:
        row = self.connection.execute("SELECT value FROM setting WHERE key = ?", (clean_key(key),)).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, key: str, value: object) -> None:
        save(self.connection, "setting", ("key", "value"), (clean_key(key), json.dumps(value)))

    def all(self) -> dict[str, object]:
        rows = self.connection.execute("SELECT key, value FROM setting ORDER BY key")
        return {key: json.loads(value) for key, value in rows}
