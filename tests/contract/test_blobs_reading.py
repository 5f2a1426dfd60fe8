"""Reading, removing and listing what is kept on a disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.errors import BlobMovedError, DamagedError, RefusedError
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Blobs
from support_blobs import AT, SEGMENT, data_set, disk, incoming, noise


@pytest.fixture
def blobs(tmp_path: Path):
    made: Blobs = disk(tmp_path)
    yield made
    made.close()


def fill_two_segments(blobs: DiskBlobs, log) -> tuple[Location, Location]:
    (first,) = log.append([incoming(noise(40_000, 1), 1)])
    (second,) = log.append([incoming(noise(40_000, 2), 2)])
    log.sync()
    assert first.key != second.key
    return first, second


def test_a_segment_is_removed_only_behind_the_checkpoint(blobs: DiskBlobs):
    log = blobs.open_log("w")
    first, second = fill_two_segments(blobs, log)
    assert not blobs.remove(first.key)
    assert data_set(blobs, first)
    log.checkpoint()
    assert not blobs.remove(second.key)  # being written to
    assert blobs.remove(first.key)
    assert blobs.remove(first.key)  # is gone: no error
    with pytest.raises(BlobMovedError):
        blobs.read(first)
    log.close()
    assert blobs.remove(second.key)  # closed clean: nothing would be replayed
    assert list(blobs.keys()) == []
    assert blobs.writers() == []
    (third,) = blobs.open_log("w").append([incoming(b"goes on")])
    assert third.key.startswith("log/w/00000003-")
    assert data_set(blobs, third) == b"goes on"


def test_a_segment_of_a_log_closed_unclean_stays(blobs: DiskBlobs):
    log = blobs.open_log("w")
    _, second = fill_two_segments(blobs, log)
    log.close()
    assert not blobs.remove(second.key)


def test_a_reader_of_a_recycled_segment_is_told(tmp_path: Path):
    blobs = disk(tmp_path, spare_segments=2)
    blobs._pool.start = lambda: None  # filled by hand
    log = blobs.open_log("w")
    first, second = fill_two_segments(blobs, log)
    log.checkpoint()
    reader = disk(tmp_path)  # another process, which has the segment open
    assert data_set(reader, first) == noise(40_000, 1)
    assert blobs.remove(first.key)
    blobs._pool.fill()
    inode = {path.stat().st_ino for path in (tmp_path / "log" / ".spare").glob("spare-*")}
    assert len(inode) == 2
    assert data_set(reader, first) == noise(40_000, 1)  # nothing has been written over it yet
    again = []
    while {(tmp_path / location.key).stat().st_ino for location in again} != inode:
        again += log.append([incoming(noise(40_000, 100 + len(again)), 1)])
    log.sync()
    with pytest.raises(BlobMovedError):
        reader.read(first)
    with reader.open(first) as read, pytest.raises(BlobMovedError):
        read(30_000, 10)
    assert data_set(reader, second) == noise(40_000, 2)
    log.close()
    replay = blobs.replay("w")
    assert [record.location for record in replay] == again  # nothing of an earlier life
    assert (replay.torn, replay.damaged) == (0, [])
    blobs.close()


def test_another_object_at_the_place_is_told(blobs: DiskBlobs):
    log = blobs.open_log("w")
    (location,) = log.append([incoming(noise(1000))])
    wrong = Location(location.key, location.offset, location.length - 1, location.meta_length)
    with pytest.raises(DamagedError, match="Another object"):
        blobs.read(wrong)
    with pytest.raises(BlobMovedError):
        blobs.read(Location(location.key, location.offset + 8, location.length, location.meta_length))
    with pytest.raises(DamagedError):
        blobs.read(Location(location.key, 5, 10, 0))


def test_files_in_place_are_read_and_never_removed(blobs: DiskBlobs, tmp_path: Path):
    path = tmp_path / "elsewhere.dcm"
    path.write_bytes(b"0123456789")
    location = Location(f"file:{path}", 2, 6, 0)
    assert bytes(blobs.read(location)) == b"234567"
    with pytest.raises(DamagedError, match="cut short"):
        blobs.read(Location(f"file:{path}", 2, 60, 0))
    with pytest.raises(RefusedError):
        blobs.remove(location.key)
    assert path.exists()
    with pytest.raises(BlobMovedError):
        blobs.read(Location(f"file:{tmp_path}/gone", 0, 1, 0))
    assert list(blobs.keys()) == []


def test_keys_lists_every_blob(blobs: DiskBlobs):
    log = blobs.open_log("w")
    (small,) = log.append([incoming(b"x")])
    (large,) = log.append([incoming(noise(2 * SEGMENT))])
    pack = blobs.write_pack("1.2", "1.2.3", 1, AT)
    pack.add("1.2.3.4.dcm", iter([b"abc"]), 3)
    blobs.write_pack("1.2", "1.2.4", 1, AT)  # unfinished
    key, length = pack.finish()
    assert dict(blobs.keys()) == {small.key: SEGMENT, large.key: large.length, key: length}


def test_many_readers_with_few_open_files(tmp_path: Path):
    blobs = disk(tmp_path, open_files=3)
    log = blobs.open_log("w")
    datas = [noise(40_000, number) for number in range(8)]  # each in a segment of its own
    locations = [log.append([incoming(data, number)])[0] for number, data in enumerate(datas)]
    wrong: list[object] = []

    def read(offset: int) -> None:
        try:
            for turn in range(200):
                at = (turn * 5 + offset) % len(datas)
                if data_set(blobs, locations[at]) != datas[at]:
                    wrong.append(at)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(blobs._files._files) == 3
    blobs.close()
