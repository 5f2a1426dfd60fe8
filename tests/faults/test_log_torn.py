"""What a kill or a power cut leaves of a log: every whole record comes back, nothing else does."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from hounsfield.adapters.segments import HEADER_LENGTH, PAGE
from hounsfield.domain.study import Location
from support_blobs import SEGMENT, data_set, disk, incoming, noise, replayed, store

FIRST = [b"first of the first round", b"second of the first round"]
LAST = [noise(90, 1), b"", noise(150, 2)]


def segment_of(root: Path, location: Location) -> Path:
    return root / location.key


def copy_with(root: Path, to: Path, key: str, data: bytes) -> Path:
    """The data folder as it is, but for the bytes of one segment."""
    shutil.copytree(root, to, ignore=lambda _, names: [name for name in names if name.endswith(".seg")])
    (to / key).write_bytes(data)
    return to


@pytest.mark.parametrize("beyond", ["zeros", "old bytes"])
def test_torn_at_every_byte_of_the_last_round(tmp_path: Path, beyond: str):
    locations = store(tmp_path / "made", "w", [FIRST, LAST])
    key = locations[0].key
    whole = segment_of(tmp_path / "made", locations[0]).read_bytes()
    start = locations[2].offset - HEADER_LENGTH
    assert start == 2 * PAGE
    old = bytes(SEGMENT) if beyond == "zeros" else noise(SEGMENT)
    ends = [location.offset - HEADER_LENGTH for location in locations[3:]]
    ends.append(len(whole[: start + PAGE].rstrip(b"\0")))
    root = tmp_path / "made"
    for cut in range(start, ends[-1] + 1):
        (root / key).write_bytes(whole[:cut] + old[cut:])
        if (cut - start) % 37 == 0:
            repaired = shutil.copytree(root, tmp_path / f"repaired-{cut}")
        found, torn = replayed(root)
        survived = FIRST + [data for data, end in zip(LAST, ends, strict=True) if end <= cut]
        assert [data for _, data in found] == survived, cut
        assert [record.location for record, _ in found] == locations[: len(survived)]
        if start + HEADER_LENGTH <= cut < ends[0]:
            assert torn == ends[0] - start
        if beyond == "zeros" and start < cut < start + HEADER_LENGTH:
            assert torn == len(whole[start:cut].rstrip(b"\0"))
            assert replayed(root)[1] == 0  # has been cut off
        if (cut - start) % 37 == 0:
            append_after_repair(repaired, survived)


def append_after_repair(root: Path, survived: list[bytes]) -> None:
    """The log goes on behind what is torn, and the next replay finds the old and the new."""
    blobs = disk(root)
    list(blobs.replay("w"))
    log = blobs.open_log("w")
    (location,) = log.append([incoming(b"new", 9)])
    log.sync()
    log.close()
    assert data_set(blobs, location) == b"new"
    blobs.close()
    found, _ = replayed(root)
    assert [data for _, data in found] == [*survived, b"new"]


def test_a_kill_between_append_and_sync(tmp_path: Path):
    """A killed process loses nothing that was written: the copy is what another process sees then."""
    blobs = disk(tmp_path / "made")
    log = blobs.open_log("w")
    synced = log.append([incoming(b"synced", 1)])
    log.sync()
    shutil.copytree(tmp_path / "made", tmp_path / "before")
    appended = log.append([incoming(b"appended", 2)])
    shutil.copytree(tmp_path / "made", tmp_path / "after")
    assert [record.location for record, _ in replayed(tmp_path / "before")[0]] == synced
    assert [record.location for record, _ in replayed(tmp_path / "after")[0]] == synced + appended
    log.close()
    blobs.close()


def test_pages_lost_in_any_order(tmp_path: Path):
    """A power cut keeps any of the pages written since the last sync: synced rounds are always whole."""
    chance = random.Random(7)
    datas = [[noise(chance.randrange(6000), 10 * number + each) for each in range(3)] for number in range(6)]
    locations = store(tmp_path / "made", "w", datas)
    flat = [data for of_round in datas for data in of_round]
    key = locations[0].key
    whole = segment_of(tmp_path / "made", locations[0]).read_bytes()
    assert {location.key for location in locations} == {key}
    for turn in range(60):
        synced = chance.randrange(6)  # rounds
        first_unsynced = locations[3 * synced].offset - HEADER_LENGTH
        data = bytearray(whole)
        for page in range(first_unsynced, SEGMENT, PAGE):
            if chance.random() < 0.3:
                data[page : page + PAGE] = bytes(PAGE) if turn % 2 else noise(PAGE, page)
        root = copy_with(tmp_path / "made", tmp_path / "cut", key, bytes(data))
        found, _ = replayed(root)
        got = {record.location: data for record, data in found}
        for location, right in zip(locations[: 3 * synced], flat, strict=False):
            assert got[location] == right, (turn, synced)
        assert all(flat[locations.index(location)] == kept for location, kept in got.items())
        append_after_repair(root, [kept for _, kept in found])
        shutil.rmtree(root)


def test_a_flipped_bit_never_passes_and_hides_nothing_else(tmp_path: Path):
    datas = [[noise(500, 1), noise(2000, 2)], [noise(300, 3)], [noise(700, 4)]]
    locations = store(tmp_path / "made", "w", datas)
    flat = [data for of_round in datas for data in of_round]
    key = locations[0].key
    whole = segment_of(tmp_path / "made", locations[0]).read_bytes()
    chance = random.Random(3)
    for _ in range(150):
        bit = chance.randrange(PAGE * 8, (locations[3].offset + locations[3].length) * 8)
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        root = copy_with(tmp_path / "made", tmp_path / "flipped", key, bytes(data))
        found, _ = replayed(root)
        got = [(record.location, data) for record, data in found]
        expected = list(zip(locations, flat, strict=True))
        assert all(each in expected for each in got)
        hit = [
            number
            for number, location in enumerate(locations)
            if location.offset - HEADER_LENGTH <= bit // 8
            and (number == 3 or bit // 8 < locations[number + 1].offset - HEADER_LENGTH)
        ]
        missing = [number for number, each in enumerate(expected) if each not in got]
        in_padding = not missing
        # a header that is not whole hides the rest of its own round, which cannot be found without it
        assert in_padding or missing == hit or (hit == [0] and missing == [0, 1])
        shutil.rmtree(root)


def test_what_is_damaged_before_whole_records_is_told(tmp_path: Path):
    locations = store(tmp_path, "w", [[noise(500, 1)], [noise(300, 3)]])
    path = segment_of(tmp_path, locations[0])
    with path.open("r+b") as file:
        file.seek(locations[0].offset + locations[0].meta_length + 100)
        file.write(b"\xff\x00\xff\x00")
    blobs = disk(tmp_path)
    replay = blobs.replay("w")
    assert [record.location for record in replay] == [locations[1]]
    assert replay.damaged == [locations[0]]
    assert replay.torn == 0
    blobs.close()


def test_a_copy_of_the_log_within_an_object_is_not_taken_for_records(tmp_path: Path):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    (kept,) = log.append([incoming(b"kept", 1)])
    log.sync()
    inner = (tmp_path / kept.key).read_bytes()[PAGE : 3 * PAGE]
    (outer,) = log.append([incoming(bytes(PAGE - HEADER_LENGTH - kept.meta_length) + inner, 2)])
    log.sync()
    log.close()
    blobs.close()
    path = tmp_path / kept.key
    data = path.read_bytes()
    begins = outer.offset - HEADER_LENGTH
    assert data[begins + PAGE :].startswith(data[PAGE : PAGE + 500])  # on a page, as a round
    path.write_bytes(data[:begins] + bytes(HEADER_LENGTH) + data[begins + HEADER_LENGTH :])
    assert [record.location for record, _ in replayed(tmp_path)[0]] == [kept]


def test_a_large_object_cut_short_is_not_whole(tmp_path: Path):
    locations = store(tmp_path, "w", [[noise(2 * SEGMENT)], [b"after"]])
    assert locations[0].key.startswith("large/")
    os.truncate(tmp_path / locations[0].key, SEGMENT)
    blobs = disk(tmp_path)
    replay = blobs.replay("w")
    assert [record.location for record in replay] == [locations[1]]
    assert replay.damaged == [locations[0]]
    (tmp_path / locations[0].key).unlink()
    assert [record.location for record in blobs.replay("w")] == [locations[1]]
    blobs.close()


def test_a_torn_checkpoint_means_the_one_before(tmp_path: Path):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    checkpoints = []
    for number in range(4):
        log.append([incoming(b"x" * number, number)])
        log.sync()
        log.checkpoint()
        checkpoints.append((tmp_path / "log" / "w" / "checkpoint").read_bytes())
    last = log.append([incoming(b"last", 9)])
    log.sync()
    log.close()
    blobs.close()
    path = tmp_path / "log" / "w" / "checkpoint"
    changed = [page for page in (0, PAGE) if checkpoints[2][page:][:PAGE] != checkpoints[3][page:][:PAGE]]
    assert len(changed) == 1
    written = len(checkpoints[3][changed[0] :][:PAGE].rstrip(b"\0"))
    for cut in range(1, written):
        torn = bytearray(checkpoints[3])
        torn[changed[0] + cut : changed[0] + PAGE] = bytes(PAGE - cut)
        path.write_bytes(torn)
        found = [data for _, data in replayed(tmp_path)[0]]
        assert found == [b"xxx", b"last"]
    path.write_bytes(checkpoints[3])
    assert [record.location for record, _ in replayed(tmp_path)[0]] == last
    path.unlink()
    assert len(replayed(tmp_path)[0]) == 5
