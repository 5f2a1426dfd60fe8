"""kill -9 at each step of packing, of removing emptied segments, and of using them again."""

from __future__ import annotations

import pytest

from hounsfield.ports.jobs import JobState
from support_faults import SUCCESS, House, step, until

PACK = r"/incoming/\.packs/"
PLACED = r"/packs/"
RELOCATE = "UPDATE series SET generation"


@pytest.fixture
def settled(house: House) -> House:
    """Acknowledged objects of two series, one of them large, and a clean end."""
    role = house.start()
    objects = [house.make(30_000, series=series) for series in (1, 2) for _ in range(4)]
    house.send(*objects, house.make(1_200_000))
    role.stop()
    return house


def packed(house: House) -> bool:
    """Whether the worker has nothing more to do."""
    with house.archive() as archive, archive.database.read() as tx:
        assert tx.jobs.list(state=JobState.DEAD) == []
        if tx.jobs.counts() or tx.index.unused_blobs(""):
            return False
        keys = {one.location.key.partition("/")[0] for one in tx.index.instances()}
        return keys <= {"packs", "large"}


def worker_finishes(house: House) -> None:
    worker = house.start("worker")
    until(lambda: packed(house), "everything is packed", output=worker.output)
    worker.kill()
    house.check(unnamed=True, unpacked=False)


PACKING = {
    "begun": step("os.pwritev", path=PACK),
    "within a member": step("os.pwritev", "half", path=PACK, n=3),
    "within its directory": step("os.pwritev", "half", path=PACK, n=6),
    "before its sync": step("os.fsync", path=PACK),
    "before its name": step("os.rename", path=PLACED),
    "after its name": step("os.rename", "after", path=PLACED),
    "before its folder is synced": step("os.fsync", path=PLACED),
    "before the transaction": step("COMMIT", having=RELOCATE),
    "after the transaction": step("COMMIT", "after", having=RELOCATE),
    "before the job is done": step("COMMIT", having="DELETE FROM job"),
    "after the job is done": step("COMMIT", "after", having="DELETE FROM job"),
}


@pytest.mark.parametrize("name", PACKING)
def test_a_pack(settled: House, name: str) -> None:
    settled.start("worker", PACKING[name]).died()
    settled.check(unnamed=True)
    worker_finishes(settled)


SWEEPING = {
    "before a segment leaves": step("os.rename", path=r"/used-"),
    "after a segment left": step("os.rename", "after", path=r"/used-"),
    "before its row goes": step("COMMIT", having="DELETE FROM blob"),
    "after its row went": step("COMMIT", "after", having="DELETE FROM blob"),
}


@pytest.mark.parametrize("name", SWEEPING)
def test_a_sweep(settled: House, name: str) -> None:
    settled.start("worker", SWEEPING[name]).died()
    settled.check(unnamed=True)
    worker_finishes(settled)


SPARES = {
    "before it is renewed": step("os.pwrite", path=r"/used-"),
    "within its new header": step("os.pwrite", "half", share=0.005, path=r"/used-"),
    "after its new header": step("os.fdatasync", "after", path=r"/used-"),
    "before it is a spare": step("os.rename", path=r"/used-.*\n.*/spare-"),
    "after it is a spare": step("os.rename", "after", path=r"/used-.*\n.*/spare-"),
    "within a new one": step("os.write", path=r"/log/\.spare/new-", n=2),
    "before a new one has its name": step("os.rename", path=r"/new-"),
    "before it is taken": step("os.rename", path=r"/dicom-1/[0-9]+-"),
    "after it is taken": step("os.rename", "after", path=r"/dicom-1/[0-9]+-"),
    "before its folder is synced": step("os.fsync", path=r"/log/dicom-1$"),
    "before a fresh one is filled": step("os.posix_fallocate", path=r"/fresh-"),
    "before a fresh one has its header": step("os.pwrite", path=r"/fresh-"),
    "before a fresh one has its name": step("os.rename", path=r"/fresh-"),
}


@pytest.mark.parametrize("name", SPARES)
def test_a_segment_that_is_used_again(settled: House, name: str) -> None:
    worker_finishes(settled)
    if "fresh" in name or "new one" in name:
        for spare in settled.data.glob("log/.spare/*.seg"):
            spare.unlink()
    if "fresh" in name:
        settled.environment["HOUNSFIELD_SPARE_SEGMENTS"] = "0"
    role = settled.start("dicom", SPARES[name])
    objects = [settled.make(200_000) for _ in range(12)]  # more than a segment
    settled.send_until_killed(role, *objects, at_once=False)
    settled.check(unnamed=True)
    settled.environment["HOUNSFIELD_SPARE_SEGMENTS"] = "1"
    role = settled.start()
    assert {answer.status for answer in settled.send(*objects)} == {SUCCESS}
    role.stop()
    settled.check(unnamed=True)
    worker_finishes(settled)
    left = {path.name.partition("-")[0] for path in settled.data.glob("log/.spare/*-*")}
    assert left <= {"used", "spare", "fresh"}
