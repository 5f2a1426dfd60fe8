"""kill -9 at random instants under load, again and again on the same data folder."""

from __future__ import annotations

import asyncio
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from blake3 import blake3

from conftest import find_program
from hounsfield.wire.dicomfile.part10 import read_meta
from support_faults import EXPLICIT_LE, ON_THE_LOOP, SUCCESS, House, until

RUNS, KILLS, CHECK_EVERY = 4, 52, 13
#: In the last run there is one alone, whose rounds are done on the event loop.
SENDERS = (2, 2, 2, 1)


async def send_for_ever(house: House, chance: random.Random, series: int) -> None:
    """One modality: it comes back after every end of its association, and sends again what had no answer."""
    waiting: list[tuple[str, bytes]] = []
    while True:
        with suppress(OSError, TimeoutError):
            async with house.association() as association:
                while True:
                    if not waiting:
                        size = chance.choices((500, 8_000, 150_000, 1_100_000), (40, 50, 8, 2))[0]
                        waiting.append(house.make(size, series=series))
                    answer = await house.store(association, *waiting[-1])
                    assert answer.status == SUCCESS, answer
                    waiting.pop()


async def kill_and_kill_again(house: House, seed: int) -> None:
    chance = random.Random(seed)
    senders = [
        asyncio.create_task(send_for_ever(house, random.Random(seed * 100 + number), 10 * seed + number))
        for number in range(SENDERS[seed])
    ]
    constants = ON_THE_LOOP if len(senders) == 1 else {}
    worker = house.start("worker")
    for number in range(1, KILLS + 1):
        role = house.start("dicom", constants=constants)
        before = len(house.acknowledged)
        if chance.random() < 0.8:  # else within its start, which replays
            while len(house.acknowledged) == before:
                await asyncio.sleep(0.002)
                assert role.alive(), role.output.read_text()[-3000:]
                for sender in senders:
                    assert not sender.done(), sender.result()
        await asyncio.sleep(chance.uniform(0, 0.12))
        if chance.random() < 0.4:
            worker.kill()
            worker = house.start("worker")
        role.kill()
        if number % CHECK_EVERY == 0:
            worker.kill()
            house.check(unnamed=True)
            worker = house.start("worker")
    worker.kill()
    for sender in senders:
        sender.cancel()
    await asyncio.gather(*senders, return_exceptions=True)


@pytest.mark.parametrize("seed", range(RUNS))
def test_whatever_instant_it_is(house: House, tmp_path: Path, seed: int) -> None:
    asyncio.run(kill_and_kill_again(house, seed))
    assert len(house.acknowledged) > 2 * KILLS
    assert len(set(house.sent) - set(house.acknowledged)) <= SENDERS[seed]
    role = house.start()
    until(role.ready, "the last start", output=role.output)
    assert not list(house.data.glob("incoming/dicom-1/*"))
    with house.archive() as archive, archive.database.read() as tx:
        kept = {one.sop_instance_uid for one in tx.index.instances()}
    if find_program("getscu") is not None:
        found, got = ask_dcmtk(house, tmp_path)
        assert found == kept
        assert got == {uid: house.sent[uid] for uid in kept}
    role.stop()
    house.check(unnamed=True)


def ask_dcmtk(house: House, folder: Path) -> tuple[set[str], dict[str, bytes]]:
    """What C-FIND at image level tells of the study, and what C-GET brings of it (UID -> BLAKE3)."""
    answers, objects = folder / "answers", folder / "objects"
    answers.mkdir()
    objects.mkdir()
    address = ["-aec", "HOUNSFIELD", house.host, str(house.port)]
    keys = ["-k", "StudyInstanceUID=1.2.3"]
    found = set()
    for series in sorted({uid.rpartition(".")[0] for uid in house.sent}):
        level = [
            "-k",
            "QueryRetrieveLevel=IMAGE",
            "-k",
            f"SeriesInstanceUID={series}",
            "-k",
            "SOPInstanceUID",
        ]
        subprocess.run(
            ["findscu", "-S", "-X", "-od", answers, *keys, *level, *address], check=True, timeout=60
        )
        found |= {str(pydicom.dcmread(path).SOPInstanceUID) for path in answers.iterdir()}
        for path in answers.iterdir():
            path.unlink()
    level = ["-k", "QueryRetrieveLevel=STUDY"]
    subprocess.run(["getscu", "-S", "+B", "-od", objects, *keys, *level, *address], check=True, timeout=100)
    got = {}
    for path in objects.iterdir():
        data = path.read_bytes()
        meta = read_meta(data)
        assert meta.transfer_syntax_uid == EXPLICIT_LE
        got[meta.sop_instance_uid] = blake3(data[meta.meta_length :]).digest()
    return found, got
