"""Places for connections."""

from __future__ import annotations

from dataclasses import dataclass, field

from hounsfield.servers.dicom.slots import Slot, Slots, share


@dataclass
class Ground:
    """Slots with a clock that a test sets, and who was dropped and why."""

    time: float = 0.0
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def slots(self, **limits: float) -> Slots:
        values = {"associations": 3, "per_device": 2, "pending": 4, "pending_per_address": 2} | limits
        return Slots(**values, now=lambda: self.time, silent=15)  # type: ignore[arg-type]

    def slot(self, name: str, address: str = "10.0.0.1", *, active: float = 0.0, busy: bool = False) -> Slot:
        return Slot(address, lambda why: self.dropped.append((name, why)), lambda: active, busy=lambda: busy)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.dropped]


def test_the_oldest_of_an_address_gives_way() -> None:
    ground = Ground()
    slots = ground.slots()
    for number in range(4):
        slots.connected(ground.slot(f"a{number}"))
    slots.connected(ground.slot("other", "10.0.0.2"))
    assert ground.names == ["a0", "a1"]
    assert slots.counts == (3, 0)


def test_loopback_has_the_common_limit_alone() -> None:
    ground = Ground()
    slots = ground.slots()
    for number in range(6):
        slots.connected(ground.slot(f"l{number}", "127.0.0.1"))
    assert ground.names == ["l0", "l1"]


def test_who_has_asked_stays_and_who_is_over_goes_first() -> None:
    ground = Ground()
    slots = ground.slots(pending_per_address=99)
    made = [ground.slot(name) for name in ("asked", "silent", "over", "silent too")]
    for slot in made:
        slots.connected(slot)
    made[0].asked = True
    slots.over(made[2])
    for name in ("new", "newer", "newest"):
        slot = ground.slot(name)
        slot.asked = True
        slots.connected(slot)
    assert ground.names == ["over", "silent", "silent too"]


def test_the_newest_is_never_dropped() -> None:
    """It could not say a word yet, while all others are waiting for our decision."""
    ground = Ground()
    slots = ground.slots(pending_per_address=99)
    for number in range(4):
        slot = ground.slot(f"asked{number}")
        slots.connected(slot)
        slot.asked = True
    slots.connected(ground.slot("newest"))
    assert ground.names == ["asked0"]


def associate(slots: Slots, slot: Slot, device: str, limit: int = 0, *, admitted: bool = False) -> str:
    slots.connected(slot)
    return slots.associate(slot, device, limit, admitted=admitted)


def test_a_device_has_so_many_associations() -> None:
    ground = Ground()
    slots = ground.slots()
    assert [associate(slots, ground.slot(n), "CT") for n in "ab"] == ["", ""]
    assert associate(slots, ground.slot("c"), "CT") == "CT has 2 associations already"
    assert associate(slots, ground.slot("d"), "MR", 1) == ""
    assert associate(slots, ground.slot("e"), "MR", 1) == "MR has 1 associations already"


def test_all_places_taken_the_longest_silent_gives_way() -> None:
    ground = Ground()
    slots = ground.slots()
    for name, active in (("a", 5.0), ("b", 1.0), ("c", 9.0)):
        assert associate(slots, ground.slot(name, active=active), name) == ""
    ground.time = 14.0
    assert associate(slots, ground.slot("d"), "d") == "all 3 places for associations are taken"
    ground.time = 17.0
    assert associate(slots, ground.slot("d", active=17.0), "d") == ""
    assert ground.names == ["b"]
    assert slots.counts == (2, 3), "the dropped one is counted until it is closed"


def test_who_waits_for_us_never_gives_way() -> None:
    ground = Ground()
    slots = ground.slots()
    for name in "abc":
        associate(slots, ground.slot(name, busy=True), name)
    ground.time = 1000.0
    assert "places" in associate(slots, ground.slot("d"), "d")
    assert ground.dropped == []


def test_a_place_is_free_again() -> None:
    ground = Ground()
    slots = ground.slots(associations=1)
    first = ground.slot("a")
    assert associate(slots, first, "a") == ""
    slots.over(first)
    assert associate(slots, ground.slot("b"), "b") == "", "over, though not closed yet"
    slots.gone(first)
    assert slots.counts == (0, 1)


def test_one_that_had_to_go_gets_no_place() -> None:
    ground = Ground()
    slots = ground.slots(pending=1, pending_per_address=99)
    first = ground.slot("a")
    slots.connected(first)
    slots.connected(ground.slot("b"))
    assert ground.names == ["a"]
    assert "give way" in slots.associate(first, "a", 0, admitted=True)
    assert slots.counts == (1, 0)


def test_strangers_leave_the_reserved_places_free() -> None:
    ground = Ground()
    slots = ground.slots(associations=4, reserved=2)
    assert [associate(slots, ground.slot(n), n) for n in "ab"] == ["", ""]
    assert "2 places for devices that nobody admitted" in associate(slots, ground.slot("c"), "c")
    assert [associate(slots, ground.slot(n), n, admitted=True) for n in ("CT", "MR")] == ["", ""]
    assert "all 4 places" in associate(slots, ground.slot("US"), "US", admitted=True)
    assert ground.dropped == []


def test_admitted_devices_use_the_other_places_too() -> None:
    ground = Ground()
    slots = ground.slots(associations=3, reserved=1)
    for name in ("CT", "MR", "US"):
        assert associate(slots, ground.slot(name), name, admitted=True) == ""
    assert "all 3 places" in associate(slots, ground.slot("a"), "a")


def test_who_is_silent_gives_way_to_whom() -> None:
    """A stranger to everybody, an admitted device to an admitted one alone."""
    ground = Ground(time=100.0)
    slots = ground.slots(associations=3, reserved=1, pending=9, pending_per_address=9)
    associate(slots, ground.slot("CT", active=1.0), "CT", admitted=True)
    associate(slots, ground.slot("a", active=50.0), "a")
    associate(slots, ground.slot("b", active=60.0), "b")
    assert associate(slots, ground.slot("c", active=100.0), "c") == ""
    assert associate(slots, ground.slot("MR", active=100.0), "MR", admitted=True) == ""
    assert ground.names == ["a", "b"]
    assert associate(slots, ground.slot("US", active=100.0), "US", admitted=True) == ""
    assert ground.names == ["a", "b", "CT"]
    assert "places" in associate(slots, ground.slot("d", active=100.0), "d")


def test_the_last_places_of_admitted_devices_are_not_for_strangers() -> None:
    ground = Ground(time=100.0)
    slots = ground.slots(associations=2, reserved=1)
    for name in ("CT", "MR"):
        associate(slots, ground.slot(name, active=1.0), name, admitted=True)
    assert "all 2 places" in associate(slots, ground.slot("a", active=100.0), "a")
    assert ground.dropped == []


def test_processes_share_a_limit() -> None:
    assert [share(200, n) for n in (1, 2, 3, 64)] == [200, 100, 67, 4]
    assert (share(1, 8), share(0, 8)) == (1, 0)
