"""Series packs: written once a series rests, by steps that lose nothing between them."""

import gzip
import json
import zipfile

import pytest

from hounsfield.domain.errors import DamagedError
from hounsfield.ports.jobs import Job, JobState
from hounsfield.services import packing
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.leases import NoLease, PostponedError, StoppedError
from hounsfield.services.packing import Packer
from hounsfield.services.reading import Reader
from hounsfield.services.sweeping import sweep
from support_services import build, keep, part10

SERIES = "1.2.3.1"


@pytest.fixture
def house(tmp_path):
    house = build(tmp_path / "data")
    yield house
    house.close()


@pytest.fixture
def packer(house):
    return Packer(house.database, house.blobs, house.clock, settle=60, rest_share=0)


def objects(first, last, **keys):
    return {f"{SERIES}.{n}": part10(f"{SERIES}.{n}", number=n, **keys) for n in range(first, last + 1)}


def kept(house):
    reader = Reader(house.database, house.blobs)
    return {i.sop_instance_uid: bytes(reader.part10(i)) for i in house.instances(series=[SERIES])}


def keys(house):
    return {i.location.key.partition("/")[0] for i in house.instances()}


def blobs(house):
    """(key, length) of every blob that is there."""
    return list(house.blobs.keys())


def metadata(house):
    with house.database.read() as tx:
        at = tx.index.metadata(SERIES)
    return at and json.loads(gzip.decompress(bytes(house.blobs.read(at))))


def job(key=SERIES):
    return Job(1, PACK_SERIES, key, {}, JobState.RUNNING, 0, 1, 12, "", 0)


def test_a_settled_series_becomes_one_zip_of_its_files(house, packer):
    files = objects(1, 12)
    keep(house, *files.values())
    packed = packer.pack(SERIES)
    assert (packed.generation, packed.objects, packed.damaged) == (1, 12, ())
    assert keys(house) == {"packs"} and kept(house) == files
    with zipfile.ZipFile(house.root / packed.key) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{uid}.dcm" for uid in files] + ["metadata.json.gz"]
        assert {name: archive.read(name) for name in archive.namelist()[:-1]} == {
            f"{uid}.dcm": data for uid, data in files.items()
        }
        assert json.loads(gzip.decompress(archive.read("metadata.json.gz"))) == metadata(house)
    assert [each["00080018"]["Value"] for each in metadata(house)] == [[uid] for uid in files]
    (event,) = house.events("series.packed")
    assert event.payload == {
        "pack": packed.key,
        "generation": 1,
        "objects": 12,
        "bytes": (house.root / packed.key).stat().st_size,
    }
    assert packer.pack(SERIES) is None


def test_emptied_segments_go_and_what_is_in_them_does_not(house, packer):
    keep(house, *objects(1, 3).values(), part10("9.1", study="9", series="9.9"))
    packer.pack(SERIES)
    assert sweep(house.database, house.blobs).removed == 0  # the other series is in the same segment
    packer.pack("9.9")
    assert sweep(house.database, house.blobs).removed == 1
    assert not [key for key, _ in blobs(house) if key.startswith("log/")]
    with house.database.read() as tx:
        assert [key for key in tx.index.blobs_after("", 1000) if key.startswith("log/")] == []
    assert len(kept(house)) == 3


def test_the_job_waits_until_the_series_rests(house, packer):
    keep(house, *objects(1, 2).values())
    with pytest.raises(PostponedError) as postponed:
        packer.handle(job(), NoLease())
    with house.database.read() as tx:
        assert postponed.value.run_at == tx.index.series_state(SERIES).changed_at + 60_000_000
    house.clock.pass_seconds(61)
    packer.handle(job(), NoLease())
    assert keys(house) == {"packs"}
    packer.handle(job("1.9.9"), NoLease())  # a series that is gone is no failure


def test_late_objects_make_a_new_generation_and_the_old_one_goes(house, packer):
    early, late = objects(1, 5), objects(6, 8)
    keep(house, *early.values())
    first = packer.pack(SERIES)
    keep(house, *late.values())
    assert metadata(house) is None  # it would lack the late ones
    second = packer.pack(SERIES)
    assert (second.generation, second.objects) == (2, 8)
    assert kept(house) == early | late and len(metadata(house)) == 8
    sweep(house.database, house.blobs)
    assert not (house.root / first.key).exists() and (house.root / second.key).exists()
    assert kept(house) == early | late


def test_a_large_old_pack_is_left_beside_the_new_one(house, packer, monkeypatch):
    monkeypatch.setattr(packing, "REWRITE_BYTES", 0)
    early, late = objects(1, 5), objects(6, 6)
    keep(house, *early.values())
    first = packer.pack(SERIES)
    keep(house, *late.values())
    second = packer.pack(SERIES)
    assert (second.generation, second.objects) == (2, 1)
    sweep(house.database, house.blobs)
    assert {i.location.key for i in house.instances()} == {first.key, second.key}
    assert kept(house) == early | late and len(metadata(house)) == 6
    assert packer.pack(SERIES) is None


