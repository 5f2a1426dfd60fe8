"""Places for connections."""

from __future__ import annotations

from dataclasses import dataclass, field

from hounsfield.servers.dicom.slots import Slot, Slots


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


def associate(slots: Slots, slot: Slot, device: str, limit: int = 0) -> str:
    slots.connected(slot)
    return slots.associate(slot, device, limit)


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
    assert "give way" in slots.associate(first, "a", 0)
    assert slots.counts == (1, 0)
