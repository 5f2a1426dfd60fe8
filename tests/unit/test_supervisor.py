"""The supervisor: starts, restarts, stops, and is never outlived by what it started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hounsfield.servers import supervisor as module
from hounsfield.servers.supervisor import Role, Supervisor

BEGIN = """
import os, signal, sys, time
from pathlib import Path
from hounsfield.servers.supervisor import Supervised
folder = Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    print(os.getpid(), file=file)
starts = len((folder / "starts").read_text().split())
"""
LIVE = """
def stop(*_):
    (folder / "stopped").write_text("in good order")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
supervised = Supervised(lambda: os._exit(9))
supervised.ready()
time.sleep(100)
"""


def role(folder: Path, script: str) -> Role:
    return Role("child", [sys.executable, "-c", BEGIN + script, str(folder)])


def starts(folder: Path) -> list[int]:
    path = folder / "starts"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def run(supervisor: Supervisor) -> tuple[int, list[str]]:
    """Run until every role is ready, then stop. Exit code, and what was said."""
    said: list[str] = []

    def ready() -> None:
        said.append("ready")
        supervisor.stopping.set()

    return asyncio.run(supervisor.run(ready)), said


def test_stops_in_good_order(tmp_path: Path) -> None:
    code, said = run(Supervisor([role(tmp_path, LIVE)], os.environ, shutdown=20))
    assert (code, said) == (0, ["ready"])
    assert (tmp_path / "stopped").read_text() == "in good order"


def test_a_role_that_died_is_started_again(tmp_path: Path) -> None:
    script = "if starts < 3: os.kill(os.getpid(), signal.SIGKILL)\n" + LIVE
    code, said = run(Supervisor([role(tmp_path, script)], os.environ, shutdown=20))
    assert (code, said) == (0, ["ready"])
    assert len(starts(tmp_path)) == 3


def test_a_role_that_cannot_start_as_configured_ends_all(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    roles = [role(tmp_path, "sys.exit(2)"), role(other, "starts or 1\n" + LIVE)]
    assert asyncio.run(Supervisor(roles, os.environ, shutdown=20).run(lambda: None)) == 2
    assert len(starts(tmp_path)) == 1
    assert all(gone(pid) for pid in starts(other))


def test_a_role_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)
    script = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nSupervised(lambda: None).ready()\ntime.sleep(100)"
    )
    code, _ = run(Supervisor([role(tmp_path, script)], os.environ, shutdown=0.1))
    assert code == 0
    assert all(gone(pid) for pid in starts(tmp_path))


def test_a_supervisor_that_was_killed_leaves_no_orphan(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, sys; from hounsfield.servers.supervisor import Role, Supervisor\n"
        "role = Role('child', [sys.executable, '-c', sys.argv[1], sys.argv[2]])\n"
        "said = lambda: print('ready', flush=True)\n"
        "asyncio.run(Supervisor([role], os.environ, shutdown=20).run(said))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, BEGIN + LIVE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    [child] = starts(tmp_path)
    end = time.monotonic() + 30
    while not gone(child):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.01)
