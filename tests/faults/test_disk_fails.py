"""A disk that is full, read-only or failing: A700 with a reason on an association that stays."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from hounsfield.net.association import Association
from support_faults import ON_THE_LOOP, OUT_OF_RESOURCES, SUCCESS, Answer, House, Role, step

SMALL, LARGE = 3_000, 1_300_000
#: Which calls fail: what is written to the log, to large objects, and what makes room for them.
EVERY_WRITE = (
    step("os.pwritev", path=r"/log/dicom-1/"),
    step("os.write", path=r"/incoming/"),
    step("os.posix_fallocate", path=r"/log/"),
    step("os.pwrite", path=r"/log/.*checkpoint$"),
    step("os.mkdir", path=r"/(large|incoming)"),
    step("os.rename", path=r"/large/"),
)
CASES = {
    "disk full": (EVERY_WRITE, "ENOSPC", "disk is full"),
    "quota used up": (EVERY_WRITE, "EDQUOT", "disk is full"),
    "read-only": (
        (*EVERY_WRITE, step("os.open", path=r"/incoming/.*part"), step("os.unlink")),
        "EROFS",
        "read-only",
    ),
    "input/output error": (EVERY_WRITE, "EIO", "disk failed"),
    "sync fails": (
        (step("os.fdatasync", path=r"\.part$"), step("os.pwritev", "half", share=0.9, path=r"\.seg$")),
        "EIO",
        "disk failed",
    ),
    "no large files": ((step("os.open", path=r"/incoming/.*part"),), "ENOSPC", ""),
    "no folders": ((step("os.mkdir"),), "ENOSPC", ""),
}


@dataclass
class Trouble:
    """The faults of a role strike while it lasts."""

    flag: Path

    def begin(self) -> None:
        self.flag.touch()

    def end(self) -> None:
        self.flag.unlink()


async def trouble_and_after(house: House, role: Role, trouble: Trouble, size: int) -> list[Answer]:
    """On one association: before, while, and after something is wrong. The answers of the time of trouble."""
    async with house.association(role) as association:
        for _ in range(3):
            assert (await house.store(association, *house.make(size))).status == SUCCESS
        trouble.begin()
        refused = [house.make(size) for _ in range(3)]
        answers = [await house.store(association, *each) for each in refused]
        await asyncio.sleep(0.2)  # checkpoints, too, come in this time
        trouble.end()
        for each in refused:
            assert (await house.store(association, *each)).status == SUCCESS, "after the trouble is over"
        assert (await house.store(association, *house.make(SMALL))).status == SUCCESS
    return answers


@pytest.mark.parametrize(
    ("size", "constants"),
    [(SMALL, {}), (SMALL, ON_THE_LOOP), (LARGE, {})],
    ids=["small", "small-on-the-loop", "large"],
)
@pytest.mark.parametrize("name", CASES)
def test_refused_while_it_lasts(house: House, name: str, size: int, constants: dict[str, object]) -> None:
    faults, error, said = CASES[name]
    trouble = Trouble(house.folder / "trouble")
    planted = [{**fault, "error": error, "flag": str(trouble.flag)} for fault in faults]
    role = house.start("dicom", *planted, constants=constants)
    answers = asyncio.run(trouble_and_after(house, role, trouble, size))
    small_too = name not in ("no large files", "no folders")
    for answer in answers if size == LARGE or small_too else ():
        if name != "no folders":  # which may be there already
            assert answer.status == OUT_OF_RESOURCES
            assert said in answer.comment
            assert answer.comment
    role.kill()
    house.check(unnamed=True, torn=True)  # a segment that could not be synced is left as it is
    role = house.start()
    role.stop()
    assert set(house.acknowledged) == set(house.sent)
    house.check(unnamed=True, torn=True)
    assert not list(house.data.glob("incoming/**/*.part"))


def test_the_reserve_is_kept(house: House) -> None:
    role = house.start()
    house.send(house.make())
    role.stop()
    house.environment["HOUNSFIELD_MIN_FREE"] = str(1 << 30)
    role = house.start()
    refused = [house.make(SMALL), house.make(LARGE)]
    for answer in house.send(*refused):
        assert answer.status == OUT_OF_RESOURCES
        assert "are left on the disk" in answer.comment
    role.stop()
    house.environment["HOUNSFIELD_MIN_FREE"] = "0"
    house.check()


@pytest.fixture
def small_disk(house: House) -> Iterator[House]:
    """The data folder on a file system of its own of 24 MiB."""
    database = (house.data / "hounsfield.sqlite").read_bytes()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(house.data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    (house.data / "hounsfield.sqlite").write_bytes(database)
    yield house
    house.end()
    subprocess.run(["umount", house.data], check=True)


def fill(disk: Path) -> Path:
    """Until nothing more goes in; the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


async def store_until_refused(house: House, association: Association, size: int) -> list[tuple[str, bytes]]:
    refused: list[tuple[str, bytes]] = []
    while len(refused) < 3:
        each = house.make(size)
        answer = await house.store(association, *each)
        if answer.status != SUCCESS:
            assert answer.status == OUT_OF_RESOURCES
            assert answer.comment
            refused.append(each)
    return refused


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_disk_that_is_really_full(small_disk: House, size: int, killed: bool) -> None:
    """Log, large objects and database stand on it; the last one may have no room before the others."""
    house = small_disk

    async def fill_and_free() -> Role:
        role = house.start()
        async with house.association(role) as association:
            assert (await house.store(association, *house.make(size))).status == SUCCESS
            filler = fill(house.data)
            refused = await store_until_refused(house, association, size)
            if killed:
                role.kill()
            filler.unlink()
            if not killed:
                await store_again(house, association, refused)
        if killed:
            role = house.start()
            async with house.association(role) as association:
                await store_again(house, association, refused)
        return role

    asyncio.run(fill_and_free()).stop()
    assert set(house.acknowledged) == set(house.sent)
    house.check(unnamed=True)


async def store_again(house: House, association: Association, objects: list[tuple[str, bytes]]) -> None:
    for each in objects:
        answer = await house.store(association, *each)
        while answer.status and "left on the disk" in answer.comment:  # which is looked at once a second
            answer = await house.store(association, *each)
        assert answer.status == SUCCESS, answer
