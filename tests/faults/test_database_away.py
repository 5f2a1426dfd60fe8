"""The database goes and comes back under load: objects wait or are refused, none acknowledged is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from support_faults import OUT_OF_RESOURCES, SUCCESS, House, Role


class Load:
    """Modalities that send again what was refused or had no answer; counts what happened."""

    def __init__(self, house: House, role: Role, senders: int = 2) -> None:
        self.house = house
        self.role = role
        self.refused = 0
        self.tasks = [asyncio.create_task(self._send(10 + number)) for number in range(senders)]

    async def _send(self, series: int) -> None:
        waiting: tuple[str, bytes] | None = None
        while True:
            with suppress(OSError, TimeoutError):
                async with self.house.association(self.role) as association:
                    while True:
                        waiting = waiting or self.house.make(3000, series=series)
                        answer = await self.house.store(association, *waiting)
                        assert answer.status in (SUCCESS, OUT_OF_RESOURCES), answer
                        if answer.status == SUCCESS:
                            waiting = None
                        else:
                            assert answer.comment
                            self.refused += 1
                            await asyncio.sleep(0.02)

    async def acknowledged(self, more: int) -> None:
        """Until so many more are."""
        goal = len(self.house.acknowledged) + more
        while len(self.house.acknowledged) < goal:
            for task in self.tasks:
                assert not task.done(), task.result()
            if not self.role.alive():  # what a supervisor does
                assert self.role.wait() == 1, self.role.output.read_text()
                self.role = self.house.start()
            await asyncio.sleep(0.005)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def everything_is_there(house: House, role: Role, codes: tuple[int, ...] = (0,)) -> None:
    role.ask_to_stop()
    assert role.wait() in codes, role.output.read_text()
    assert len(house.sent) - len(house.acknowledged) <= 2
    house.check(unnamed=True)


@pytest.mark.parametrize("lock_timeout", [0.1, 30.0])
def test_another_process_locks_sqlite(house: House, lock_timeout: float) -> None:
    """A backup tool, say, that holds the write lock for seconds: longer, or shorter, than we wait for it."""
    constants = {
        "hounsfield.adapters.sql.sqlite.SqliteDatabase.__init__": {"lock_timeout": lock_timeout},
        "hounsfield.services.indexing.RETRY_SECONDS": 0.05,
    }
    role = house.start("dicom", constants=constants)

    async def lock_and_unlock() -> None:
        load = Load(house, role)
        await load.acknowledged(20)
        for _ in range(3):
            other = sqlite3.connect(house.data / "hounsfield.sqlite", isolation_level=None, timeout=30)
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(0.8)
            other.execute("ROLLBACK")
            other.close()
            await load.acknowledged(20)
        await load.end()

    asyncio.run(lock_and_unlock())
    everything_is_there(house, role)


@pytest.fixture
def on_postgres(house: House, postgres: Any) -> House:
    house.environment["HOUNSFIELD_DATABASE"] = postgres.new_database()
    return house


async def away(house: House, happens: Callable[[], object], comes_back: Callable[[], object]) -> Role:
    """Three times. The role that lives in the end."""
    load = Load(house, house.start())
    await load.acknowledged(30)
    for _ in range(3):
        await asyncio.to_thread(happens)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(comes_back)
        await load.acknowledged(30)
    await load.end()
    return load.role


def test_postgresql_is_restarted(on_postgres: House, postgres: Any) -> None:
    role = asyncio.run(away(on_postgres, lambda: postgres.stop("fast"), postgres.start))
    assert len(on_postgres.roles) == 1, "nothing is lost, so nothing has to start again"
    everything_is_there(on_postgres, role)


def test_postgresql_crashes(on_postgres: House, postgres: Any) -> None:
    """Commits that it had confirmed and not synced are gone, and the role that made them lives on."""
    role = asyncio.run(away(on_postgres, lambda: postgres.stop("immediate"), postgres.start))
    everything_is_there(on_postgres, role, (0, 1))
