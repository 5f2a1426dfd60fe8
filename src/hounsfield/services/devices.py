"""The devices as a server sees them: a cache over the records, the verdict on who calls, first sightings."""

from __future__ import annotations

import threading
from dataclasses import replace

from hounsfield.domain.admit import UnknownDevices, admit, nearest
from hounsfield.domain.device import Admission, Device, DeviceState, Verdict
from hounsfield.domain.events import Event, Subjects
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database

#: How old records may be where only a hint is made of them. Decisions look whether anything changed.
REFRESH_SECONDS = 1.0
#: Last-seen times are written at most this often for a device.
TOUCH_SECONDS = 60.0
#: Unknown devices that are written down by themselves; past it a person has to add them.
MOST_WAITING_DEVICES = 1000


class DeviceBook:
    """Thread-safe; calls may wait for the database."""

    def __init__(self, database: Database, clock: Clock, policy: UnknownDevices, loopback_only: bool) -> None:
        self.database = database
        self.clock = clock
        self.policy = policy
        self.loopback_only = loopback_only
        self._lock = threading.Lock()
        self._devices: list[Device] = []
        self._version = -1
        self._checked = float("-inf")
        self._touched: dict[str, float] = {}

    def devices(self, *, older: float = 0.0) -> list[Device]:
        """All records, as they were at most `older` seconds ago."""
        with self._lock:
            if self.clock.monotonic() - self._checked >= older:
                with self.database.read() as tx:
                    version = tx.devices.version()
                    if version != self._version:
                        self._devices = tx.devices.all()
                        self._version = version
                self._checked = self.clock.monotonic()
            return self._devices

    def by_ae_title(self, title: str) -> list[Device]:
        return [d for d in self.devices() if d.ae_title == title]

    def verdict(self, calling: str, address: str) -> Verdict:
        return admit(calling, address, self.by_ae_title(calling), self.policy, self.loopback_only)

    def nearest(self, title: str) -> str:
        """A known AE title that looks like `title`, or ''."""
        return nearest(title, {d.ae_title for d in self.devices(older=REFRESH_SECONDS)})

    def destination(self, title: str) -> Device | None:
        """The device a C-MOVE destination names: admitted, with an address."""
        for device in self.by_ae_title(title):
            if device.state is DeviceState.ADMITTED and device.host and device.port:
                return device
        return None

    def why_no_destination(self, title: str) -> str:
        """What is wrong with a C-MOVE destination, as an Error Comment."""
        known = self.by_ae_title(title)
        if known:
            admitted = any(device.state is DeviceState.ADMITTED for device in known)
            return f"{title} has no address here" if admitted else f"{title} is not admitted"
        near = self.nearest(title)
        return f"{title} is not known" + (f"; nearest known: {near}" if near else "")

    def seen(self, calling: str, called: str, address: str, implementation: str, verdict: Verdict) -> None:
        """Write down that a device called; an unknown one is written down as waiting, with the evidence."""
        now = self.clock.monotonic()
        if verdict.device is not None:
            name = verdict.device.name
            if now - self._touched.get(name, float("-inf")) >= TOUCH_SECONDS:
                self._touched[name] = now
                with self.database.write(synced=False) as tx:
                    tx.devices.touch(name, self.clock.now(), address)
            return
        waiting = sum(device.state is DeviceState.WAITING for device in self.devices())
        if verdict.admission is not Admission.QUARANTINE or waiting >= MOST_WAITING_DEVICES:
            return
        at = self.clock.now()
        device = Device(
            name=calling,
            ae_title=calling,
            state=DeviceState.WAITING,
            first_seen=at,
            last_seen=at,
            last_address=address,
            evidence=implementation,
        )
        payload = {
            "calling": calling,
            "called": called,
            "address": address,
            "implementation": implementation,
        }
        with self.database.write() as tx:
            if tx.devices.by_ae_title(calling):
                return  # written down by another of its associations since we looked
            if tx.devices.by_name(calling) is not None:  # the name of a device with another title
                device = replace(device, name=f"{calling}@{address}")
                if tx.devices.by_name(device.name) is not None:
                    return
            tx.devices.save(device)
            tx.ledger.append([Event("device.seen", at, Subjects(device=device.name), payload=payload)])
