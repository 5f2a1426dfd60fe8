"""doctor: what is wrong is found and said, and a whole archive is clean."""

from __future__ import annotations

import datetime
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from hounsfield.adapters.sql.index import SqlIndex
from hounsfield.cli.checking import _Bar
from hounsfield.domain.events import Event
from hounsfield.domain.stored import Arrival
from hounsfield.ports.index import Entered
from hounsfield.ports.jobs import NewJob
from hounsfield.services import doctor
from hounsfield.services.certificates import judge_certificate
from hounsfield.services.running import noted, running
from support_cli import Terminal
from support_services import part10


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOUNSFIELD_DICOM_PORT", str(free_port()))
    monkeypatch.setenv("HOUNSFIELD_HTTP_PORT", "0")
    made = Terminal(tmp_path / "data")
    made.keep(tmp_path / "in", "1.2.3.1.1", "1.2.3.1.2")
    made.run("user", "add", "ada", "--role", "administrator", text="correct horse\n")
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def examine(terminal: Terminal, *options: str, code: int = 0) -> list[dict[str, Any]]:
    """What doctor finds, without what is fine, and without the disk, which is the machine's affair."""
    result = terminal.run("doctor", "--json", *options, code=code)
    findings = json.loads(result.stdout)["findings"]
    return [f for f in findings if f["verdict"] != "fine" and f["check"] != "disk"]


def where(terminal: Terminal) -> Path:
    with terminal.archive() as archive, archive.database.read() as tx:
        return terminal.data / next(tx.index.instances(study="1.2.3")).location.key


def test_a_whole_archive_is_clean(terminal: Terminal) -> None:
    assert examine(terminal) == []
    assert examine(terminal, "--deep") == []
    assert "all 2 objects" in terminal.run("doctor").stdout


def test_a_missing_blob(terminal: Terminal) -> None:
    where(terminal).unlink()
    [problem] = examine(terminal, code=1)
    assert problem["check"] == "pixels" and problem["todo"]
    assert "missing" in problem["details"][0] and "1.2.3.1.1" in problem["details"][0]


def test_a_blob_that_is_cut_short(terminal: Terminal) -> None:
    os.truncate(where(terminal), 5000)
    problems = examine(terminal, code=1)
    assert any("ends at 5000" in detail for p in problems for detail in p["details"])


def test_a_changed_byte_is_found_by_the_deep_look_alone(terminal: Terminal) -> None:
    path = where(terminal)
    data = bytearray(path.read_bytes())
    at = data.index(b"Doe^Jane")
    data[at] ^= 1
    path.write_bytes(data)
    assert examine(terminal) == []
    [problem] = examine(terminal, "--deep", code=1)
    assert problem["check"] == "hashes" and len(problem["details"]) == 1


def test_a_file_in_place_that_went_away(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "mine.dcm"
    file.write_bytes(part10("1.7.1", study="1.7", series="1.7.0"))
    terminal.run("import", str(file), "--in-place")
    assert examine(terminal) == []
    file.unlink()
    [problem] = examine(terminal, code=1)
    assert str(file) in problem["details"][0]


def test_a_blob_that_no_index_names(terminal: Terminal) -> None:
    stray = terminal.data / "large" / "2024" / "01" / "stray.dcm"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"x" * 100)
    [warning] = examine(terminal)
    assert warning["verdict"] == "warning"
    assert warning["details"] == ["large/2024/01/stray.dcm (100 bytes)"]


def test_an_index_that_was_lost_leaves_blobs_unnamed(terminal: Terminal) -> None:
    """Nothing of an archive whose database was put back empty goes unnoticed, but the newest segment."""
    (terminal.data / "large").mkdir(exist_ok=True)
    (terminal.data / "large" / "a.dcm").write_bytes(b"x")
    for path in terminal.data.glob("hounsfield.sqlite*"):
        path.unlink()
    with terminal.archive():
        pass
    assert "large/a.dcm (1 bytes)" in next(f for f in examine(terminal) if f["check"] == "pixels")["details"]


