"""One archive for the folder, with short timers and few places; and what must hold after each attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support_server import MIB, Archive, free_port, loaded, study, wait_for

#: What an attack may add to the largest memory that the process ever had.
MOST_GROWTH = 96 * MIB


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(
        tmp_path_factory.mktemp("hostile") / "house",
        artim_seconds=1,
        idle_seconds=3,
        answer_seconds=3,
        max_pending=20,
        max_associations=24,
        max_associations_per_device=12,
        memory_budget=16,
        large_object=1,
        max_pdu=65536,
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def kept(target: Archive) -> dict[str, bytes]:
    """SOP Instance UID -> data set of what was stored before all attacks."""
    files = study(3)
    assert target.store(*files) == [0, 0, 0]
    uids = [loaded(f).SOPInstanceUID for f in files]
    return {uid: target.data_set(uid) for uid in uids}


def outside(target: Archive) -> set[str]:
    """Everything around the data folder."""
    root = target.folder.parent
    return {
        str(path) for path in root.rglob("*") if target.data not in path.parents and path != target.data
    } | {str(path) for path in (Path("/etc/x"), Path("/etc/x.dcm")) if path.exists()}


def peak(target: Archive) -> int:
    status = Path(f"/proc/{target.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """The same process goes on and answers; memory stayed bounded; nothing is lost, nothing is elsewhere."""
    if "target" not in request.fixturenames:
        yield
        return
    target: Archive = request.getfixturevalue("target")
    kept: dict[str, bytes] = request.getfixturevalue("kept")
    pid, before, said = target.pid, outside(target), len(target.log())
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # begin the peak anew (proc(5))
    memory = target.rss()
    yield
    assert target.alive(), target.log()[-3000:]
    assert target.pid == pid
    since = target.mark()
    wait_for(lambda: target.echoes("WELL"), "a C-ECHO is not answered", 10)
    # the ledger is behind by a moment; what this test did is in it when the echo is
    target.event("association.ended", since, how="released")
    assert peak(target) - memory < MOST_GROWTH, f"{(peak(target) - memory) / MIB:.0f} MiB more"
    for uid, data in kept.items():
        assert target.data_set(uid) == data
    assert outside(target) == before
    assert "Traceback" not in target.log()[said:], target.log()[said:][:3000]


@pytest.fixture
def port() -> int:
    return free_port()
