"""A power cut at random instants: what was not synced is lost, in part, or torn; nothing acknowledged is."""

from __future__ import annotations

import random
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


def day(house: House, patch: pytest.MonkeyPatch, seed: int, cuts: int, lies: tuple[str, ...] = ()) -> list[House]:
    """A busy day of one archive; what power cuts at random instants of it would have left, each a house."""
    patch.setattr(rounds_module, "CHECKPOINT_SECONDS", 0.02)
    patch.setattr(segment_pool, "_IDLE_SECONDS", 0.0)
    chance = random.Random(seed)
    power = PowerDisk(house.data, house.data / "hounsfield.sqlite", chance)
    power.lies = lies
    left: list[House] = []

    def perhaps_cut() -> None:
        if len(left) < cuts and chance.random() < 0.06:
            folder = house.folder / f"cut-{len(left)}"
            then = House(folder, house.nursery, dict(house.sent), dict(house.acknowledged))
            power.cut(then.data)
            left.append(then)

    power.before = perhaps_cut
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


@pytest.mark.parametrize("seed", range(4))
def test_nothing_acknowledged_is_lost(house: House, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    left = day(house, monkeypatch, seed, cuts=40)
    assert len(left) >= 20
    assert any(then.acknowledged for then in left)
    for then in left:
        then.check(unnamed=True, torn=True)
        forget(then.folder)


@pytest.mark.parametrize("lie", [".seg", "/large/", "incoming/dicom-1", "/packs/", "incoming/.packs"])
def test_a_sync_that_is_left_out_would_be_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    """Proves the test above: a disk that only pretends to sync loses objects."""
    left = day(house, monkeypatch, 1, cuts=40, lies=(lie,))

    def is_whole(then: House) -> bool:
        try:
            then.check(unnamed=True, torn=True)
        except Exception:
            return False
        return True

    assert not all(is_whole(then) for then in left)
