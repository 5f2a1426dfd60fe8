"""No file descriptors are left: new connections fail, what runs goes on, all is well once some are free."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import support_server
from hounsfield.servers.descriptors import MOST
from support_faults import OUT_OF_RESOURCES, SUCCESS, House

LIMIT = 72


def test_a_role_raises_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From what a shell gives it to what the system allows."""
    limited = ["bash", "-c", 'ulimit -Sn 256; exec "$@"', "limited", *support_server.PROGRAM]
    monkeypatch.setattr(support_server, "PROGRAM", limited)
    archive = support_server.Archive(tmp_path / "house").start()
    try:
        soft, hard = psutil.Process(archive.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == min(hard, MOST) > 256
    finally:
        archive.stop()


async def crowd(house: House, count: int) -> list[socket.socket]:
    """Connections that say nothing."""
    made = []
    for _ in range(count):
        one = socket.socket()
        one.setblocking(False)
        with suppress(BlockingIOError):
            one.connect((house.host, house.port))
        made.append(one)
    await asyncio.sleep(0.3)  # the role meets them; nothing here depends on how far it came
    return made


def test_descriptors_run_out(house: House) -> None:
    role = house.start("dicom", limits={"RLIMIT_NOFILE": LIMIT})

    async def run_out() -> None:
        async with house.association(role) as association:
            assert (await house.store(association, *house.make())).status == SUCCESS
            for _ in range(3):
                strangers = await crowd(house, 120)
                refused = []
                for size in (3000, 400_000, 400_000, 400_000, 1_200_000):
                    each = house.make(size)
                    answer = await house.store(association, *each)
                    assert answer.status in (SUCCESS, OUT_OF_RESOURCES)
                    if answer.status:
                        assert answer.comment
                        refused.append(each)
                for one in strangers:
                    one.close()
                async with house.association(role) as another:  # as soon as it is taken
                    for each in (*refused, house.make(1_200_000)):
                        answer = await house.store(another, *each)
                        assert answer.status == SUCCESS, answer
            assert (await house.store(association, *house.make())).status == SUCCESS

    asyncio.run(run_out())
    role.stop()
    assert set(house.acknowledged) == set(house.sent)
    house.check(unnamed=True)
