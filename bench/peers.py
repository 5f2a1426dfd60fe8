"""The servers under test, each started fresh in a folder of its own under .bench/, at its default settings
but for ports and folders. TCP_NODELAY=1 is in the environment of all, since DCMTK heeds it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench import pdus
from hounsfield.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".bench"
HOST = "127.0.0.1"
KEEP = "BENCH_KEEP"  # in the environment: leave the sweeping to whoever set it


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


#: What a server's folder is called: its name, the benchmark's process id, something new.
_FOLDER = re.compile(r"[a-z]+-(\d+)-\w{8}")


def sweep() -> None:
    """Remove the folders of all servers that ran, once nothing is measured any more: at the end of every
    benchmark that started one, also of one that is interrupted or fails.

    For a minute after a file was removed ext4 will not use its inode again, and searches past all of those
    with every file it makes: whoever makes a file for each object would be measured several times too slow.
    """
    if os.environ.get(KEEP):
        return
    found = [(folder, _FOLDER.fullmatch(folder.name)) for folder in WORK.glob("*-*-*")]
    gone = [folder for folder, parts in found if parts and not _in_use(int(parts[1]))]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    if gone:
        os.sync()
        (WORK / "swept").touch()


def _in_use(benchmark: int) -> bool:
    """Whether the benchmark with this process id still runs, another than this one."""
    return benchmark != os.getpid() and psutil.pid_exists(benchmark)


def end_on_sigterm() -> None:
    """Ended by SIGTERM, a benchmark leaves no server and no folder behind, as after Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def wait_after_sweep() -> None:
    """Wait until a `sweep` by an earlier benchmark is more than a minute ago."""
    swept = WORK / "swept"
    left = swept.stat().st_mtime + 65 - time.time() if swept.exists() else 0
    if left > 0:
        print(f"waiting {left:.0f} s for ext4 to forget the files that were removed before", flush=True)
        time.sleep(left)


class Server:
    """One server process (with its children), from `with` to the end of the block. Its folder stays until
    `sweep`."""

    name = ""
    called = "ANY-SCP"
    settings = ""

    def __init__(self) -> None:
        WORK.mkdir(exist_ok=True)
        atexit.unregister(sweep)  # once, however many servers there are
        atexit.register(sweep)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-{os.getpid()}-", dir=WORK))
        self.port = free_port()

    @classmethod
    def missing(cls) -> str:
        """Why it cannot run here; empty when it can."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def __enter__(self) -> Self:
        end_on_sigterm()
        self.start()
        return self

    def start(self) -> None:
        command = [str(part) for part in self.command()]
        environment = {**os.environ, "TCP_NODELAY": "1", **self.environment()}
        with (self.folder / "log").open("ab") as log:
            self._process = psutil.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def _wait_until_up(self) -> None:
        until = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < until:
            try:
                self.echo()
                return
            except (OSError, pdus.PeerError):
                time.sleep(0.1)
        log = (self.folder / "log").read_text(errors="replace")[-2000:]
        raise pdus.PeerError(f"{self.name} did not come up:\n{log}")

    def echo(self) -> None:
        context = pdus.Context(1, pdus.VERIFICATION, (pdus.IMPLICIT_LE,))
        association = pdus.Association(self.address, self.called, (context,))
        association.release()

    def rest(self) -> None:
        """Wait until it has done what it does ahead of its work, as a server has that runs for long."""

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left after 30 s; only processes of this server."""
        tree = self._tree()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([self._process, *tree], timeout=30)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=10)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop()

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """Seconds of user and system time so far, of all its processes, also of those that have ended."""
        total = 0.0
        for process in self._tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def resident(self) -> int:
        """Bytes resident now, summed over its processes."""
        total = 0
        for process in self._tree():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def peak(self) -> int:
        """Bytes resident at most so far (VmHWM), summed over its living processes."""
        total = 0
        for process in self._tree():
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            total += sum(
                int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")
            )
        return total


