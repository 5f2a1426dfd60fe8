"""Files that a crash left without a row go only where each of their objects is whole elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hounsfield.ports.jobs import NewJob
from hounsfield.services import packing
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.inventory import take_inventory
from hounsfield.services.packing import Packer
from hounsfield.services.reading import Reader
from hounsfield.services.sweeping import sweep_left
from support_services import House, build, incoming, keep, part10


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = build(tmp_path / "data")
    made.clock.time = time.time_ns() // 1000  # beside the clock of the disk
    yield made
    made.close()


def pack(house: House) -> str:
    packed = Packer(house.database, house.blobs, house.clock, settle=0, rest_share=0).pack("1.2.3.1")
    assert packed is not None
    return packed.key


def leave_a_pack(house: House, patch: pytest.MonkeyPatch) -> Path:
    """The process ends between the name of a pack and its transaction."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with patch.context() as during:
        during.setattr(packing.Packer, "_enter", die)
        with pytest.raises(KeyboardInterrupt):
            pack(house)
    (left,) = (house.root / "packs").rglob("*.zip")
    return left


def swept(house: House) -> list[str]:
    return sweep_left(house.database, house.blobs, house.clock)


def later(house: House) -> None:
    house.clock.pass_seconds(7 * 3600)


def all_whole(house: House, count: int) -> None:
    reader = Reader(house.database, house.blobs)
    instances = house.instances()
    assert len(instances) == count and all(map(reader.matches_hash, instances))
    assert take_inventory(house.database, house.blobs).faulty == 0


@pytest.mark.parametrize("again", [False, True])
def test_a_pack_goes_after_some_hours(house: House, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    keep(house, part10("1.2.1"), part10("1.2.2", number=2))
    left = leave_a_pack(house, monkeypatch)
    if again:
        pack(house)
    assert swept(house) == [], "its writer may only be slow"
    assert take_inventory(house.database, house.blobs).strays == 1
    later(house)
    key = left.relative_to(house.root).as_posix()
    size = left.stat().st_size
    assert swept(house) == [key] and not left.exists()
    (event,) = house.events("blob.removed")
    assert event.payload == {"key": key, "bytes": size, "objects": ["1.2.1", "1.2.2"]}
    assert take_inventory(house.database, house.blobs).strays == 0
    all_whole(house, 2)


def test_a_pack_whose_packer_runs_stays(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(house, part10("1.2.1"))
    left = leave_a_pack(house, monkeypatch)
    later(house)
    with house.database.write() as tx:
        tx.jobs.enqueue([NewJob(PACK_SERIES, "1.2.3.1")])
        job = tx.jobs.claim([PACK_SERIES], "somebody", house.clock.now() + 10**9, 1)
        assert job is not None
    assert swept(house) == [] and left.exists()
    with house.database.write() as tx:
        tx.jobs.finish(job.id, "somebody")
    assert len(swept(house)) == 1


def test_after_a_database_from_a_backup_nothing_goes(house: House) -> None:
    """The packs are then all that is left of what came since."""
    keep(house, part10("1.2.1"))
    key = pack(house)
    with house.database.write() as tx:  # as the backup has it: the object had not come
        for table in ("instance", "series", "study", "blob"):
            tx.connection.execute(f"DELETE FROM {table}")
    house.database.known.forget()
    later(house)
    assert swept(house) == [] and (house.root / key).exists()
    assert take_inventory(house.database, house.blobs).unnamed[-1][0] == key


def test_a_pack_stays_where_what_it_has_is_damaged_elsewhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = part10("1.2.1", pixels=b"here they are")
    keep(house, data)
    left = leave_a_pack(house, monkeypatch)
    (segment,) = (house.root / "log" / "test").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[content.index(b"here they are")] ^= 1
    segment.write_bytes(content)
    later(house)
    assert swept(house) == [] and left.exists()


def test_a_large_file_goes_once_its_object_came_again(house: House) -> None:
    data = part10("1.2.1", pixels=bytes(400_000))
    keep(house, data)
    (kept,) = (house.root / "large").rglob("*.dcm")
    twin = kept.with_name(kept.name[:-12] + "00000000.dcm")
    other = kept.with_name("0" * 40 + "-00000000.dcm")
    shutil.copy(kept, twin)
    other.write_bytes(part10("1.2.2", pixels=bytes(400_000)))  # came from nowhere else
    later(house)
    assert swept(house) == [twin.relative_to(house.root).as_posix()]
    assert kept.exists() and other.exists()
    all_whole(house, 1)


def test_what_a_log_names_stays(house: House) -> None:
    """An index that is hours behind its log: the file is not ours to judge, even if another has the bytes."""
    data = part10("1.2.1", pixels=bytes(2 << 20))
    log = house.blobs.open_log("dicom-9")
    (at,) = log.append([incoming(house, data)])
    log.sync()
    keep(house, data)
    later(house)
    assert at.key.startswith("large/") and house.blobs.logged() == {at.key}
    assert swept(house) == []
    log.checkpoint()
    assert house.blobs.logged() == set()
    assert swept(house) == [at.key]
    log.close()


def test_what_is_not_ours_stays(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(house, part10("1.2.1"))
    left = leave_a_pack(house, monkeypatch)
    strange = [
        left.with_name("readme.txt"),
        left.with_suffix(".zip.bak"),
        house.root / "packs" / "copy.zip",
        house.root / "large" / "2024" / "01" / "note.dcm",
    ]
    (house.root / "large" / "2024" / "01").mkdir(parents=True)
    for path in strange:
        shutil.copy(left, path)
    linked = left.with_name("linked.zip")
    linked.symlink_to(left)
    torn = left.with_name("torn.zip")
    torn.write_bytes(left.read_bytes()[:300])
    later(house)
    assert swept(house) == [left.relative_to(house.root).as_posix()]
    assert all(path.exists() for path in (*strange, torn)) and linked.is_symlink()
    keep(house, part10("1.2.1"))
    assert [one.sop_instance_uid for one in house.instances()] == ["1.2.1"]
