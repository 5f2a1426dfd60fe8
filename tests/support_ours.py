"""Our own client (`adapters.peers_dimse`) over a small archive in the test's process."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hounsfield.adapters.peers_dimse import DimsePeers, PeerSettings
from hounsfield.domain.device import Device
from hounsfield.domain.query import Level
from hounsfield.ports.peers import SendResult, SubOperations
from hounsfield.services.datasets import DataSets
from hounsfield.services.reading import Reader
from hounsfield.services.store import Store
from support_services import House, build, close_store, keep, open_store

T = TypeVar("T")


class NoTranscoder:
    """Every object goes as it is stored."""

    def targets(self, transfer_syntax_uid: str) -> tuple[str, ...]:
        return ()

    def convert(self, data_set: bytes, transfer_syntax_uid: str, target: str) -> bytes:
        raise AssertionError("nothing is to be converted")


class Ours:
    """A house, and the client that sends from it and stores into it."""

    def __init__(
        self,
        house: House,
        *,
        title: str = "HOUNSFIELD",
        seconds: float = 20,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.house = house
        self.store: Store | None = None
        self.settings = PeerSettings(title, connect_seconds=5, answer_seconds=seconds, tls=tls)
        self.reader = Reader(house.database, house.blobs)

    def peers(self) -> DimsePeers:
        return DimsePeers(self.settings, DataSets(self.reader), NoTranscoder(), self.store)

    def keep(self, *files: bytes) -> None:
        keep(self.house, *files)

    def echo(self, peer: Device) -> Mapping[str, str]:
        return asyncio.run(self.peers().echo(peer))

    def find(self, peer: Device, level: Level, model: str = "study", **keys: str) -> list[Mapping[str, str]]:
        async def gather() -> list[Mapping[str, str]]:
            return [found async for found in self.peers().find(peer, model, level, keys)]

        return asyncio.run(gather())

    def send(self, peer: Device, **where: Any) -> list[SendResult]:
        results: list[SendResult] = []
        asyncio.run(self.peers().send(peer, self.house.instances(**where), results.append))
        return results

    def move(
        self, peer: Device, level: Level, destination: str, model: str = "", **keys: str
    ) -> SubOperations:
        return asyncio.run(self.peers().move(peer, level, keys, destination, model=model))

    def get(self, peer: Device, level: Level, model: str = "", **keys: str) -> SubOperations:
        self.store = open_store(self.house)
        try:
            return asyncio.run(self.peers().get(peer, level, keys, model=model))
        finally:
            close_store(self.store)
            self.store = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    @property
    def uids(self) -> set[str]:
        return {i.sop_instance_uid for i in self.house.instances()}


@contextmanager
def ours(folder: Path, **more: Any) -> Iterator[Ours]:
    house = build(folder / "ours")
    try:
        yield Ours(house, **more)
    finally:
        house.close()


def peer(port: int, title: str = "SCP", **more: Any) -> Device:
    return Device(name=title.lower(), ae_title=title, host="127.0.0.1", port=port, **more)


def statuses(results: Sequence[SendResult]) -> list[int]:
    return [result.status for result in results]
