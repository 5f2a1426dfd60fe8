"""A record of the log that the index cannot take keeps its bytes, and stands in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hounsfield.adapters.sql.index import SqlIndex
from hounsfield.domain.errors import DatabaseUnavailableError
from hounsfield.domain.identify import Refusal
from hounsfield.domain.stored import QuarantineReason
from hounsfield.services import quarantine, recovery, setting_aside
from hounsfield.services.recovery import Recovered, recover
from support_services import SEGMENT, House, build, close_store, incoming, keep, open_store, part10

BAD = "1.2.2"
FILES = {f"1.2.{n}": part10(f"1.2.{n}", number=n) for n in (1, 2, 3)}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = build(tmp_path / "data")
    yield made
    made.close()


def crash_after_the_log(house: House, *files: bytes) -> None:
    log = house.blobs.open_log("dicom-1")
    log.append([incoming(house, data) for data in files])
    log.sync()
    log.close()


def run(house: House) -> list[Recovered]:
    return recover(house.database, house.blobs, house.clock, settle=60)


def unreadable(patch: pytest.MonkeyPatch) -> None:
    """A release whose scan refuses the header of one of them."""
    real = recovery.scan

    def scan(data, *arguments, **named):  # type: ignore[no-untyped-def]
        if BAD.encode() in bytes(data[:2000]):
            return Refusal(0xC000, "no longer understood")
        return real(data, *arguments, **named)

    patch.setattr(recovery, "scan", scan)


def failing(patch: pytest.MonkeyPatch, *, also_held: bool) -> None:
    """An index that fails at one of them, also when it is only to be held."""
    real = SqlIndex.enter

    def enter(self, arrivals):  # type: ignore[no-untyped-def]
        for one in arrivals:
            held = one.quarantine is QuarantineReason.NOT_ENTERED
            if one.keys.instance.sop_instance_uid == BAD and (also_held or not held):
                raise ValueError("a fault of ours")
        return real(self, arrivals)

    patch.setattr(SqlIndex, "enter", enter)


def uids(house: House) -> set[str]:
    return {one.sop_instance_uid for one in house.instances()}


def aside(house: House) -> dict[str, bytes]:
    return {name: (house.root / name).read_bytes() for name, _ in house.blobs.aside()}


@pytest.mark.parametrize("fault", ["unreadable", "failing"])
def test_its_file_is_set_aside_and_the_others_come_in(
    house: House, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    crash_after_the_log(house, *FILES.values())
    with monkeypatch.context() as patch:
        unreadable(patch) if fault == "unreadable" else failing(patch, also_held=True)
        (done,) = run(house)
        assert (done.entered, done.set_aside) == (2, 1)
        assert run(house) == [], "the next start has nothing left to do"
        close_store(open_store(house, "dicom-1"))
    assert uids(house) == {"1.2.1", "1.2.3"}
    ((name, data),) = aside(house).items()
    assert data == FILES[BAD]
    (event,) = house.events("instance.set_aside")
    assert event.payload["file"] == name and str(event.payload["blob"]).startswith("log/dicom-1/")
    assert event.payload["why"] and event.subjects.association == "assoc-1"
    assert [e.payload["set_aside"] for e in house.events("log.replayed")] == [1]
    keep(house, data)  # the way back, with a release that can
    assert uids(house) == set(FILES)


def test_where_the_index_fails_at_it_it_is_held(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    crash_after_the_log(house, *FILES.values())
    with monkeypatch.context() as patch:
        failing(patch, also_held=False)
        (done,) = run(house)
        assert (done.entered, done.set_aside) == (3, 0)
        assert run(house) == []
    assert uids(house) == {"1.2.1", "1.2.3"} and aside(house) == {}
    (event,) = house.events("instance.quarantined")
    assert event.payload["reason"] == "not-entered" and "a fault of ours" in str(event.payload["why"])
    with house.database.read() as tx:
        (held,) = tx.index.quarantine(reason="not-entered")
    assert bytes(house.blobs.read(held.arrival.location)) == FILES[BAD]
    released = quarantine.release(house.database, house.clock, "user:ada", [held.id], settle_seconds=0)
    assert released.current == 1 and uids(house) == set(FILES)


def test_a_large_one_has_one_file_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    data = part10(BAD, pixels=bytes(2 * SEGMENT))
    crash_after_the_log(house, data)
    unreadable(monkeypatch)
    (done,) = run(house)
    assert done.set_aside == 1 and list(aside(house).values()) == [data]
    assert [key for key, _ in house.blobs.keys() if key.startswith("large/")] == []  # noqa: SIM118  (no mapping)


def test_nothing_is_passed_over_while_the_database_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_after_the_log(house, *FILES.values())

    def away(*_: object) -> object:
        raise DatabaseUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(SqlIndex, "enter", away)
        with pytest.raises(DatabaseUnavailableError):
            run(house)
    assert aside(house) == {} and house.events("instance.set_aside") == []
    (done,) = run(house)
    assert done.entered == 3


def test_stopped_before_the_ledger_knows_it_is_done_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_after_the_log(house, *FILES.values())
    unreadable(monkeypatch)

    def stopped(*_: object, **__: object) -> object:
        raise DatabaseUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(setting_aside, "Event", stopped)
        with pytest.raises(DatabaseUnavailableError):
            run(house)
    assert len(aside(house)) == 1
    (done,) = run(house)
    assert done.set_aside == 1 and len(aside(house)) == 1 and len(house.events("instance.set_aside")) == 1
