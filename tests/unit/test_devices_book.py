"""The devices as a server sees them, and the recorder beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hounsfield.domain.admit import UnknownDevices
from hounsfield.domain.device import Admission, Device, DeviceState
from hounsfield.domain.errors import DatabaseUnavailableError
from hounsfield.domain.events import Event
from hounsfield.services import devices as module
from hounsfield.services.devices import DeviceBook
from hounsfield.services.recorder import Recorder, together
from support_services import House, build, wait_for


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = build(tmp_path)
    yield made
    made.close()


@pytest.fixture
def book(house: House) -> DeviceBook:
    return DeviceBook(house.database, house.clock, UnknownDevices.QUARANTINE, loopback_only=False)


def save(house: House, device: Device) -> None:
    with house.database.write() as tx:
        tx.devices.save(device)


def call(book: DeviceBook, title: str, address: str = "10.0.0.1") -> Admission:
    verdict = book.verdict(title, address)
    book.seen(title, "HOUNSFIELD", address, "1.2.3 TEST", verdict)
    return verdict.admission


def test_an_unknown_device_is_written_down_once(house: House, book: DeviceBook) -> None:
    verdict = book.verdict("NEW", "10.0.0.1")
    for _ in range(3):  # associations that were decided before any of them was written down
        book.seen("NEW", "HOUNSFIELD", "10.0.0.1", "1.2.3 TEST", verdict)
    (device,) = book.devices()
    assert (device.name, device.state, device.evidence) == ("NEW", DeviceState.WAITING, "1.2.3 TEST")
    assert len(house.events("device.seen")) == 1


def test_a_name_that_another_title_has(house: House, book: DeviceBook) -> None:
    save(house, Device("CT1", "OTHER"))
    assert call(book, "CT1") is Admission.QUARANTINE
    assert {d.name for d in book.devices()} == {"CT1", "CT1@10.0.0.1"}


def test_decisions_count_at_once(house: House, book: DeviceBook) -> None:
    assert call(book, "NEW") is Admission.QUARANTINE
    save(house, Device("NEW", "NEW"))
    assert call(book, "NEW") is Admission.ACCEPT
    save(house, Device("NEW", "NEW", state=DeviceState.REFUSED))
    assert call(book, "NEW") is Admission.REFUSE


def test_only_so_many_wait(house: House, book: DeviceBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_DEVICES", 2)
    for name in ("KNOWN1", "KNOWN2", "KNOWN3"):
        save(house, Device(name, name))
    for name in ("A", "B", "C", "D"):
        assert call(book, name) is Admission.QUARANTINE
    assert sum(d.state is DeviceState.WAITING for d in book.devices()) == 2


def test_last_seen(house: House, book: DeviceBook) -> None:
    save(house, Device("CT1", "CT1"))
    call(book, "CT1", "10.0.0.7")
    with house.database.read() as tx:
        (device,) = tx.devices.all()
    assert device.last_address == "10.0.0.7" and device.last_seen


def test_destinations(house: House, book: DeviceBook) -> None:
    save(house, Device("A", "ONE", host="10.0.0.1", port=104))
    save(house, Device("B", "TWO"))
    save(house, Device("C", "THREE", host="10.0.0.1", port=104, state=DeviceState.WAITING))
    found = book.destination("ONE")
    assert found is not None and found.name == "A"
    assert book.destination("TWO") is None, "no address"
    assert book.destination("THREE") is None, "nobody has admitted it"
    assert book.nearest("ONNE") == "ONE"
    assert [book.why_no_destination(title) for title in ("TWO", "THREE", "ONNE", "XYZ")] == [
        "TWO has no address here",
        "THREE is not admitted",
        "ONNE is not known; nearest known: ONE",
        "XYZ is not known",
    ]


def refused(why: str, address: str = "10.0.0.1") -> Event:
    return Event("connection.refused", 1, payload={"address": address, "why": why, "first": ""})


def test_events_of_a_port_scan_are_counted_together() -> None:
    other = Event("device.seen", 1)
    got = together([refused("a"), other, refused("a"), refused("b"), refused("a"), refused("a", "10.0.0.2")])
    assert [(e.type, e.payload.get("why"), e.payload.get("count")) for e in got] == [
        ("connection.refused", "a", 3),
        ("device.seen", None, None),
        ("connection.refused", "b", None),
        ("connection.refused", "a", None),
    ]


class Unsteady:
    """A database whose ledger refuses an event of one kind, and is away for the first `away` writes."""

    def __init__(self, house: House, away: int = 0, poison: str = "") -> None:
        self.house, self.away, self.poison = house, away, poison

    def write(self, **how: Any) -> Any:
        self.away -= 1
        if self.away >= 0:
            raise DatabaseUnavailableError("away")
        return _Guarded(self.house.database.write(**how), self.poison)


class _Guarded:
    def __init__(self, inner: Any, poison: str) -> None:
        self.inner, self.poison = inner, poison

    def __enter__(self) -> Any:
        self.tx = self.inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.inner.__exit__(*error)

    @property
    def ledger(self) -> Any:
        return self

    def append(self, events: list[Event]) -> None:
        if any(e.payload.get("why") == self.poison for e in events):
            raise ValueError("cannot be written")
        self.tx.ledger.append(events)


def test_the_recorder_waits_for_the_database(house: House) -> None:
    recorder = Recorder(Unsteady(house, away=2))  # type: ignore[arg-type]
    recorder.note(refused("kept"))
    wait_for(lambda: house.events("connection.refused"))
    recorder.close()


def test_one_event_that_cannot_be_written_takes_no_other_with_it(house: House) -> None:
    recorder = Recorder(Unsteady(house, poison="bad"))  # type: ignore[arg-type]
    for why in ("a", "bad", "b", "c"):
        recorder.note(refused(why))
    recorder.close()
    assert [e.payload["why"] for e in house.events("connection.refused")] == ["a", "b", "c"]
