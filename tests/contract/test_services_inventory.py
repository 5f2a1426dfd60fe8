"""Pixels against index, as a merge of two ordered streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.adapters.disk_files import files_below
from hounsfield.services import inventory
from hounsfield.services.inventory import take_inventory, unnamed_files
from support_services import House, build, keep, part10


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(inventory, "BATCH", 2)
    made = build(tmp_path / "data", large=1000)
    yield made
    made.close()


def large(number: int) -> bytes:
    return part10(f"1.2.{number}", number=number, pixels=bytes([number]) * 300_000)


def strays(house: House, *names: str) -> list[str]:
    for name in names:
        path = house.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stray")
    return list(names)


def test_strays_between_before_and_after_what_is_named(house: House) -> None:
    keep(house, *(large(n) for n in range(1, 8)), part10("1.2.99"))
    made = strays(house, "large/0", "large/2023/11/5", "large/2023/11/zz", "large/2023/1", "packs/a/b.zip")
    keys = [key for key, _ in house.blobs.keys()]  # noqa: SIM118  (no mapping)
    assert keys == sorted(keys) and len(keys) == 8 + len(made)
    steps: list[int] = []
    found = take_inventory(house.database, house.blobs, steps.append)
    assert (found.objects, found.blobs, found.faulty) == (8, len(keys), 0) and steps[-1] == 8
    assert found.unnamed == [(name, 5) for name in sorted(made)] and found.strays == 5
    assert list(unnamed_files(house.database, house.blobs)) == sorted(made)


def test_every_object_of_what_is_missing_or_short_is_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(house, *(large(n) for n in range(1, 4)), *(part10(f"1.2.5{n}", number=n) for n in range(5)))
    first, second, _ = sorted((house.root / "large").rglob("*.dcm"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    (segment,) = (house.root / "log" / "test").glob("*.seg")
    segment.unlink()
    found = take_inventory(house.database, house.blobs)
    assert (found.faulty, len(found.faults)) == (7, 7)
    assert sorted(fault.why.partition(" ")[2][:7] for fault in found.faults) == ["ends at"] + ["is miss"] * 6
    monkeypatch.setattr(inventory, "MOST_NAMED", 2)
    found = take_inventory(house.database, house.blobs)
    assert (found.faulty, len(found.faults)) == (7, 2)


def test_what_moves_while_it_looks_is_no_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is listed before the rows come: a large object that arrives in between is no fault, nor is a
    blob whose object was given up."""
    keep(house, large(1))
    listed = list(house.blobs.keys())
    keep(house, large(2))
    monkeypatch.setattr(house.blobs, "keys", lambda: iter(listed))
    assert take_inventory(house.database, house.blobs).faulty == 0


names = st.text("ab.-/0", min_size=1, max_size=8).filter(
    lambda name: all(part not in ("", ".", "..") for part in name.split("/"))
)


@given(st.sets(names, max_size=12))
def test_files_come_in_the_order_of_their_names(
    tmp_path_factory: pytest.TempPathFactory, some: set[str]
) -> None:
    root = tmp_path_factory.mktemp("files")
    made = []
    for name in sorted(some):
        path = root / name
        if any(parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12")
        made.append(name)
    assert list(files_below(root, "p/")) == [(f"p/{name}", 2) for name in sorted(made)]
    assert list(files_below(root / "none", "")) == []