def test_large_objects_stay_and_are_in_the_metadata(house, packer):
    files = objects(1, 2) | {f"{SERIES}.7": part10(f"{SERIES}.7", number=7, pixels=bytes(1 << 20))}
    keep(house, *files.values())
    assert packer.pack(SERIES).objects == 2
    assert keys(house) == {"packs", "large"} and kept(house) == files
    assert len(metadata(house)) == 3
    assert packer.pack(SERIES) is None


def test_a_damaged_object_stays_where_it_is_and_is_told_of(house, packer):
    files = objects(1, 4)
    keep(house, *files.values())
    bad = house.instances(sop=[f"{SERIES}.2"])[0]
    segment = house.root / bad.location.key
    data = bytearray(segment.read_bytes())
    data[bad.location.offset + bad.location.length - 1] ^= 1
    segment.write_bytes(data)
    packed = packer.pack(SERIES)
    assert packed.damaged == (bad.sop_instance_uid,)
    (event,) = house.events("blob.damaged")
    assert (event.payload["sop"], event.payload["key"]) == (bad.sop_instance_uid, bad.location.key)
    assert house.instances(sop=[bad.sop_instance_uid])[0].location == bad.location
    with zipfile.ZipFile(house.root / packed.key) as archive:
        assert f"{bad.sop_instance_uid}.dcm" not in archive.namelist()
    assert metadata(house) is None
    sweep(house.database, house.blobs)
    assert segment.exists()


def test_a_crash_before_the_transaction_loses_nothing(house, packer, monkeypatch):
    files = objects(1, 3)
    keep(house, *files.values())
    with monkeypatch.context() as patch:
        patch.setattr(Packer, "_enter", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            packer.pack(SERIES)
    assert keys(house) == {"log"} and kept(house) == files
    packed = packer.pack(SERIES)
    assert packed.generation == 1 and kept(house) == files
    sweep(house.database, house.blobs)
    with house.database.read() as tx:
        named = set(tx.index.blobs_after("", 1000))
    unnamed = [key for key, _ in blobs(house) if key not in named]
    assert len(unnamed) == 1 and unnamed != [packed.key]  # for `doctor`; nothing is removed unasked


def test_stopping_leaves_nothing_behind(house, packer):
    keep(house, *objects(1, 5).values())
    calls = []

    class Stop(NoLease):
        def check(self):
            calls.append(1)
            if len(calls) == 3:
                raise StoppedError

    with pytest.raises(StoppedError):
        packer.pack(SERIES, Stop())
    assert not [key for key, _ in blobs(house) if key.startswith("packs/")]
    assert not list((house.root / "incoming").rglob("*.zip*")) and keys(house) == {"log"}


def test_a_pack_that_was_overtaken_is_given_up(house, packer):
    files = objects(1, 3)
    keep(house, *files.values())

    class Race(NoLease):
        done = False

        def check(self):
            if not self.done:
                self.done = True
                packer.pack(SERIES)

    assert packer.pack(SERIES, Race()) is None
    assert kept(house) == files and len(house.events("series.packed")) == 1


def test_objects_that_come_meanwhile_get_a_job_of_their_own(house, packer):
    keep(house, *objects(1, 2).values())

    class Late(NoLease):
        done = False

        def check(self):
            if not self.done:
                self.done = True
                keep(house, *objects(3, 3).values())
                with house.database.write() as tx:
                    for each in tx.jobs.list(kind=PACK_SERIES):
                        tx.jobs.discard(each.id)

    assert packer.pack(SERIES, Late()).objects == 2
    with house.database.read() as tx:
        assert [each.key for each in tx.jobs.list(kind=PACK_SERIES)] == [SERIES]
    assert metadata(house) is None
    assert packer.pack(SERIES).objects == 3


def test_long_objects_are_checked_before_they_are_copied(house, packer, monkeypatch):
    monkeypatch.setattr(packing, "CHECKED_IN_MEMORY", 100)
    files = objects(1, 2)
    keep(house, *files.values())
    assert packer.pack(SERIES).objects == 2
    assert kept(house) == files


def test_a_reader_that_was_on_its_way_finds_the_pack(house, packer):
    files = objects(1, 2)
    keep(house, *files.values())
    before = house.instances()
    reader = Reader(house.database, house.blobs)
    chunks = reader.chunks(before[0], size=100)
    begun = bytes(next(chunks))
    packer.pack(SERIES)
    sweep(house.database, house.blobs)
    assert begun + b"".join(bytes(chunk) for chunk in chunks) == files[before[0].sop_instance_uid]
    assert [bytes(reader.part10(i)) for i in before] == list(files.values())
    (house.root / house.instances()[0].location.key).unlink()
    with pytest.raises(DamagedError):
        Reader(house.database, build_again(house)).part10(house.instances()[0])


def build_again(house):
    """Blobs that have no file open yet."""
    from hounsfield.adapters.blobs_disk import DiskBlobs

    return DiskBlobs(house.root, segment_size=1 << 20, spare_segments=0, min_free_bytes=0)
