"""The dicom role (and, where asked for, the worker) as processes of their own on free ports, and what a test
wants to know of them: the ledger, the index, the memory they take."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.device import Device
from hounsfield.domain.events import Event
from hounsfield.net.requestor import associate
from hounsfield.net.storing import AssociationChannel
from hounsfield.ports.clock import SystemClock
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.reading import Reader
from hounsfield.services.running import running
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.ul.items import ProposedContext, UserInformation
from hounsfield.wire.ul.pdu import AssociateRequest
from support_services import part10

PROGRAM = [sys.executable, "-m", "hounsfield.main"]
MIB = 1 << 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """What `condition` gives, once it is true."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        assert time.monotonic() < end, f"in {seconds} seconds: {what}"
        time.sleep(0.02)
    return got


class Archive:
    """One data folder and the roles that run on it. `settings` as environment names, in lower case."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.host = str(settings.pop("address", "127.0.0.1"))
        values: dict[str, object] = {
            "data": self.data,
            "dicom_port": self.port,
            "min_free": 0,
            "segment_size": 1,
            "spare_segments": 0,
            "log_format": "json",
            **settings,
        }
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HOUNSFIELD_")} | {
            f"HOUNSFIELD_{name.upper()}": str(value) for name, value in values.items()
        }
        self.environment |= {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "xdg")}
        self.tls_port = int(str(values.get("dicom_tls_port", 0)))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._database: SqlDatabase | None = None

    # Life ----------------------------------------------------------------------------------------------

    def start(self, role: str = "dicom", name: str = "") -> Archive:
        name = name or f"{role}-1"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*PROGRAM, role, "--name", name],
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self.processes[name] = process

        def up() -> bool:
            assert process.poll() is None, self.log(name)
            return any(r.name == name for r in running(self.data))

        wait_for(up, f"{name} did not start")
        return self

    def stop(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.processes = {}

    def log(self, name: str = "dicom-1") -> str:
        return (self.folder / f"{name}.log").read_text()

    @property
    def pid(self) -> int:
        return self.processes["dicom-1"].pid

    def alive(self) -> bool:
        return self.processes["dicom-1"].poll() is None

    def rss(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def connections(self) -> int:
        """TCP connections that the process holds."""
        return sum(c.status != "LISTEN" for c in psutil.Process(self.pid).net_connections("tcp"))

    # What it keeps -------------------------------------------------------------------------------------

    @property
    def database(self) -> SqlDatabase:
        if self._database is None:
            url = self.environment.get("HOUNSFIELD_DATABASE", f"sqlite:///{self.data / 'hounsfield.sqlite'}")
            self._database = open_database(url, f"test-{os.getpid()}", SystemClock())
        return self._database

    def mark(self) -> int:
        """Now, as a moment of the ledger."""
        return SystemClock().now()

    def events(self, *types: str, since: int = 0, **where: str) -> list[Event]:
        with self.database.read() as tx:
            return [r.event for r in tx.ledger.read(LedgerFilter(types=types, since=since, **where))]

    def event(self, kind: str, since: int = 0, **payload: object) -> Event:
        """The first event of a kind whose payload holds these values, once it is there."""

        def found() -> Event | None:
            for event in self.events(kind, since=since):
                if all(event.payload.get(key) == value for key, value in payload.items()):
                    return event
            return None

        return wait_for(found, f"no {kind} with {payload} in the ledger", 20.0)

    def instances(self, **where: object) -> list[Any]:
        with self.database.read() as tx:
            return list(tx.index.instances(**where))

    def located(self, sop: str) -> Any:
        """A current instance; None while the index, which follows the log, does not have it."""
        with self.database.read() as tx:
            return tx.index.locate(sop)

    def held(self, **where: str) -> list[Any]:
        with self.database.read() as tx:
            return list(tx.index.quarantine(**where))

    def data_set(self, sop: str) -> bytes:
        """The bytes of a kept data set."""
        blobs = DiskBlobs(self.data, segment_size=MIB, spare_segments=0, min_free_bytes=0)
        try:
            instance = wait_for(lambda: self.located(sop), f"{sop} is not kept", 10)
            return b"".join(map(bytes, Reader(self.database, blobs).data_set_chunks(instance)))
        finally:
            blobs.close()

    def device(self, name: str, **more: Any) -> Device:
        """Write a device down; every server sees it within a second."""
        device = Device(name=name, ae_title=more.pop("ae_title", name), **more)
        with self.database.write() as tx:
            tx.devices.save(device)
        return device

    def jobs(self, transaction: str) -> list[Any]:
        """Of a commitment request."""
        with self.database.read() as tx:
            return [job for job in tx.jobs.list() if job.payload.get("transaction") == transaction]

    def hasten(self, transaction: str) -> None:
        """Make the job of a commitment request due now, as time would."""
        job = wait_for(lambda: self.jobs(transaction), "no job")[0]
        with self.database.write() as tx:
            tx.connection.execute("UPDATE job SET due_at = 0 WHERE id = ? AND state = 'waiting'", (job.id,))

    def cli(self, *words: str, check: bool = True, json_output: bool = True) -> Any:
        done = subprocess.run(
            [*PROGRAM, *words, *(["--json"] if json_output else [])],
            capture_output=True,
            env=self.environment,
            text=True,
            check=False,
            timeout=60,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
            return json.loads(done.stdout) if json_output else done.stdout
        return done

    # Asking it -----------------------------------------------------------------------------------------

    @contextmanager
    def associate(
        self, *contexts: Any, title: str = "TEST", called: str = "HOUNSFIELD", **more: Any
    ) -> Iterator[Association]:
        """An association of pynetdicom. A context is an abstract syntax or (it, transfer syntaxes)."""
        ae = AE(title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        for context in contexts:
            ae.add_requested_context(*(context if isinstance(context, tuple) else (context,)))
        association = ae.associate(self.host, self.port, ae_title=called, **more)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def echoes(self, title: str = "TEST") -> bool:
        with self.associate(Verification, title=title) as association:
            return association.is_established and association.send_c_echo().Status == 0

    def store(self, *objects: Dataset | bytes, title: str = "TEST") -> list[int]:
        """C-STORE each over one association of our own client; the statuses."""
        return [status for status, _ in self.stored(*objects, title=title)]

    def stored(self, *objects: Dataset | bytes, title: str = "TEST") -> list[tuple[int, str]]:
        """The same with the Error Comments."""
        files = [o if isinstance(o, bytes) else written(o) for o in objects]
        metas = [read_meta(data) for data in files]
        pairs = list(dict.fromkeys((m.sop_class_uid, m.transfer_syntax_uid) for m in metas))
        contexts = tuple(ProposedContext(2 * n + 1, c, (s,)) for n, (c, s) in enumerate(pairs))
        user = UserInformation(implementation_class_uid="1.2.3", implementation_version="TEST")
        request = AssociateRequest("HOUNSFIELD", title, contexts, user)

        async def one(data: bytes) -> AsyncIterator[bytes]:
            yield data

        async def all_of_them() -> list[tuple[int, str]]:
            told = []
            async with associate(self.host, self.port, request) as association:
                channel = AssociationChannel(association, 30)
                for meta, data in zip(metas, files, strict=True):
                    context = 2 * pairs.index((meta.sop_class_uid, meta.transfer_syntax_uid)) + 1
                    status, comment, _ = await channel.store(
                        context,
                        meta.sop_class_uid,
                        meta.sop_instance_uid,
                        one(data[meta.meta_length :]),
                        None,
                    )
                    told.append((status, comment))
            return told

        return asyncio.run(all_of_them())

    def find(self, level: str, model: str = "1.2.840.10008.5.1.4.1.2.2.1", **keys: object) -> list[Dataset]:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(identifier, keyword, value)
        with self.associate(model) as association:
            assert association.is_established
            answers = list(association.send_c_find(identifier, model))
        assert answers[-1][0].Status == 0, answers[-1][0]
        return [found for status, found in answers if found is not None]

    def get(
        self, sop_classes: Sequence[str], syntaxes: Sequence[str], identifier: Dataset, **more: Any
    ) -> tuple[list[tuple[Dataset, Dataset | None]], dict[str, tuple[str, bytes]]]:
        """A C-GET: the answers, and what came: SOP Instance UID -> (transfer syntax, data set)."""
        from pynetdicom import evt
        from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get

        came: dict[str, tuple[str, bytes]] = {}

        def on_store(event: Any) -> int:
            came[event.request.AffectedSOPInstanceUID] = (
                event.context.transfer_syntax,
                event.request.DataSet.getvalue(),
            )
            return 0

        roles = [build_role(c, scp_role=True) for c in sop_classes]
        contexts = [Get, *((c, [s]) for c in sop_classes for s in syntaxes)]
        handlers = [(evt.EVT_C_STORE, on_store)]
        with self.associate(*contexts, ext_neg=roles, evt_handlers=handlers, **more) as association:
            assert association.is_established
            return list(association.send_c_get(identifier, Get)), came


def keys(level: str, **values: object) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(identifier, keyword, value)
    return identifier


def study(count: int, **more: Any) -> list[bytes]:
    """Part 10 files of one new CT series."""
    uid, series = generate_uid(), generate_uid()
    return [part10(generate_uid(), study=uid, series=series, number=n + 1, **more) for n in range(count)]


def written(data_set: Dataset) -> bytes:
    """The Part 10 file."""
    out = BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


def loaded(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data))