class Orthanc(Server):
    name = "orthanc"
    called = "ORTHANC"
    settings = "Debian's Orthanc, default settings (SyncStorageArea on, MD5, 4 DICOM threads), no plugins"
    sink_port = 0  # of the C-MOVE destination SINK

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("Orthanc", path=_PATH) else "Orthanc: apt-get install orthanc"

    def command(self) -> Sequence[str]:
        configuration = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": free_port(),
            "DicomPort": self.port,
            "DicomAet": self.called,
            "RemoteAccessAllowed": True,
            "AuthenticationEnabled": False,
            # who may ask for what; nothing that changes how it works
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {
                "bench": {"AET": "BENCH", "Host": HOST, "Port": self.sink_port or 104},
                "sink": {"AET": "SINK", "Host": HOST, "Port": self.sink_port or 104},
            },
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        return [shutil.which("Orthanc", path=_PATH) or "Orthanc", str(path)]


class Storescp(Server):
    name = "storescp"
    settings = "DCMTK storescp --fork, default settings: a file an object, no index, no sync"
    options: tuple[str, ...] = ("--fork",)

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("storescp", path=_PATH) else "storescp: apt-get install dcmtk"

    def command(self) -> Sequence[str]:
        objects = self.folder / "objects"
        objects.mkdir(exist_ok=True)
        return ["storescp", *self.options, "-od", str(objects), str(self.port)]


class Hounsfield(Server):
    name = "hounsfield"
    called = "HOUNSFIELD"
    settings = "hounsfield serve, default settings: synced before it answers, indexed, in the ledger"

    def __init__(self, settle_seconds: int = 60) -> None:
        super().__init__()
        self.settle_seconds = settle_seconds  # 60 is the default

    @classmethod
    def missing(cls) -> str:
        if find_spec("hounsfield") and find_spec("hounsfield.main"):
            return ""
        return "hounsfield.main is not there yet"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, *arguments: str) -> str:
        """One `hounsfield` command against this data folder; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "hounsfield.main", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **self.environment()},
        )
        if done.returncode:
            raise pdus.PeerError(f"hounsfield {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def command(self) -> Sequence[str]:
        return [
            sys.executable,
            "-m",
            "hounsfield.main",
            "serve",
            "--data",
            str(self.data),
            "--dicom-port",
            str(self.port),
        ]

    def environment(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(ROOT / "src"),
            "HOUNSFIELD_DATA": str(self.data),
            "HOUNSFIELD_HTTP_PORT": "0",
            "HOUNSFIELD_ADMIN_PASSWORD": "bench-only-password",
            "HOUNSFIELD_SETTLE_SECONDS": str(self.settle_seconds),
        }

    @property
    def database(self) -> Path:
        return self.data / "hounsfield.sqlite"

    def rest(self) -> None:
        """Until the spare segments of its log are made, which it does while nothing comes in."""
        spares = Settings.model_fields["spare_segments"].default
        until = time.monotonic() + 60
        while len(list(self.data.glob("log/.spare/spare-*.seg"))) < spares:
            if time.monotonic() > until:
                raise pdus.PeerError(f"hounsfield has not made its {spares} spare log segments in a minute")
            time.sleep(0.05)

    def query(self, sql: str) -> tuple[Any, ...]:
        """First row of a query that only reads, beside the running server."""
        with contextlib.closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True)) as connection:
            row: tuple[Any, ...] = connection.execute(sql).fetchone()
            return row

    def unpacked(self) -> int:
        """Instances that are in no series pack yet."""
        row = self.query("SELECT coalesce(sum(n_instances - packed), 0) FROM series")
        return int(row[0])

    def wait_until_settled(self, seconds: float = 600) -> None:
        """Wait until every instance is in a pack."""
        until = time.monotonic() + seconds
        while left := self.unpacked():
            if time.monotonic() > until:
                raise pdus.PeerError(f"{left} instances are in no series pack after {seconds:.0f} s")
            time.sleep(0.2)


_PATH = os.environ.get("PATH", "") + ":/usr/sbin"

SERVERS: Mapping[str, type[Server]] = {kind.name: kind for kind in (Hounsfield, Orthanc, Storescp)}


def available(only: Sequence[str] = ()) -> list[type[Server]]:
    """The servers that can run here, of those named (all if none is); says which cannot and why."""
    kinds = []
    for name in only or SERVERS:
        if why := SERVERS[name].missing():
            print(f"left out: {why}")
        else:
            kinds.append(SERVERS[name])
    return kinds
