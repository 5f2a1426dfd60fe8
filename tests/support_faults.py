"""A data folder whose roles are killed or starved, and the proof that nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.main import Program
from hounsfield.net.association import Association, Response
from hounsfield.net.requestor import AssociationRejectedError, associate
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.archive import Archive
from hounsfield.services.doctor import Finding, Verdict, examine
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.reading import Reader
from hounsfield.services.recovery import recover
from hounsfield.settings import Settings
from hounsfield.wire.dimse.messages import c_store_rq
from hounsfield.wire.ul.items import ProposedContext, UserInformation
from hounsfield.wire.ul.pdu import AssociateRequest

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
PORT = 11112
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
#: What makes hours of service happen in a second: checkpoints, sweeps, recycling, leases.
HURRY = {
    "hounsfield.services.rounds.CHECKPOINT_SECONDS": 0.05,
    "hounsfield.main.SWEEP_SECONDS": 0.05,
    "hounsfield.adapters.blobs_disk.DiskBlobs.__init__": {"recycle_grace": 0.0},
    "hounsfield.servers.worker.loop.Worker.__init__": {"lease": 0.5, "poll": 0.02},
    "hounsfield.servers.worker.loop.FIRST_RETRY": 0.05,
    "hounsfield.servers.worker.loop.NICE": 0,
}
#: Rounds of one sender are done on the event loop.
ON_THE_LOOP = {"hounsfield.services.rounds.HERE_SECONDS": 5, "hounsfield.servers.dicom.server.ALONE_AFTER": 0}
_ROOT = Path(__file__).parent.parent
_addresses = itertools.count(1)


def until(
    condition: Callable[[], object], what: str, seconds: float = 60.0, output: Path | None = None
) -> None:
    """Wait until it holds; seconds in which nothing ran do not count. Where it does not, the end of `output`
    tells more."""
    waited, last = 0.0, time.monotonic()
    while not condition():
        if waited > seconds:
            said = output.read_text()[-3000:] if output is not None else ""
            raise AssertionError(f"not in {seconds} seconds: {what}\n{said}")
        time.sleep(0.005)
        now = time.monotonic()
        waited += min(now - last, 0.1)
        last = now


def step(call: str, when: str = "before", **more: Any) -> dict[str, Any]:
    """A fault for `House.start`; `nursery.Fault` says what may be in it."""
    return {"call": call, "when": when, **more}


def _element(group: int, element: int, vr: str, value: bytes) -> bytes:
    value += (b"\0" if vr in ("UI", "OW") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", group, element, vr.encode())
    return head + (struct.pack("<xxL" if vr == "OW" else "<H", len(value))) + value


def data_set(sop: str, series: str, study: str, number: int, pixels: bytes) -> bytes:
    """A CT object in Explicit VR Little Endian."""
    return b"".join(
        (
            _element(0x0008, 0x0016, "UI", CT.encode()),
            _element(0x0008, 0x0018, "UI", sop.encode()),
            _element(0x0008, 0x0060, "CS", b"CT"),
            _element(0x0010, 0x0010, "PN", b"Fault^Proof"),
            _element(0x0010, 0x0020, "LO", b"F1"),
            _element(0x0020, 0x000D, "UI", study.encode()),
            _element(0x0020, 0x000E, "UI", series.encode()),
            _element(0x0020, 0x0013, "IS", str(number).encode()),
            _element(0x0028, 0x0010, "US", struct.pack("<H", 2)),
            _element(0x0028, 0x0011, "US", struct.pack("<H", 2)),
            _element(0x7FE0, 0x0010, "OW", pixels),
        )
    )


class Nursery:
    """The process of `tests/faults/nursery.py`, of which roles are forked."""

    def __init__(self) -> None:
        source = os.pathsep.join(path for path in sys.path if path)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HOUNSFIELD_")}
        self._process = subprocess.Popen(
            [sys.executable, str(_ROOT / "tests" / "faults" / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean | {"PYTHONPATH": source, "HOUNSFIELD_CONFIG": os.devnull},
        )

    def ask(self, **order: Any) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Role:
    """One role of a house, alive or ended."""

    nursery: Nursery
    pid: int
    output: Path
    note: Path  # which it leaves once it is ready
    code: int | None = None

    def alive(self) -> bool:
        """Also false for one that ended and was not waited for."""
        if self.code is not None:
            return False
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self.code is None:
            self.code = self.nursery.ask(wait=self.pid)
        return self.code

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def ready(self) -> bool:
        assert self.alive(), self.output.read_text()
        with suppress(OSError):
            return bool(json.loads(self.note.read_text())["pid"] == self.pid)
        return False

    def ask_to_stop(self) -> None:
        until(self.ready, "the role is ready", output=self.output)
        os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """In good order."""
        self.ask_to_stop()
        assert self.wait() == 0, self.output.read_text()

    def died(self, seconds: float = 60.0) -> None:
        """Wait for its SIGKILL, which the fault that was planted sends."""
        until(lambda: not self.alive(), "the planted fault kills the role", seconds, self.output)
        assert self.wait() == -signal.SIGKILL, self.output.read_text()


@dataclass
class Answer:
    status: int
    comment: str


@dataclass
class House:
    """A data folder, the address its roles listen on, and what they were sent and have acknowledged."""

    folder: Path
    nursery: Nursery
    #: SOP Instance UID -> BLAKE3 of the data set, of all that were sent, and of those acknowledged.
    sent: dict[str, bytes] = field(default_factory=dict)
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        # an address of its own: no other test, of this process or another, has the same
        pid = os.getpid()
        self.host = f"127.{64 + pid // 65536 % 64}.{pid // 256 % 256}.{pid % 256}"
        self.port = PORT + next(_addresses)
        self._numbers = itertools.count(1)
        self.environment = {
            "HOUNSFIELD_MIN_FREE": "0",
            "HOUNSFIELD_SEGMENT_SIZE": "1",
            "HOUNSFIELD_SPARE_SEGMENTS": "1",
            "HOUNSFIELD_MEMORY_BUDGET": "4",
            "HOUNSFIELD_LARGE_OBJECT": "1",
            "HOUNSFIELD_SETTLE_SECONDS": "0",
            "HOUNSFIELD_SHUTDOWN_SECONDS": "0",
        } | self.environment

    def settings(self) -> Settings:
        values = {key.removeprefix("HOUNSFIELD_").lower(): value for key, value in self.environment.items()}
        return Settings.model_validate(
            values | {"data": self.data, "host": self.host, "dicom_port": self.port}
        )

    # Roles

    def start(
        self,
        role: str = "dicom",
        *faults: dict[str, Any],
        name: str = "",
        constants: dict[str, Any] | None = None,
        limits: dict[str, int] | None = None,
    ) -> Role:
        name = name or f"{role}-1"
        arguments = [role, "--name", name, "--data", str(self.data)]
        if role == "dicom":
            arguments += ["--host", self.host, "--dicom-port", str(self.port)]
        output = self.folder / f"{name}.txt"
        output.touch()
        pid = self.nursery.ask(
            arguments=arguments,
            environment=self.environment,
            output=str(output),
            constants=HURRY | (constants or {}),
            faults=faults,
            limits=limits or {},
        )
        self.roles.append(Role(self.nursery, pid, output, self.data / "run" / f"{name}.json"))
        return self.roles[-1]

    def end(self) -> None:
        for role in self.roles:
            role.kill()

    # Sending

    def make(self, size: int = 2000, *, series: int = 1, number: int = 0) -> tuple[str, bytes]:
        """A new object: its SOP Instance UID and its data set."""
        number = number or next(self._numbers)
        sop = f"1.2.3.{series}.{number}"
        data = data_set(sop, f"1.2.3.{series}", "1.2.3", number, random.Random(number).randbytes(size))
        self.sent[sop] = blake3(data).digest()
        return sop, data

    @asynccontextmanager
    async def association(self, role: Role | None = None) -> AsyncIterator[Association]:
        """As soon as the role takes one."""
        async with AsyncExitStack() as stack:
            yield await self._associate(stack, role)

    async def _associate(self, stack: AsyncExitStack, role: Role | None) -> Association:
        contexts = (ProposedContext(1, CT, (EXPLICIT_LE,)),)
        request = AssociateRequest("HOUNSFIELD", "SENDER", contexts, UserInformation(1 << 18))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                wanted = associate(self.host, self.port, request, seconds=20)
                return await stack.enter_async_context(wanted)
            except (ConnectionError, AssociationRejectedError):
                if role is not None and not role.alive():
                    raise ConnectionError("the role has ended") from None
                await asyncio.sleep(0.005)
        raise AssertionError("nobody takes our association")

    async def store(self, association: Association, sop: str, data: bytes, seconds: float = 60) -> Answer:
        """One C-STORE; an acknowledgement is written down before anything else happens."""
        request = c_store_rq(association.new_message_id(), CT, sop)
        response: Response = await association.ask(1, request, data, seconds)
        command = response.command
        if command.status == SUCCESS:
            self.acknowledged[sop] = blake3(data).digest()
        return Answer(command.status, command.error_comment)

    def send(
        self, *objects: tuple[str, bytes], at_once: bool = False, role: Role | None = None
    ) -> list[Answer]:
        """Objects over one association, or over one each at the same time; ConnectionError as it comes."""

        async def one_by_one(some: Sequence[tuple[str, bytes]]) -> list[Answer]:
            async with self.association(role) as association:
                return [await self.store(association, *each) for each in some]

        async def together() -> list[Answer]:
            groups = [[each] for each in objects] if at_once else [objects]
            done = await asyncio.gather(*map(one_by_one, groups), return_exceptions=True)
            if error := next((one for one in done if isinstance(one, BaseException)), None):
                raise error
            return [answer for answers in done for answer in answers]  # type: ignore[union-attr]

        return asyncio.run(together())

    def send_until_killed(self, role: Role, *objects: tuple[str, bytes], at_once: bool = True) -> None:
        """Objects to a role that a fault ends."""
        with suppress(OSError, TimeoutError):  # as the connection ends, or is not made any more
            self.send(*objects, at_once=at_once, role=role)
        role.died()

    # The proof

    @contextmanager
    def archive(self) -> Iterator[Archive]:
        """As the command line opens it."""
        with Program().open(self.settings(), make=True, writer="check") as archive:
            yield archive

    def check(self, *, unnamed: bool = False, unpacked: bool = True, torn: bool = False) -> list[Finding]:
        """With no role running: replay what logs are left, then everything that must hold.

        `unnamed`: whether a crash may have left large files or packs that nothing names, which `doctor`
        mentions; with `torn` also segments, of which a power cut has torn all that was in them. `unpacked`:
        whether objects may still wait for their pack job.
        """
        with self.archive() as archive:
            recover(archive.database, archive.blobs, archive.clock, settle=0)
            self.check_objects(archive)
            check_counts(archive)
            check_ledger(archive)
            trees = ("large/", "packs/") if unnamed else ()
            findings = check_doctor(archive, (*trees, "log/") if torn else trees)
            if not unpacked:
                with archive.database.read() as tx:
                    assert tx.jobs.counts() == {}
            return findings

    def check_objects(self, archive: Archive) -> None:
        """Every acknowledged object is there and whole; any other is absent or whole."""
        reader = Reader(archive.database, archive.blobs)
        with archive.database.read() as tx:
            kept = list(tx.index.instances())
            held = list(tx.index.quarantine())
        assert not held, f"in quarantine: {[one.reason for one in held]}"
        uids = Counter(one.sop_instance_uid for one in kept)
        assert [uid for uid, count in uids.items() if count > 1] == [], "duplicates"
        missing = sorted(set(self.acknowledged) - set(uids))
        assert missing == [], f"{len(missing)} of {len(self.acknowledged)} acknowledged objects are lost"
        for one in kept:
            expected = self.sent[one.sop_instance_uid]
            assert blake3(bytes(reader.data_set(one))).digest() == expected == one.content_hash, one


def check_counts(archive: Archive) -> None:
    """What the index counts is what it holds: a wrong count would let a blob be removed too early."""
    assert isinstance(archive.database, SqlDatabase)
    with archive.database.read() as tx:
        run = tx.connection.execute
        wrong = run(
            "SELECT b.key, b.live, (SELECT count(*) FROM instance i WHERE i.blob_id = b.id)"
            " + (SELECT count(*) FROM quarantine q WHERE q.blob_id = b.id)"
            " + (SELECT count(*) FROM series s WHERE s.metadata_blob = b.id) AS held FROM blob b"
        ).fetchall()
        assert [row for row in wrong if row[1] != row[2]] == []
        series = run(
            "SELECT s.uid, s.n_instances, (SELECT count(*) FROM instance i WHERE i.series_id = s.id),"
            " s.packed FROM series s"
        ).fetchall()
        assert [row for row in series if row[1] != row[2]] == []
        waiting = {job.key for job in tx.jobs.list(kind=PACK_SERIES, limit=100_000)}
        forgotten = [uid for uid, count, _, packed in series if packed < count and uid not in waiting]
        assert forgotten == [], "series that nothing will ever pack"


def check_ledger(archive: Archive) -> None:
    """Every object came in once, as the ledger tells it."""
    with archive.database.read() as tx:
        events = tx.ledger.read(LedgerFilter(types=("instance.stored",)))
        told = Counter(one[0] for event in events for one in event.event.payload["objects"])  # type: ignore[attr-defined]
        kept = {one.sop_instance_uid for one in tx.index.instances()}
    assert {uid: count for uid, count in told.items() if count > 1} == {}
    assert set(told) == kept


def check_doctor(archive: Archive, trees: tuple[str, ...]) -> list[Finding]:
    """It finds nothing wrong but blobs below `trees` that nothing names."""
    findings = list(examine(archive, None, {}, actor="test", deep=True))
    allowed = {"users", "disk"}  # no administrator is made here; the machine of a test may be small
    for finding in findings:
        if finding.verdict is Verdict.FINE or (
            finding.verdict is Verdict.WARNING and finding.check in allowed
        ):
            continue
        unnamed = finding.check == "pixels" and finding.verdict is Verdict.WARNING
        assert unnamed and all(detail.startswith((*trees, "...")) for detail in finding.details), finding
    return findings
