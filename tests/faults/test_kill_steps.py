"""kill -9 at each step of a store round, of a large object, of a checkpoint, and of replay itself."""

from __future__ import annotations

from typing import Any

import pytest

from support_faults import SUCCESS, House, Role, step

SEGMENT = r"/log/dicom-1/.*\.seg$"
ENTER = "INSERT INTO instance"
CHECKPOINT = r"/log/dicom-1/checkpoint$"
APPEND = "hounsfield.adapters.intake_log.DiskIntakeLog.append"
RESPONSE = "hounsfield.servers.dicom.storage.c_store_rsp"
#: What has become, after the next start, of objects that were never acknowledged.
NOTHING, PERHAPS, ALL = "nothing", "perhaps", "all"


ROUND = {
    "before the append": (step(APPEND), NOTHING),
    "within the append, at its beginning": (step("os.pwritev", "half", share=0.001, path=SEGMENT), NOTHING),
    "within the append, in the middle": (step("os.pwritev", "half", share=0.5, path=SEGMENT), PERHAPS),
    "within the append, at its end": (step("os.pwritev", "half", share=0.97, path=SEGMENT), PERHAPS),
    "written and synced, before the responses": (step("os.pwritev", "after", path=SEGMENT), ALL),
    "within the transaction": (step("COMMIT", having=ENTER), ALL),
    "after the commit": (step("COMMIT", "after", having=ENTER), ALL),
    "after the first response": (step(RESPONSE, "after"), ALL),
}


def armed(house: House, fault: dict[str, Any]) -> dict[str, Any]:
    """The fault, waiting until `arm`."""
    return {**fault, "flag": str(house.folder / "armed")}


def arm(house: House) -> None:
    (house.folder / "armed").touch()


def kept(house: House) -> set[str]:
    with house.archive() as archive, archive.database.read() as tx:
        return {one.sop_instance_uid for one in tx.index.instances()}


def all_goes_on(house: House, *again: tuple[str, bytes]) -> None:
    """What was sent is sent again, as a sender does, and more; then all is well."""
    role = house.start()
    more = [house.make(), house.make(1_200_000)]
    assert {answer.status for answer in house.send(*again, *more)} == {SUCCESS}
    role.stop()
    assert set(house.acknowledged) == set(house.sent)
    house.check(unnamed=True)
    assert not list(house.data.glob("incoming/**/*.part"))


@pytest.mark.parametrize("name", ROUND)
def test_a_round(house: House, name: str) -> None:
    fault, afterwards = ROUND[name]
    role = house.start("dicom", armed(house, fault))
    first = [house.make() for _ in range(3)]
    house.send(*first)
    arm(house)
    killed = [house.make(30_000) for _ in range(4)]
    house.send_until_killed(role, *killed)
    house.check()
    there = kept(house)
    in_flight = {sop for sop, _ in killed} & there
    # those of one round; the other senders' objects may have had no round yet
    if afterwards == NOTHING:
        assert not in_flight
    elif afterwards == ALL:
        assert in_flight
    all_goes_on(house, *first, *killed)


@pytest.mark.parametrize("name", ROUND)
def test_the_very_first_round(house: House, name: str) -> None:
    fault, _ = ROUND[name]
    role = house.start("dicom", fault)
    killed = house.make()
    house.send_until_killed(role, killed)
    house.check()
    all_goes_on(house, killed)


