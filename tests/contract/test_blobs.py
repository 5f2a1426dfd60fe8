"""What `ports.blobs` promises, on the local disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.errors import BlobMovedError, ConflictError, DamagedError, RefusedError
from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Blobs
from support_blobs import AT, EXPLICIT_LE, ORIGIN, SEGMENT, data_set, disk, incoming, meta_of, noise


@pytest.fixture
def blobs(tmp_path: Path):
    made: Blobs = disk(tmp_path)
    yield made
    made.close()


def test_what_is_appended_reads_back_whole_and_in_parts(blobs: DiskBlobs):
    log = blobs.open_log("w")
    datas = [noise(length, length) for length in (1, 100, 5000, 20_000)]
    locations = log.append([incoming(data, number) for number, data in enumerate(datas)])
    log.sync()
    for number, (data, location) in enumerate(zip(datas, locations, strict=True)):
        whole = meta_of(number) + data
        assert location.length == len(whole)
        assert bytes(blobs.read(location)) == whole
        assert bytes(blobs.read(location, 130, 10)) == whole[130:140]
        assert bytes(blobs.read(location, len(whole) - 1, 50)) == whole[-1:]
        assert bytes(blobs.read(location, len(whole) + 7)) == b""
        with blobs.open(location) as read:
            assert bytes(read(0, 4)) + bytes(read(4, -1)) == whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(
        st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 5), st.text(max_size=8)), max_size=6),
        max_size=8,
    ),
    seed=st.integers(0, 1 << 30),
)
def test_any_rounds_read_back_and_replay_in_order(tmp_path_factory, rounds, seed: int):
    root = tmp_path_factory.mktemp("any")
    blobs = disk(root)
    log = blobs.open_log("w")
    kept = []
    for of_round in rounds:
        objects = []
        for length, pieces, device in of_round:
            origin = Origin("dimse", device, "x", "y")
            objects.append(incoming(noise(length, seed + length), len(objects), pieces=pieces, origin=origin))
        kept += list(zip(objects, log.append(objects), strict=True))
        log.sync()
    for each, location in kept:
        assert bytes(blobs.read(location)) == each.meta + b"".join(each.pieces)
    log.close()
    found = list(blobs.replay("w"))
    assert [(r.location, r.content_hash, r.origin, r.at) for r in found] == [
        (location, each.content_hash, each.origin, each.at) for each, location in kept
    ]
    blobs.close()


def test_replay_tells_what_the_index_needs(blobs: DiskBlobs):
    log = blobs.open_log("w")
    (location,) = log.append([incoming(b"abc", 5, quarantine="unknown-device")])
    log.sync()
    log.close()
    (record,) = blobs.replay("w")
    assert record.location == location
    assert (record.transfer_syntax_uid, record.character_set) == (EXPLICIT_LE, "ISO_IR 100")
    assert (record.origin, record.at, record.quarantine) == (ORIGIN, AT + 5, "unknown-device")


def test_a_clean_close_leaves_nothing_to_replay_and_the_log_goes_on(tmp_path: Path):
    locations = []
    for turn in range(3):
        blobs = disk(tmp_path)
        replay = blobs.replay("w")
        assert list(replay) == []
        assert replay.segments == 0
        log = blobs.open_log("w")
        locations += log.append([incoming(noise(100, turn), turn)])
        log.sync()
        log.checkpoint()
        log.close()
        blobs.close()
    blobs = disk(tmp_path)
    assert [data_set(blobs, location) for location in locations] == [noise(100, turn) for turn in range(3)]
    assert len({location.key for location in locations}) == 1


def test_only_what_is_after_the_checkpoint_is_replayed(blobs: DiskBlobs):
    log = blobs.open_log("w")
    log.append([incoming(b"before")])
    log.sync()
    log.checkpoint()
    after = log.append([incoming(b"after")])
    log.sync()
    log.close()
    assert [record.location for record in blobs.replay("w")] == after
    assert [
        record.location for record in blobs.replay("w")
    ] == after  # again: nothing has said it was entered
    blobs.open_log("w").close()
    assert [record.location for record in blobs.replay("w")] == after
    log = blobs.open_log("w")
    log.checkpoint()
    log.close()
    assert list(blobs.replay("w")) == []


def test_a_log_with_records_not_replayed_cannot_be_opened(tmp_path: Path):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    log.append([incoming(b"one"), incoming(b"two")])
    log.sync()
    log.close()
    with pytest.raises(ConflictError, match="may not be in the index"):
        blobs.open_log("w")
    stopped = blobs.replay("w")
    next(stopped)
    stopped.close()
    with pytest.raises(ConflictError, match="may not be in the index"):
        blobs.open_log("w")
    assert len(list(blobs.replay("w"))) == 2
    # another process has the log meanwhile: what this one replayed is out of date
    other = disk(tmp_path)
    assert len(list(other.replay("w"))) == 2
    log = other.open_log("w")
    log.append([incoming(b"three")])
    log.sync()
    log.close()
    with pytest.raises(ConflictError, match="may not be in the index"):
        blobs.open_log("w")
    assert len(list(blobs.replay("w"))) == 3


def test_a_log_is_for_one_at_a_time(tmp_path: Path):
    blobs, other = disk(tmp_path), disk(tmp_path)
    log = blobs.open_log("w")
    with pytest.raises(ConflictError, match="in use"):
        other.open_log("w")
    with pytest.raises(ConflictError, match="in use"):
        list(other.replay("w"))
    log.close()
    log.close()
    other.open_log("w").close()


def test_two_writers_do_not_see_each_other(blobs: DiskBlobs):
    first, second = blobs.open_log("first"), blobs.open_log("second.2")
    (one,) = first.append([incoming(b"one")])
    (two,) = second.append([incoming(b"two")])
    first.sync()
    second.sync()
    assert blobs.writers() == ["first", "second.2"]
    assert one.key != two.key
    first.close()
    second.close()
    assert [record.location for record in blobs.replay("first")] == [one]
    assert [record.location for record in blobs.replay("second.2")] == [two]


@pytest.mark.parametrize("writer", ["", "..", "../x", "a/b", ".spare", "x\0", "é", "a" * 65, "w\n"])
def test_a_writer_is_no_path(blobs: DiskBlobs, writer: str):
    with pytest.raises(RefusedError):
        blobs.open_log(writer)


@pytest.mark.parametrize(
    "key", ["../x", "log/../../etc/passwd", "/etc/passwd", "", "log", "large//x", "packs/./x", "file:etc/x"]
)
def test_a_key_never_leaves_the_data_folder(blobs: DiskBlobs, key: str):
    with pytest.raises(DamagedError, match="not the key"):
        blobs.read(Location(key, 0, 1, 0))


def test_rounds_go_over_segments(blobs: DiskBlobs):
    log = blobs.open_log("w")
    small = log.append([incoming(b"small")])
    datas = [noise(20_000, number) for number in range(10)]  # three and a bit segments
    locations = log.append([incoming(data, number) for number, data in enumerate(datas)])
    log.sync()
    assert len({location.key for location in locations}) == 4
    assert small[0].key not in {location.key for location in locations}
    assert [data_set(blobs, location) for location in locations] == datas
    log.close()
    replay = blobs.replay("w")
    assert [record.location for record in replay] == small + locations
    assert replay.segments == 5


def test_a_round_of_thousands_of_pieces(blobs: DiskBlobs):
    log = blobs.open_log("w")
    data = noise(5000)
    (location,) = log.append([incoming(data, pieces=5000)])
    assert data_set(blobs, location) == data


def test_a_large_object_is_a_plain_file(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    data = noise(300_000)
    spill = log.spill(meta_of(1))
    for at in range(0, len(data), 7000):
        spill.write(memoryview(data)[at : at + 7000])
    assert spill.length == len(data)
    assert spill.header()[:1000] == data[:1000]
    each = incoming(data, 1)
    each.pieces, each.spill = None, spill
    locations = log.append([incoming(b"before"), each, incoming(b"after")])
    log.sync()
    spill.discard()  # is the log's now
    large = locations[1]
    assert large.key.startswith("large/2025/06/")
    assert large.offset == 0
    assert (tmp_path / large.key).read_bytes() == meta_of(1) + data
    assert bytes(blobs.read(large, large.meta_length + 7, 100)) == data[7:107]
    assert not list((tmp_path / "incoming" / "w").iterdir())
    log.close()
    assert [record.location for record in blobs.replay("w")] == locations


def test_the_same_large_object_twice_has_two_lives(blobs: DiskBlobs):
    log = blobs.open_log("w")
    locations = []
    for _ in range(2):
        spill = log.spill(meta_of(0))
        spill.write(b"same")
        each = incoming(b"same")
        each.pieces, each.spill = None, spill
        locations += log.append([each])
        log.sync()
    assert blobs.remove(locations[0].key)
    with pytest.raises(BlobMovedError):
        blobs.read(locations[0])
    assert data_set(blobs, locations[1]) == b"same"


def test_an_object_longer_than_a_segment_gets_a_file(blobs: DiskBlobs):
    log = blobs.open_log("w")
    data = noise(3 * SEGMENT)
    (location,) = log.append([incoming(data)])
    log.sync()
    assert location.key.startswith("large/")
    assert data_set(blobs, location) == data


def test_discarded_and_left_spills_are_removed(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    spill = log.spill(meta_of(0))
    assert bytes(spill.header()) == b""
    spill.write(b"x")
    spill.discard()
    spill.discard()
    log.spill(meta_of(0)).write(b"left by a killed process")
    log.close()
    assert len(list((tmp_path / "incoming" / "w").iterdir())) == 1
    blobs.open_log("w")
    assert not list((tmp_path / "incoming" / "w").iterdir())


def test_a_spill_that_is_not_what_it_is_said_to_be_is_refused(blobs: DiskBlobs, tmp_path: Path):
    log = blobs.open_log("w")
    spill = log.spill(meta_of(0))
    spill.write(b"abc")
    each = incoming(b"abcd")
    each.pieces, each.spill = None, spill
    with pytest.raises(ValueError, match="spill"):
        log.append([incoming(b"x"), each])
    assert not list(tmp_path.glob("large/**/*.dcm"))
    (location,) = log.append([incoming(b"y")])
    log.sync()
    log.close()
    assert [record.location for record in blobs.replay("w")] == [location]


def test_a_wrong_length_is_refused_and_undone(blobs: DiskBlobs):
    log = blobs.open_log("w")
    wrong = incoming(b"abc")
    wrong.data_set_length = 4
    with pytest.raises(ValueError, match="bytes were to be written"):
        log.append([incoming(b"x"), wrong])
    (location,) = log.append([incoming(b"y")])
    log.sync()
    log.close()
    assert [record.location for record in blobs.replay("w")] == [location]


def test_a_checkpoint_before_the_sync_is_refused(blobs: DiskBlobs):
    log = blobs.open_log("w")
    log.append([incoming(b"x")])
    with pytest.raises(ValueError, match="sync"):
        log.checkpoint()