def test_a_port_that_another_program_has(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("HOUNSFIELD_DICOM_PORT", str(other.getsockname()[1]))
        [problem] = examine(terminal, code=1)
        assert problem["check"] == "ports" and "another program" in problem["what"]
        with noted(terminal.data, "dicom-1", "127.0.0.1", [other.getsockname()[1]]):
            assert examine(terminal) == [], "it is ours"


def test_an_address_that_this_machine_does_not_have(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOUNSFIELD_HOST", "192.0.2.1")
    [problem] = examine(terminal, code=1)
    assert problem["check"] == "ports" and "192.0.2.1" in problem["what"]


def test_too_little_room(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_MIN_FREE", str(1 << 40))
    found = json.loads(terminal.run("doctor", "--json", code=1).stdout)["findings"]
    assert [f["check"] for f in found if f["verdict"] == "problem"] == ["disk"]


def test_a_clock_behind_the_ledger(terminal: Terminal) -> None:
    with terminal.archive() as archive, archive.database.write() as tx:
        ahead = archive.clock.now() + 3_600_000_000
        tx.ledger.append([Event("server.stopped", ahead, payload={"role": "dicom"})])
    [problem] = examine(terminal, code=1)
    assert problem["check"] == "clock"


def test_what_waits_for_a_person(terminal: Terminal, tmp_path: Path) -> None:
    other = tmp_path / "other.dcm"
    other.write_bytes(part10("1.2.3.1.1", pixels=b"changed!"))
    terminal.run("import", str(other))
    with terminal.archive() as archive, archive.database.write() as tx:
        tx.jobs.enqueue([NewJob("broken", "k", max_attempts=1)])
        job = tx.jobs.claim(["broken"], "me", archive.clock.now(), 1_000_000)
        assert job is not None
        tx.jobs.fail(job.id, "me", "it broke", 0)
    assert {f["check"] for f in examine(terminal)} == {"quarantine", "jobs"}


def test_a_misspelled_variable(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_DICOM_PROT", "104")
    [warning] = examine(terminal)
    assert "HOUNSFIELD_DICOM_PROT" in warning["what"]


def test_an_open_door(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_HOST", "0.0.0.0")
    monkeypatch.setenv("HOUNSFIELD_UNKNOWN_DEVICES", "accept")
    [warning] = examine(terminal)
    assert "unknown devices are accepted" in warning["what"]


def certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """A self-signed certificate that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pacs")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=90))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


@pytest.mark.parametrize(("days", "verdict"), [(365, None), (10, "warning"), (-3, "problem")])
def test_the_certificate(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, verdict: str | None
) -> None:
    path, key = certificate(tmp_path, days)
    monkeypatch.setenv("HOUNSFIELD_TLS_CERTIFICATE", str(path))
    monkeypatch.setenv("HOUNSFIELD_TLS_KEY", str(key))
    monkeypatch.setenv("HOUNSFIELD_DICOM_TLS_PORT", str(free_port()))
    found = examine(terminal, code=verdict == "problem")
    assert [f["verdict"] for f in found] == ([verdict] if verdict else [])


def test_a_certificate_that_is_none_or_has_another_key(tmp_path: Path) -> None:
    path, key = certificate(tmp_path, 365)
    assert judge_certificate(path, key, None).days == 365
    other = tmp_path / "other"
    other.mkdir()
    assert judge_certificate(path, certificate(other, 365)[1], None).fault
    assert judge_certificate(key, key, None).fault
    assert "No such file" in judge_certificate(tmp_path / "none", None, None).fault


def test_a_role_that_was_killed_does_not_run(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from hounsfield.services.running import noted\n"
        "with noted(Path(sys.argv[1]), 'dicom-1', '::1', [104]):\n"
        "    print('noted', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "noted\n"
    assert [(role.name, role.pid, role.ports) for role in running(tmp_path)] == [
        ("dicom-1", child.pid, [104])
    ]
    child.kill()
    child.wait()
    child.stdout.close()
    assert running(tmp_path) == []
    (tmp_path / "run" / "torn.json").write_text("{")
    with noted(tmp_path, "worker-1", "", []):
        assert [role.name for role in running(tmp_path)] == ["worker-1"]
    assert running(tmp_path) == []


def test_what_was_set_aside(terminal: Terminal) -> None:
    (terminal.data / "set-aside").mkdir()
    (terminal.data / "set-aside" / "00ff.dcm").write_bytes(b"x" * 7)
    (terminal.data / "set-aside" / ".draft.part").write_bytes(b"x")
    [problem] = examine(terminal, code=1)
    assert problem["details"] == ["set-aside/00ff.dcm (7 bytes)"] and "import" in problem["todo"]


def test_what_is_held_since_the_index_failed_at_it(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SqlIndex.enter

    def enter(index: SqlIndex, arrivals: Sequence[Arrival]) -> list[Entered]:
        if any(one.quarantine is None for one in arrivals):
            raise ValueError("a fault of ours")
        return real(index, arrivals)

    (tmp_path / "new.dcm").write_bytes(part10("1.7.1", study="1.7", series="1.7.0"))
    monkeypatch.setattr(SqlIndex, "enter", enter)
    terminal.run("import", str(tmp_path / "new.dcm"))
    found = [(finding["check"], finding["verdict"]) for finding in examine(terminal, code=1)]
    assert found == [("quarantine", "warning"), ("set aside", "problem")]
    monkeypatch.undo()
    terminal.run("quarantine", "release", "--held-for", "not-entered", "--data", str(terminal.data))


def test_it_can_be_stopped(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "take_inventory", stopped)
    result = json.loads(terminal.run("doctor", "--json", code=130).stdout)
    assert not result["complete"] and "database" in {f["check"] for f in result["findings"]}
    assert "pixels" not in {f["check"] for f in result["findings"]}
    assert "Stopped before the end" in terminal.run("doctor", code=130).stdout


def test_progress_is_shown_on_a_terminal_alone() -> None:
    for terminal in (True, False):
        shown = io.StringIO()
        with _Bar(Console(file=shown, force_terminal=terminal)) as bar:
            bar.show("Pixels against index", 5, 10)
            bar.hide()
            bar.show("Reading every object", 1, 10)
        assert ("Pixels against index" in shown.getvalue()) is terminal