PART = r"/incoming/dicom-1/.*\.part$"
LARGE = {
    "begun": (step("os.write", "after", path=PART), NOTHING),
    "in the middle": (step("os.write", "half", path=PART, n=3), NOTHING),
    "received, before its sync": (step("os.fdatasync", path=PART), NOTHING),
    "synced, before its name": (step("os.rename", path="/large/"), NOTHING),
    "after its name": (step("os.rename", "after", path="/large/"), NOTHING),
    "before its folder is synced": (step("os.fsync", path="/large/"), NOTHING),
    "before its record": (step("os.pwritev", path=SEGMENT), NOTHING),
    "within its record": (step("os.pwritev", "half", share=0.05, path=SEGMENT), NOTHING),
    "after its record": (step("os.pwritev", "after", path=SEGMENT), ALL),
    "within the transaction": (step("COMMIT", having=ENTER), ALL),
    "after the commit": (step("COMMIT", "after", having=ENTER), ALL),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_object(house: House, name: str) -> None:
    fault, afterwards = LARGE[name]
    role = house.start("dicom", armed(house, fault))
    first = house.make(1_100_000)
    house.send(first)
    arm(house)
    killed = house.make(1_300_000)
    house.send_until_killed(role, killed)
    house.check(unnamed=True)
    assert (killed[0] in kept(house)) == (afterwards == ALL)
    all_goes_on(house, first, killed)


CHECKPOINTS = {
    "before its transaction": step("COMMIT", having="INSERT INTO setting"),
    "after its transaction": step("COMMIT", "after", having="INSERT INTO setting"),
    "before it is written": step("os.pwrite", path=CHECKPOINT),
    "within it": step("os.pwrite", "half", share=0.005, path=CHECKPOINT),
    "after it": step("os.pwrite", "after", path=CHECKPOINT),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint(house: House, name: str) -> None:
    role = house.start("dicom", armed(house, CHECKPOINTS[name]))
    objects = [house.make() for _ in range(5)]
    house.send(*objects)
    arm(house)
    late = house.make()
    house.send_until_killed(role, late)  # a checkpoint comes by itself
    house.check()
    all_goes_on(house, *objects, late)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("when", ["before", "half", "after"])
def test_an_orderly_end_that_is_not(house: House, when: str, number: int) -> None:
    """Killed within the last checkpoints, one of which says that the log ends there."""
    constants = {"hounsfield.services.rounds.CHECKPOINT_SECONDS": 60}
    fault = step("os.pwrite", when, share=0.005, path=CHECKPOINT, n=number)
    role = house.start("dicom", armed(house, fault), constants=constants)
    objects = [house.make() for _ in range(5)]
    house.send(*objects)
    arm(house)
    role.ask_to_stop()
    role.died()
    house.check()
    all_goes_on(house, *objects)


REPLAY = {
    "before the first batch is entered": step("COMMIT", having=ENTER),
    "after the first batch is entered": step("COMMIT", "after", having=ENTER),
    "before the second batch is entered": step("COMMIT", having=ENTER, n=2),
    "before the checkpoint": step("os.pwrite", path=CHECKPOINT),
    "within the log's opening": step("os.pwrite", "half", share=0.005, path=CHECKPOINT),
    "after the log's opening": step("os.pwrite", "after", path=CHECKPOINT),
    "within the checkpoint": step("os.pwrite", "half", share=0.005, path=CHECKPOINT, n=2),
    "after the checkpoint": step("os.pwrite", "after", path=CHECKPOINT, n=2),
    "within the clean end": step("os.pwrite", "half", share=0.005, path=CHECKPOINT, n=3),
    "after the clean end": step("os.pwrite", "after", path=CHECKPOINT, n=3),
    "within the next opening": step("os.pwrite", "half", share=0.005, path=CHECKPOINT, n=4),
}


@pytest.mark.parametrize("name", REPLAY)
def test_replay(house: House, name: str) -> None:
    objects = torn_log(house)
    replaying(house, REPLAY[name]).died()
    house.check(unnamed=True)
    assert {sop for sop, _ in objects[:-1]} <= kept(house)
    all_goes_on(house, *objects)


def replaying(house: House, fault: dict[str, Any]) -> Role:
    return house.start("dicom", fault, constants={"hounsfield.services.recovery.BATCH": 2})


def torn_log(house: House) -> list[tuple[str, bytes]]:
    """Acknowledged objects behind no checkpoint, of which the index is made to know nothing; a torn round."""
    database = house.data / "hounsfield.sqlite"
    before = database.read_bytes()
    constants = {"hounsfield.services.rounds.CHECKPOINT_SECONDS": 60}
    torn = armed(house, step("os.pwritev", "half", share=0.001, path=SEGMENT))
    role = house.start("dicom", torn, constants=constants)
    objects = [house.make(20_000) for _ in range(5)] + [house.make(1_200_000)]
    house.send(*objects)
    arm(house)
    objects.append(house.make())
    house.send_until_killed(role, objects[-1])
    for path in house.data.glob("hounsfield.sqlite*"):
        path.unlink()
    database.write_bytes(before)
    (house.folder / "armed").unlink()
    return objects
