"""A power cut at random instants: what was not synced is lost, in part, or torn; nothing acknowledged is."""

from __future__ import annotations

import random
import re
import threading

import pytest

from hounsfield.adapters import segment_pool
from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.adapters.sql.database import open_database
from hounsfield.domain.errors import BlobMovedError
from hounsfield.domain.stored import Origin
from hounsfield.ports.clock import SystemClock
from hounsfield.services import rounds as rounds_module
from hounsfield.services.packing import Packer
from hounsfield.services.recovery import recover
from hounsfield.services.rounds import Rounds
from hounsfield.services.store import Store
from hounsfield.services.sweeping import sweep
from support_faults import CT, EXPLICIT_LE, House
from support_power import PowerDisk, forget

SEGMENT = 64 << 10
LARGE = 30_000
SENDERS, OBJECTS = 3, 14


def send(house: House, store: Store, seed: int, series: int) -> None:
    """One modality: each object waits for the answer to the one before."""
    chance = random.Random(seed)
    for _ in range(OBJECTS):
        sop, data = house.make(chance.choice((300, 5_000, 20_000, 45_000)), series=series)
        receiver = store.begin(CT, sop, EXPLICIT_LE, Origin("dimse", "CT", f"a{series}", "192.0.2.1"))
        for start in range(0, len(data), 16_384):
            receiver.write(memoryview(data)[start : start + 16_384])
        answered = threading.Event()

        def told(status: int, why: str, sop: str = sop, answered: threading.Event = answered) -> None:
            assert status == 0, why
            house.acknowledged[sop] = house.sent[sop]
            answered.set()

        receiver.finish_durable(told)
        assert answered.wait(20)


def pack_and_sweep(disk: DiskBlobs, packer: Packer, series: range, until: threading.Event) -> None:
    while not until.is_set():
        for number in series:
            try:
                packer.pack(f"1.2.3.{number}")
            except BlobMovedError:
                continue
        sweep(packer.database, disk)


def cut_at_random(house: House, power: PowerDisk, cuts: int, *, likely: float = 0.1) -> list[House]:
    """What the cuts leave: it fills while work is done."""
    left: list[House] = []
    chance = random.Random(cuts)

    def perhaps_cut() -> None:
        if len(left) < cuts and chance.random() < likely:
            folder = house.folder / f"cut-{len(left)}"
            then = House(folder, house.nursery, dict(house.sent), dict(house.acknowledged))
            power.cut(then.data)
            left.append(then)

    power.before = perhaps_cut
    return left


def day(house: House, patch: pytest.MonkeyPatch, seed: int, cuts: int, lies: str = "") -> list[House]:
    """A busy day of one archive; what power cuts at random instants of it would have left, each a house."""
    patch.setattr(rounds_module, "CHECKPOINT_SECONDS", 0.02)
    patch.setattr(segment_pool, "_IDLE_SECONDS", 0.0)
    chance = random.Random(seed)
    power = PowerDisk(house.data, house.data / "hounsfield.sqlite", chance)
    if lies:
        power.lies = re.compile(lies)
    left = cut_at_random(house, power, cuts)
    with patch.context() as watching:
        power.watch(watching)
        clock = SystemClock()
        database = open_database(f"sqlite:///{house.data / 'hounsfield.sqlite'}", "test", clock)
        disk = DiskBlobs(
            house.data, segment_size=SEGMENT, spare_segments=2, min_free_bytes=0, recycle_grace=0.0
        )
        log = disk.open_log("dicom-1")
        rounds = Rounds(log, database, clock, writer="dicom-1", settle=0.0, remove=disk.remove)
        store = Store(rounds, clock, large=LARGE, budget=200_000)
        over = threading.Event()
        series = range(1, SENDERS + 1)
        packer = Packer(database, disk, clock, settle=0, rest_share=0)
        packing = threading.Thread(target=pack_and_sweep, args=(disk, packer, series, over))
        senders = [threading.Thread(target=send, args=(house, store, seed * 10 + n, n)) for n in series]
        for thread in (packing, *senders):
            thread.start()
        for sender in senders:
            sender.join()
        over.set()
        packing.join()
        store.close()
        log.close()
        disk.close()
        database.close()
    assert len(house.acknowledged) == SENDERS * OBJECTS
    house.check(unnamed=True)
    return left


@pytest.mark.parametrize("seed", range(6))
def test_nothing_acknowledged_is_lost(house: House, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    left = day(house, monkeypatch, seed, cuts=50)
    assert len(left) >= 20
    assert any(then.acknowledged for then in left)
    for then in left:
        then.check(unnamed=True, torn=True)
        forget(then.folder)


def test_a_second_cut_within_the_replay_after_the_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0
    for number, first in enumerate(day(house, monkeypatch, 17, cuts=16)):
        with monkeypatch.context() as watching, first.archive() as archive:
            with archive.database.read():  # from here on a connection is open: SQLite leaves its file alone
                power = PowerDisk(first.data, first.data / "hounsfield.sqlite", random.Random(number))
            left = cut_at_random(first, power, 4, likely=0.3)
            power.watch(watching)
            recover(archive.database, archive.blobs, archive.clock, settle=0)
            log = archive.blobs.open_log("dicom-1")
            power.before = lambda: None
            log.close()
        for second in left:
            second.check(unnamed=True, torn=True)
        seconds += len(left)
        forget(first.folder)
    assert seconds >= 10


LIES = {
    "segments": r"\.seg$",
    "large objects": r"/incoming/dicom-1/",
    "names of large objects": r"/large/",
    "packs": r"/incoming/\.packs/",
    "names of packs": r"/packs/|/\.packs$",
    "the database": "COMMIT",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_sync_that_is_left_out_would_be_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Proves the test above: a disk that only pretends to sync loses objects."""

    def is_whole(then: House) -> bool:
        try:
            then.check(unnamed=True, torn=True)
        except Exception:
            return False
        finally:
            forget(then.folder)
        return True

    template = (house.data / "hounsfield.sqlite").read_bytes()
    for seed in range(5):  # what is lost depends on the threads of a day
        again = House(house.folder / str(seed), house.nursery)
        again.data.mkdir(parents=True)
        (again.data / "hounsfield.sqlite").write_bytes(template)
        if not all(is_whole(then) for then in day(again, monkeypatch, seed, cuts=40, lies=LIES[lie])):
            return
    raise AssertionError("nothing was lost")
