"""Who does a round: the thread of the rounds, or the caller that has nothing else to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import get_ident

import pytest

from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location
from hounsfield.hospital.synthetic import ct_series
from hounsfield.ports.blobs import Incoming
from hounsfield.services import rounds
from hounsfield.services.store import Store
from hounsfield.wire.dicomfile.part10 import read_meta
from support_services import CT, House, build, close_store, open_store


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = build(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def store(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(rounds, "HERE_SECONDS", 5.0)  # a busy machine's syncs are slow
    made = open_store(house, settle=60)
    yield made
    close_store(made)


class Told:
    """Hears of one object."""

    def __init__(self) -> None:
        self.thread = 0
        self.status = -1
        self.heard = threading.Event()

    def __call__(self, status: int, reason: str) -> None:
        self.thread, self.status = get_ident(), status
        self.heard.set()


def send(store: Store, part10: bytes, *, alone: bool) -> Told:
    meta = read_meta(part10)
    origin = Origin("dimse", "DEV", "a1", "192.0.2.1")
    receiver = store.begin(CT, meta.sop_instance_uid, meta.transfer_syntax_uid, origin)
    receiver.write(part10[meta.meta_length :])
    told = Told()
    receiver.finish_durable(told, alone=alone)
    return told


def entered(store: Store) -> None:
    barrier = store.rounds.barrier()
    if barrier is not None:
        barrier.result(20)


def test_the_only_sender_is_told_at_once_on_its_own_thread(store: Store, house: House) -> None:
    told = [send(store, part10, alone=True) for part10 in ct_series(20, 16, 16)]
    assert [(each.thread, each.status) for each in told] == [(get_ident(), 0)] * 20
    entered(store)
    assert len(house.instances()) == 20


def test_others_are_told_by_the_thread_of_the_rounds(store: Store) -> None:
    told = send(store, next(ct_series(1, 16, 16)), alone=False)
    assert told.heard.wait(20)
    assert told.thread != get_ident()
    assert told.status == 0


def test_while_a_round_is_under_way_it_waits_its_turn(store: Store) -> None:
    with store.rounds._turn:
        told = send(store, next(ct_series(1, 16, 16)), alone=True)
        assert not told.heard.is_set()
    assert told.heard.wait(20)
    assert told.thread != get_ident()


def test_a_slow_disk_is_not_waited_for(store: Store) -> None:
    """After a slow sync objects go to the thread, until the disk has been fast for a while."""
    store.rounds._pace = 10.0
    objects = ct_series(60, 16, 16)
    told = send(store, next(objects), alone=True)
    assert told.heard.wait(20)
    assert told.thread != get_ident()
    for part10 in objects:
        told = send(store, part10, alone=True)
        assert told.heard.wait(20)
    assert told.thread == get_ident()


def test_a_slow_sync_is_noticed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "HERE_SECONDS", 0.01)
    append = store.log.append_synced

    def slowly(objects: Sequence[Incoming]) -> list[Location]:
        time.sleep(0.02)
        return append(objects)

    monkeypatch.setattr(store.log, "append_synced", slowly)
    objects = ct_series(2, 16, 16)
    assert send(store, next(objects), alone=True).thread == get_ident()
    told = send(store, next(objects), alone=True)
    assert told.heard.wait(20)
    assert told.thread != get_ident()


def test_rounds_of_both_kinds_at_once_lose_nothing(store: Store, house: House) -> None:
    """Several callers that each believe to be alone, and others that do not."""
    told: list[Told] = []

    def run(number: int) -> None:
        for part10 in ct_series(40, 16, 16, key=f"k{number}"):
            told.append(send(store, part10, alone=number % 2 == 0))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each.heard.wait(20) and each.status == 0 for each in told)
    entered(store)
    assert len(house.instances()) == 160
