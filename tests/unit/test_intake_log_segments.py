"""The format of segments, the walk over their records, and the pool of spare ones."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hounsfield.adapters import segments
from hounsfield.adapters.durable import Reserve, write_vector
from hounsfield.adapters.segment_pool import SegmentPool
from hounsfield.adapters.segments import PAGE, parse_segment_name, read_segment_header, scan, segment_header
from support_blobs import SEGMENT, disk, incoming, noise


def test_names():
    name = segments.segment_name(7, bytes(range(8)))
    assert name == "00000007-0001020304050607.seg"
    assert parse_segment_name(name) == (7, bytes(range(8)))
    for wrong in ("checkpoint", "7-0001020304050607.seg", name + "x", "x" + name, name + "\n"):
        assert parse_segment_name(wrong) is None


def test_a_segment_header_is_whole_or_nothing():
    header = segment_header(b"generate", SEGMENT)
    assert len(header) == PAGE
    assert read_segment_header(header) == b"generate"
    for at in range(28):
        broken = bytearray(header)
        broken[at] ^= 1
        assert read_segment_header(bytes(broken)) is None, at
    assert read_segment_header(header[:20]) is None


def test_a_record_header_is_whole_or_nothing():
    fields = (segments.RECORD_MAGIC, b"generate", 0, 10, 20, 30, 40, bytes(32), 50)
    head = segments.RECORD.pack(*fields)
    data = head + segments.CRC.pack(segments.zlib.crc32(head, 4096))
    record = segments.parse_record(data, 4096, b"generate")
    assert record is not None
    assert (record.inline_length, record.end) == (40, 4096 + 84 + 40 + 20)
    assert segments.parse_record(data, 4096, b"generatf") is None
    assert segments.parse_record(data, 8192, b"generate") is None  # a copy, elsewhere
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 128
        assert segments.parse_record(bytes(broken), 4096, b"generate") is None, at


def test_rounds_begin_on_pages_and_are_walked_in_order(tmp_path: Path):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    locations = []
    for number in range(5):
        locations += log.append([incoming(noise(900 * each), each) for each in range(number + 1)])
    log.close()
    blobs.close()
    path = tmp_path / locations[0].key
    parsed = parse_segment_name(path.name)
    assert parsed is not None
    with path.open("rb") as file:
        records = list(scan(file.fileno(), parsed[1], PAGE))
        assert list(scan(file.fileno(), b"anothers", PAGE)) == []
    assert [record.position + segments.HEADER_LENGTH for record in records] == [
        location.offset for location in locations
    ]
    starts = [0, 1, 3, 6, 10]
    assert all((records[number].position % PAGE == 0) == (number in starts) for number in range(15))


def test_a_record_that_claims_more_than_the_segment_is_none(tmp_path: Path):
    head = segments.RECORD.pack(segments.RECORD_MAGIC, b"generate", 0, 10, 20, 1 << 60, 0, bytes(32), 0)
    path = tmp_path / "x"
    path.write_bytes(bytes(PAGE) + head + segments.CRC.pack(segments.zlib.crc32(head, PAGE)) + bytes(PAGE))
    with path.open("rb") as file:
        assert list(scan(file.fileno(), b"generate", PAGE)) == []


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_partial_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int):
    real = os.pwritev

    def partly(fd: int, buffers: list[bytes], position: int) -> int:
        return real(fd, [b"".join(buffers)[:most]], position)

    monkeypatch.setattr(os, "pwritev", partly)
    buffers = [noise(length, length) for length in (0, 5, 0, 300, 1, 0)]
    with (tmp_path / "x").open("w+b") as file:
        write_vector(file.fileno(), list(buffers), 3, 306)
        assert file.read() == bytes(3) + b"".join(buffers)


def pool(root: Path, **options: int) -> SegmentPool:
    settings = {"segment_size": SEGMENT, "spares": 2, "grace": 0} | options
    return SegmentPool(root / "log" / ".spare", Reserve(root, 0), **settings)


def names(root: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in (root / "log" / ".spare").iterdir())


def test_the_pool_is_filled_and_taken_from(tmp_path: Path):
    spares = pool(tmp_path)
    spares.fill()
    assert names(tmp_path) == ["lock", "spare", "spare"]
    folder = tmp_path / "log" / "w"
    folder.mkdir()
    taken = [spares.take(folder, number) for number in range(3)]  # the third is made on the spot
    assert names(tmp_path) == ["lock"]
    for number, (path, generation) in enumerate(taken):
        assert parse_segment_name(path.name) == (number, generation)
        assert path.stat().st_size == SEGMENT
        assert read_segment_header(path.read_bytes()) == generation
    assert len({generation for _, generation in taken}) == 3


def test_emptied_segments_live_again_up_to_a_bound(tmp_path: Path):
    spares = pool(tmp_path, spares=1)
    folder = tmp_path / "log" / "w"
    folder.mkdir(parents=True)
    taken = [spares.take(folder, number) for number in range(4)]
    for path, _ in taken:
        spares.give_back(path)
    assert names(tmp_path) == ["used", "used"]  # twice what is kept ready; the others are gone
    assert not list(folder.iterdir())
    before = {path.name: path for path in (tmp_path / "log" / ".spare").iterdir()}
    spares.fill()
    assert names(tmp_path) == ["lock", "spare", "spare"]
    assert not before.keys() & {path.name for path in (tmp_path / "log" / ".spare").iterdir()}
    path, generation = spares.take(folder, 9)
    assert generation not in {old for _, old in taken}
    assert read_segment_header(path.read_bytes()) == generation


def test_a_segment_waits_out_its_grace(tmp_path: Path):
    spares = pool(tmp_path, grace=3600)
    folder = tmp_path / "log" / "w"
    folder.mkdir(parents=True)
    spares.give_back(spares.take(folder, 1)[0])
    spares.fill()
    assert names(tmp_path) == ["lock", "spare", "spare", "used"]


def test_what_a_killed_filler_left_is_cleared_and_other_sizes_are_not_used(tmp_path: Path):
    small = pool(tmp_path, segment_size=4 * PAGE)
    small.fill()
    (tmp_path / "log" / ".spare" / "new-1234.part").write_bytes(b"half")
    spares = pool(tmp_path)
    folder = tmp_path / "log" / "w"
    folder.mkdir()
    assert spares.take(folder, 1)[0].stat().st_size == SEGMENT
    spares.fill()
    assert "new" not in names(tmp_path)
    assert spares.take(folder, 2)[0].stat().st_size == SEGMENT


def test_the_filler_runs_beside_the_log_and_stops(tmp_path: Path):
    blobs = disk(tmp_path, spare_segments=2)
    spare = tmp_path / "log" / ".spare"
    filled = threading.Event()
    fill = blobs._pool.fill

    def watched() -> None:
        fill()
        filled.set()

    blobs._pool.fill = watched
    log = blobs.open_log("w")
    assert filled.wait(30)
    assert len(list(spare.glob("spare-*.seg"))) == 2
    log.append([incoming(b"x")])
    log.close()
    blobs.close()
    assert not any(thread.name == "segment-pool" for thread in threading.enumerate())
