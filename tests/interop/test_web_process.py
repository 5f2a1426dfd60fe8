"""`hounsfield web` and `hounsfield serve` as processes: they start, share a port, stop in good order."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hounsfield.services.running import running
from support_server import PROGRAM, Archive, free_port, wait_for

PASSWORD = "correct horse battery"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(
        tmp_path,
        http_port=free_port(),
        web_workers=2,
        admin_password=PASSWORD,
        shutdown_seconds=10,
        http_stall_seconds=30,
    )
    yield archive
    archive.stop()


def url(archive: Archive) -> str:
    return f"http://127.0.0.1:{archive.environment['HOUNSFIELD_HTTP_PORT']}"


def wait_ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(60)


def test_serve_starts_the_web_role_and_tells_its_address(archive: Archive) -> None:
    archive.data.mkdir(mode=0o755, parents=True)  # as a package may have made it
    output = archive.folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen([*PROGRAM, "serve"], stdout=file, stderr=file, env=archive.environment)
    archive.processes["serve"] = process
    wait_for(lambda: process.poll() is not None or b"Ctrl-C stops it." in output.read_bytes(), "ready", 90)
    assert f"Web        {url(archive)}" in output.read_text()
    names = {role.name for role in running(archive.data)}
    assert {"dicom-1", "worker-1", "web-1", "web-2"} <= names
    with httpx.Client(base_url=url(archive), trust_env=False) as client:
        assert client.get("/healthz").text == "ok\n"
        signed = client.post("/login", data={"name": "admin", "password": PASSWORD})
        assert signed.status_code == 303
        system = client.get("/api/system").json()
        assert {"dicom-1", "web-1"} <= {role["name"] for role in system["roles"]}
        metrics = wait_for(lambda: _metrics(client), "the numbers of other roles are there")
        assert 'role="worker-1"' in metrics
    open_to_all = [path for path in archive.data.rglob("*") if path.stat().st_mode & 0o007]
    assert not open_to_all, "patient data, for every account of the machine"
    found = archive.cli("doctor", check=False)
    port = archive.environment["HOUNSFIELD_HTTP_PORT"]
    assert f"127.0.0.1:{port} is served by web-1" in found.stdout
    process.send_signal(signal.SIGTERM)
    assert wait_ended(process) == 0
    assert not running(archive.data)


def _metrics(client: httpx.Client) -> str:
    text = client.get("/metrics").text
    return text if 'role="dicom-1"' in text and 'role="worker-1"' in text else ""


def test_a_request_that_runs_is_answered_before_the_role_stops(archive: Archive) -> None:
    archive.start("web")
    process = archive.processes["web-1"]
    log = archive.log("web-1")
    assert "Login" not in log and PASSWORD not in log
    host, port = "127.0.0.1", int(archive.environment["HOUNSFIELD_HTTP_PORT"])
    body = b"name=admin&password=wrong"
    with socket.create_connection((host, port), 20) as sock:
        sock.settimeout(20)
        sock.sendall(
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        with httpx.Client(base_url=url(archive), trust_env=False) as client:
            assert client.get("/healthz").status_code == 200  # it has begun to read the other one too
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not _listens(port), "no new connections are taken")
        assert process.poll() is None
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 401 ")
    assert wait_ended(process) == 0
    assert [event.payload["role"] for event in archive.events("server.stopped")] == ["web"]


def test_alone_on_an_empty_archive_it_takes_the_password_that_it_is_given(archive: Archive) -> None:
    archive.start("web")
    with httpx.Client(base_url=url(archive), trust_env=False) as client:
        form = {"name": "admin", "password": PASSWORD}
        assert client.post("/login", data=form).status_code == 303


def test_a_request_that_does_not_end_does_not_keep_the_role(archive: Archive) -> None:
    archive.environment["HOUNSFIELD_SHUTDOWN_SECONDS"] = "1"
    archive.start("web")
    process = archive.processes["web-1"]
    port = int(archive.environment["HOUNSFIELD_HTTP_PORT"])
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        assert wait_ended(process) == 0


def test_a_port_that_is_taken_is_told(archive: Archive) -> None:
    port = int(archive.environment["HOUNSFIELD_HTTP_PORT"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = subprocess.run(
            [*PROGRAM, "web"],
            capture_output=True,
            env=archive.environment,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2 and "another program listens there" in done.stderr + done.stdout


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
