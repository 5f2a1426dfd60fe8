"""Recovery: acknowledged objects that only the log knows are in the index after the next start."""

import pytest

from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.packing import Packer
from hounsfield.services.reading import Reader
from hounsfield.services.recovery import recover
from hounsfield.services.sweeping import sweep
from support_services import build, close_store, incoming, keep, open_store, part10


@pytest.fixture
def house(tmp_path):
    house = build(tmp_path / "data")
    yield house
    house.close()


def crash_after_the_log(house, *files, quarantine=""):
    """The objects are durable in the log; the process ends before their transaction."""
    log = house.blobs.open_log("dicom-1")
    log.append([incoming(house, data, quarantine) for data in files])
    log.sync()
    log.close()


def run(house):
    return recover(house.database, house.blobs, house.clock, settle=60)


def test_objects_in_the_log_alone_come_into_the_index(house):
    files = {f"1.2.{n}": part10(f"1.2.{n}", number=n, PatientName="Yamada^Tarou") for n in range(1, 6)}
    crash_after_the_log(house, *files.values())
    (done,) = run(house)
    assert (done.writer, done.entered, done.known) == ("dicom-1", 5, 0)
    reader = Reader(house.database, house.blobs)
    assert {i.sop_instance_uid: bytes(reader.part10(i)) for i in house.instances()} == files
    (replayed,) = house.events("log.replayed")
    assert (replayed.payload["entered"], replayed.payload["known"]) == (5, 0)
    (stored,) = house.events("instance.stored")
    assert len(stored.payload["objects"]) == 5 and stored.subjects.association == "assoc-1"
    with house.database.read() as tx:
        assert [job.key for job in tx.jobs.list(kind=PACK_SERIES)] == ["1.2.3.1"]


def test_it_may_be_repeated_and_the_log_opens_after_it(house):
    crash_after_the_log(house, part10("1.2.1"))
    run(house)
    assert run(house) == []
    store = open_store(house, "dicom-1")
    close_store(store)
    assert len(house.instances()) == 1 and len(house.events("log.replayed")) == 1


def test_what_the_index_knows_already_is_known(house):
    """Killed between the transaction and the checkpoint: the same records come again."""
    data = part10("1.2.1")
    log = house.blobs.open_log("dicom-1")
    (location,) = log.append([incoming(house, data)])
    log.sync()
    log.close()
    before = house.blobs.open_log  # the log cannot be opened before it is replayed
    with pytest.raises(Exception, match="Replay"):
        before("dicom-1")
    run(house)
    with house.database.read() as tx:
        assert tx.index.knows_location(location.key, location.offset)
    # the same object arrives in another worker's log, and that one crashes too
    log = house.blobs.open_log("dicom-2")
    log.append([incoming(house, data)])
    log.sync()
    log.close()
    (done,) = run(house)
    assert (done.writer, done.entered, done.known) == ("dicom-2", 0, 1)
    assert len(house.instances()) == 1


def test_objects_that_moved_into_a_pack_since_are_not_entered_twice(house):
    crash_after_the_log(house, part10("1.2.1"))
    run(house)
    Packer(house.database, house.blobs, house.clock, settle=0, rest_share=0).pack("1.2.3.1")
    crash_after_the_log(house, part10("1.2.2", number=2))
    (done,) = run(house)
    assert (done.entered, done.known) == (1, 0)
    assert sorted(i.location.key.partition("/")[0] for i in house.instances()) == ["log", "packs"]


def test_quarantine_and_conflicts_are_decided_as_in_a_round(house):
    crash_after_the_log(house, part10("1.2.1"), part10("1.2.1", pixels=b"othrbyte"))
    crash_after_the_log_again = part10("1.2.5", series="1.2.3.2")
    run(house)
    crash_after_the_log(house, crash_after_the_log_again, quarantine="unknown-device")
    run(house)
    assert [i.sop_instance_uid for i in house.instances()] == ["1.2.1"]
    with house.database.read() as tx:
        assert sorted(held.reason for held in tx.index.quarantine()) == ["conflict", "unknown-device"]


def test_a_log_that_is_open_is_left_to_its_owner(house):
    store = open_store(house, "dicom-1")
    assert run(house) == []
    close_store(store)


def test_a_segment_is_not_swept_before_its_log_was_replayed(house):
    crash_after_the_log(house, part10("1.2.1"))
    run(house)
    Packer(house.database, house.blobs, house.clock, settle=0, rest_share=0).pack("1.2.3.1")
    crash_after_the_log(house, part10("1.2.2", number=2))  # in the same segment, unknown to the index
    assert sweep(house.database, house.blobs).removed == 0
    run(house)
    assert {i.sop_instance_uid for i in house.instances()} == {"1.2.1", "1.2.2"}
    reader = Reader(house.database, house.blobs)
    assert all(reader.matches_hash(i) for i in house.instances())


def test_without_its_checkpoint_a_log_is_replayed_from_its_beginning(house):
    """What helps after a restore of an older database: all that the segments still hold comes in."""
    keep(house, part10("1.2.1"), part10("1.2.2", number=2))
    with house.database.write() as tx:
        for table in ("instance", "series", "study", "blob"):
            tx.connection.execute(f"DELETE FROM {table}")
    house.database.known.forget()
    assert run(house) == []
    (house.root / "log" / "test" / "checkpoint").unlink()
    (done,) = run(house)
    assert done.entered == 2 and len(house.instances()) == 2
    keep(house, part10("1.2.3", number=3))
    assert len(house.instances()) == 3 and run(house) == []
