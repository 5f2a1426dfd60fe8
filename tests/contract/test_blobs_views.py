"""Views: objects sent from where they lie, in log segments, packs and files of their own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.study import Location
from support_blobs import AT, SEGMENT, data_set, disk, incoming, noise


@pytest.fixture
def blobs(tmp_path: Path):
    made = disk(tmp_path)
    yield made
    made.close()


def view(blobs: DiskBlobs, location: Location) -> bytes | None:
    found = blobs.view(location, location.meta_length)
    if found is None:
        return None
    data = bytes(found.piece)
    found.close()
    return data


def test_an_object_in_the_log_a_pack_and_a_file_of_its_own(blobs: DiskBlobs):
    log = blobs.open_log("w")
    (small,) = log.append([incoming(noise(40_000))])
    (large,) = log.append([incoming(noise(2 * SEGMENT))])
    log.sync()
    writer = blobs.write_pack("1.2", "1.2.3", 1, AT)
    offset = writer.add("1.2.3.4.dcm", iter([noise(5000)]), 5000)
    key, _ = writer.finish()
    packed = Location(key, offset, 5000, 0)
    for location in (small, large, packed):
        assert view(blobs, location) is None  # not open: `read` opens it
        blobs.read(location)
        assert view(blobs, location) == bytes(blobs.read(location, location.meta_length))


def test_nothing_in_view_where_the_object_is_not(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    (at,) = log.append([incoming(noise(40_000))])
    log.sync()
    blobs.read(at)
    assert view(blobs, at) is not None
    assert view(blobs, Location(at.key, at.offset + 8, at.length, at.meta_length)) is None
    assert view(blobs, Location(at.key, at.offset, at.length - 1, at.meta_length)) is None
    assert view(blobs, Location(at.key, at.offset, 2 * SEGMENT, at.meta_length)) is None
    path = tmp_path / "elsewhere.dcm"
    path.write_bytes(b"0123456789")
    in_place = Location(f"file:{path}", 2, 6, 0)
    blobs.read(in_place)
    assert view(blobs, in_place) is None


def test_nothing_in_view_that_is_not_in_memory(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    (at,) = log.append([incoming(noise(2 * SEGMENT))])
    log.sync()
    blobs.read(at)
    fd = os.open(tmp_path / at.key, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    assert view(blobs, at) is None
    blobs.read(at)
    assert view(blobs, at) is not None


def test_a_segment_gets_no_other_life_while_something_in_it_is_in_view(tmp_path: Path):
    blobs = disk(tmp_path, spare_segments=2)
    blobs._pool.start = lambda: None  # filled by hand
    log = blobs.open_log("w")
    (first,) = log.append([incoming(noise(40_000, 1), 1)])
    log.append([incoming(noise(40_000, 2), 2)])
    log.sync()
    log.checkpoint()
    reader = disk(tmp_path)  # another process
    assert data_set(reader, first) == noise(40_000, 1)
    held = [reader.view(first, first.meta_length) for _ in range(2)]
    inode = (tmp_path / first.key).stat().st_ino
    assert blobs.remove(first.key)

    def spares() -> set[int]:
        blobs._pool.fill()
        return {path.stat().st_ino for path in (tmp_path / "log" / ".spare").glob("spare-*")}

    assert inode not in spares()
    for each in held:
        assert inode not in spares()
        assert each is not None
        assert bytes(each.piece) == noise(40_000, 1)
        each.close()
        each.close()  # more than once is no error
    reader.close()
    for path in (tmp_path / "log" / ".spare").glob("spare-*"):
        path.unlink()
    assert inode in spares()
    log.close()
    blobs.close()


def test_nothing_in_view_that_got_another_life_a_moment_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Between the look at what stands before the object and the lock on its segment, too."""
    blobs = disk(tmp_path, spare_segments=2)
    blobs._pool.start = lambda: None  # filled by hand
    log = blobs.open_log("w")
    (first,) = log.append([incoming(noise(40_000, 1), 1)])
    log.append([incoming(noise(40_000, 2), 2)])
    log.sync()
    log.checkpoint()
    reader = disk(tmp_path)  # another process
    assert data_set(reader, first) == noise(40_000, 1)
    assert blobs.remove(first.key)
    lock = fcntl.flock
    seen: list[int] = []

    def late(fd: int, how: int) -> None:
        if how & fcntl.LOCK_SH and not seen:
            seen.append(fd)
            blobs._pool.fill()
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert view(reader, first) is None
    assert seen
    monkeypatch.undo()
    blobs._pool.fill()
    log.close()
    reader.close()
    blobs.close()


def test_nothing_in_view_of_a_file_that_was_emptied(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    (large,) = log.append([incoming(noise(2 * SEGMENT))])
    log.sync()
    for length in (SEGMENT, 0):
        blobs.read(large)
        os.truncate(tmp_path / large.key, length)
        assert view(blobs, large) is None
        (tmp_path / large.key).write_bytes(bytes(large.length))
    with (tmp_path / large.key).open("rb") as other:  # and it is not left locked
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
