"""The command line against a real archive in a folder, with peers that answer as a test tells them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.adapters.sql.database import open_database
from hounsfield.cli.app import app
from hounsfield.domain.device import Device
from hounsfield.domain.errors import NotFoundError, PeerError
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.clock import SystemClock
from hounsfield.ports.peers import SendResult, SubOperations
from hounsfield.services.archive import Archive
from hounsfield.services.rounds import Rounds
from hounsfield.services.store import Store
from hounsfield.settings import Settings
from support_services import part10


@dataclass
class FakePeers:
    """Remembers what it was asked; answers with what the test put in."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    async def echo(self, peer: Device) -> Mapping[str, str]:
        self.asked.append(("echo", peer))
        if peer.host == "nowhere":
            raise PeerError("NOWHERE does not answer", "Check the address")
        return {"implementation_version": "FAKE_1"}

    async def find(
        self, peer: Device, model: str, level: Level, identifier: Mapping[str, str]
    ) -> AsyncIterator[Mapping[str, str]]:
        self.asked.append(("find", peer, model, level, dict(identifier)))
        for row in self.rows:
            yield row

    async def move(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        destination: str,
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        self.asked.append(("move", peer, level, dict(identifier), destination))
        return SubOperations(completed=2, failed=1, failures=[SendResult("1.2.9", 0xA702, "no room")])

    async def get(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        self.asked.append(("get", peer, level, dict(identifier)))
        return SubOperations(completed=3)

    async def send(
        self,
        peer: Device,
        instances: Sequence[StoredInstance],
        progress: Callable[[SendResult], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        originator: tuple[str, int] | None = None,
    ) -> None:
        self.asked.append(("send", peer, [i.sop_instance_uid for i in instances]))
        statuses = self.statuses or [0] * len(instances)
        for instance, status in zip(instances, statuses, strict=True):
            progress(SendResult(instance.sop_instance_uid, status, "refused" if status else ""))


class FakeWiring:
    """`cli.wiring.Wiring` without processes."""

    def __init__(self) -> None:
        self.known = FakePeers()
        self.started: list[tuple[Any, ...]] = []

    @contextmanager
    def open(self, settings: Settings, *, make: bool = False) -> Iterator[Archive]:
        if not make and not (settings.data / "hounsfield.sqlite").exists():
            raise NotFoundError(f"There is no archive in {settings.data}", "Start one")
        settings.data.mkdir(parents=True, exist_ok=True)
        clock = SystemClock()
        database = open_database(settings.database_url, "cli", clock)
        database.migrate()
        blobs = DiskBlobs(settings.data, segment_size=1 << 20, spare_segments=0, min_free_bytes=0)
        try:
            yield Archive(settings, database, blobs, clock, self.known)
        finally:
            blobs.close()
            database.close()

    @contextmanager
    def store(self, archive: Archive, purpose: str) -> Iterator[Store]:
        log = archive.blobs.open_log(purpose)
        rounds = Rounds(log, archive.database, archive.clock, writer=purpose, settle=60)
        store = Store(rounds, archive.clock, large=1 << 20, budget=64 << 20)
        try:
            yield store
        finally:
            store.close()
            log.close()

    def peers(
        self, settings: Settings, archive: Archive | None = None, store: Store | None = None
    ) -> FakePeers:
        return self.known

    def serve(self, settings: Settings, config: Path | None, *, demo: bool) -> None:
        self.started.append(("serve", settings, config, demo))

    def run_dicom(self, settings: Settings, name: str) -> None:
        self.started.append(("dicom", settings, name))

    def run_worker(self, settings: Settings, name: str) -> None:
        self.started.append(("worker", settings, name))


class Terminal:
    """Runs commands on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.wiring = FakeWiring()

    def run(self, *words: str, code: int = 0, text: str = "", where: bool = True) -> Any:
        """Run `hounsfield <words>`; fails the test where the exit code is another than `code`."""
        data = ["--data", str(self.data)] if where else []
        result = CliRunner().invoke(app, [*words, *data], obj=self.wiring, input=text)
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result

    def json(self, *words: str, code: int = 0, text: str = "") -> Any:
        """The JSON that a command prints."""
        return json.loads(self.run(*words, "--json", code=code, text=text).stdout)

    @contextmanager
    def archive(self) -> Iterator[Archive]:
        with self.wiring.open(Settings(data=self.data), make=True) as archive:
            yield archive

    def keep(self, folder: Path, *sops: str, **more: Any) -> None:
        """Import objects made for the test."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, sop in enumerate(sops, 1):
            (folder / f"{sop}.dcm").write_bytes(part10(sop, number=number, **more))
        self.run("import", str(folder))

    def events(self, kind: str) -> list[dict[str, Any]]:
        return list(self.json("ledger", "--type", kind))
