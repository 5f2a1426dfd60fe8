"""What a kill must not bring back, leave behind, or make the next start fail at."""

from __future__ import annotations

import json
import random

import pytest
from blake3 import blake3

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.stored import Origin
from hounsfield.ports.blobs import Incoming
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.doctor import Verdict, examine
from hounsfield.services.quarantine import drop
from hounsfield.wire.dicomfile.part10 import build_meta
from support_faults import CT, EXPLICIT_LE, SUCCESS, House, data_set, step, until

NO_CHECKPOINT = {"hounsfield.services.rounds.CHECKPOINT_SECONDS": 3600}
AT_ONCE = {"hounsfield.services.sweeping.LEFT_SECONDS": 0.0, "hounsfield.main.SWEEP_LEFT_SECONDS": 0.05}


def other_content(sop: str, size: int) -> tuple[str, bytes]:
    _, _, _, series, number = sop.split(".")
    return sop, data_set(sop, f"1.2.3.{series}", "1.2.3", int(number), random.Random(99).randbytes(size))


def held(house: House) -> list[int]:
    with house.archive() as archive, archive.database.read() as tx:
        return [one.id for one in tx.index.quarantine()]


def events(house: House, *types: str) -> list[dict[str, object]]:
    with house.archive() as archive, archive.database.read() as tx:
        return [dict(one.event.payload) for one in tx.ledger.read(LedgerFilter(types=types))]


@pytest.mark.parametrize("size", [2000, 1_200_000])
def test_what_a_person_dropped_stays_dropped(house: House, size: int) -> None:
    """The log has it behind its checkpoint, and is replayed."""
    role = house.start(constants=NO_CHECKPOINT)
    sop, data = house.make(size)
    conflict = other_content(sop, size)
    assert [answer.status for answer in house.send((sop, data), conflict, house.make())] == [SUCCESS] * 3
    house.acknowledged[sop] = house.sent[sop]  # the first stays current
    until(lambda: len(held(house)) == 1, "the conflict is held")
    with house.archive() as archive:
        assert drop(archive.database, archive.clock, "user:ada", held(house), "a copy") == 1
    role.kill()
    house.start().stop()
    assert held(house) == []
    house.check(unnamed=True)
    role = house.start(constants=NO_CHECKPOINT)  # it comes again: that is another decision
    assert house.send(conflict)[0].status == SUCCESS
    until(lambda: len(held(house)) == 1, "it is held again")
    role.kill()
    house.start().stop()
    assert len(held(house)) == 1


def test_a_record_that_cannot_be_read_stops_no_start(house: House) -> None:
    """As if another release had taken in what this one cannot read."""
    role = house.start(constants=NO_CHECKPOINT)
    assert house.send(house.make())[0].status == SUCCESS
    role.kill()
    poison = b"\xff" * 300
    meta = build_meta(
        CT, "1.2.3.9.9", EXPLICIT_LE, implementation_class_uid="1.2", implementation_version="X"
    )
    origin = Origin("dimse", "NEWER", "a9", "192.0.2.9")
    blobs = DiskBlobs(house.data, segment_size=1 << 20, spare_segments=0, min_free_bytes=0)
    log = blobs.open_log("dicom-2")
    digest = blake3(poison).digest()
    log.append([Incoming(meta, [poison], None, len(poison), digest, EXPLICIT_LE, origin, 1)])
    log.sync()
    log.close()  # not behind a checkpoint
    blobs.close()
    role = house.start()  # replays both logs
    assert house.send(house.make())[0].status == SUCCESS
    role.stop()
    (told,) = events(house, "instance.set_aside")
    assert (house.data / str(told["file"])).read_bytes() == meta + poison
    with house.archive() as archive:
        house.check_objects(archive)
        findings = [f for f in examine(archive, None, {}, actor="test", deep=True) if f.check == "set aside"]
    assert [f.verdict for f in findings] == [Verdict.PROBLEM] and str(told["file"]) in findings[0].details[0]
    (house.data / str(told["file"])).unlink()
    house.check()


@pytest.mark.parametrize("when", ["before the transaction", "after its name"])
def test_a_pack_that_a_kill_left_goes(house: House, when: str) -> None:
    role = house.start()
    house.send(*[house.make(30_000) for _ in range(3)])
    role.stop()
    fault = (
        step("COMMIT", having="UPDATE series SET generation")
        if when == "before the transaction"
        else step("os.rename", "after", path=r"/packs/")
    )
    house.start("worker", fault).died()
    (left,) = house.data.glob("packs/*/*/*/*.zip")
    worker = house.start("worker", constants=AT_ONCE)
    until(lambda: not left.exists(), "it is removed", output=worker.output)
    until(lambda: events(house, "series.packed"), "the series is packed", output=worker.output)
    worker.stop()
    assert [told["key"] for told in events(house, "blob.removed")] == [str(left.relative_to(house.data))]
    house.check(unpacked=False)


def test_a_large_file_that_a_kill_left_goes_once_its_object_came_again(house: House) -> None:
    big = house.make(1_200_000)
    house.send_until_killed(house.start("dicom", step("os.rename", "after", path=r"/large/")), big)
    (left,) = house.data.glob("large/*/*/*.dcm")
    house.start().stop()
    worker = house.start("worker", constants=AT_ONCE)
    role = house.start()
    assert left.exists(), "it may be all that there is"
    assert house.send(big)[0].status == SUCCESS
    until(lambda: not left.exists(), "it is removed", output=worker.output)
    role.stop()
    worker.stop()
    (told,) = events(house, "blob.removed")
    assert json.dumps(told["objects"]) == json.dumps([big[0]])
    house.check()
