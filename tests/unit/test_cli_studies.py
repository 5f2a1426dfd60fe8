"""import, study, ledger, quarantine, job and the SCU commands on a real archive."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from hounsfield.cli import ledger
from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.query import Level
from hounsfield.ports.jobs import JobState, NewJob
from support_cli import Terminal
from support_services import part10


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Terminal(tmp_path / "data")


@pytest.fixture
def kept(terminal: Terminal, tmp_path: Path) -> Terminal:
    """Two studies of three and of one objects."""
    terminal.keep(tmp_path / "one", "1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3")
    terminal.keep(tmp_path / "two", "1.9.1", study="1.9", series="1.9.0", patient="P2", AccessionNumber="B7")
    return terminal


def test_import_reports_what_became_of_each_file(terminal: Terminal, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(part10("1.2.3.1.1"))
    (folder / "b.dcm").write_bytes(part10("1.2.3.1.1"))
    (folder / "c.dcm").write_bytes(part10("1.2.3.1.1", pixels=b"other   "))
    (folder / "d.dcm").write_bytes(part10("1.2.3.1.2")[:300])
    (folder / "readme.txt").write_text("no image")
    report = terminal.json("import", str(folder), code=9)
    assert (report["new"], report["identical"], report["conflicting"]) == (1, 1, 1)
    assert (report["refused"], report["skipped"], report["complete"]) == (1, 1, True)
    assert {Path(note["file"]).name: note["kind"] for note in report["notes"]} == {
        "c.dcm": "conflicting",
        "d.dcm": "refused",
        "readme.txt": "skipped",
    }
    assert terminal.events("import.ended")[0]["payload"]["conflicting"] == 1


def test_import_in_place_leaves_the_bytes_where_they_are(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(part10("1.2.3.1.1"))
    terminal.run("import", str(file), "--in-place")
    [series] = terminal.json("study", "show", "1.2.3")["series"]
    assert series["blobs"] == [f"file:{file}"]


def test_import_of_nothing(terminal: Terminal) -> None:
    terminal.run("import", str(terminal.data / "nowhere"), code=2)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["1.2.3", "1.9"]),
        (("--patient", "P2"), ["1.9"]),
        (("--patient", "P?"), ["1.2.3", "1.9"]),
        (("--name", "doe*"), ["1.2.3", "1.9"]),
        (("--accession", "B*"), ["1.9"]),
        (("--date", "20240102"), ["1.2.3", "1.9"]),
        (("--date", "20240103-"), []),
        (("--date", "-20240102"), ["1.2.3", "1.9"]),
        (("--modality", "ct"), ["1.2.3", "1.9"]),
        (("--modality", "MR"), []),
    ],
)
def test_study_list(kept: Terminal, options: tuple[str, ...], found: list[str]) -> None:
    assert sorted(row["study"] for row in kept.json("study", "list", *options)) == found


def test_study_list_with_a_date_that_is_none(kept: Terminal) -> None:
    kept.run("study", "list", "--date", "yesterday", code=2)


def test_study_list_into_a_pipe_is_tab_separated(kept: Terminal) -> None:
    head, *rows = kept.run("study", "list").stdout.splitlines()
    assert head.split("\t")[0] == "patient_id" and len(rows) == 2
    assert all(len(row.split("\t")) == len(head.split("\t")) for row in rows)


def test_study_show(kept: Terminal) -> None:
    study = kept.json("study", "show", "1.2.3")
    assert (study["patient_id"], study["instances"], study["accession"]) == ("P1", 3, "A1")
    [series] = study["series"]
    assert (series["series"], series["instances"], series["modality"]) == ("1.2.3.1", 3, "CT")
    assert series["bytes"] > 0 and series["blobs"][0].startswith("log/import/")
    assert "1.2.3.1" in kept.run("study", "show", "1.2.3").stdout
    kept.run("study", "show", "1.2.4", code=3)


def test_study_verify_finds_a_flipped_bit(kept: Terminal) -> None:
    assert kept.json("study", "verify", "1.2.3")["damaged"] == []
    assert kept.json("study", "verify", "--all")["objects"] == 4
    with kept.archive() as archive, archive.database.read() as tx:
        [instance] = tx.index.instances(study="1.9")
    path = kept.data / instance.location.key
    with path.open("r+b") as file:
        file.seek(instance.location.offset + instance.location.length - 1)
        file.write(b"\xff")
    verified = kept.run("study", "verify", "1.9", "--json", code=7)
    assert [d["sop"] for d in json.loads(verified.stdout)["damaged"]] == ["1.9.1"]
    assert kept.json("study", "verify", "1.2.3")["damaged"] == []
    kept.run("study", "verify", code=2)


def test_study_extract_gives_the_bytes_back(kept: Terminal, tmp_path: Path) -> None:
    done = kept.json("study", "extract", "1.2.3", str(tmp_path / "out"))
    assert done["objects"] == 3
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in sorted((tmp_path / "one").iterdir())]
    kept.run("study", "extract", "1.9", str(tmp_path / "two.zip"))
    with zipfile.ZipFile(tmp_path / "two.zip") as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 1


def test_ledger_finds_by_every_subject(kept: Terminal) -> None:
    for option, value in (
        ("--study", "1.9"),
        ("--patient", "P2"),
        ("--accession", "B7"),
        ("--series", "1.9.0"),
    ):
        types = {event["type"] for event in kept.json("ledger", option, value)}
        assert "instance.stored" in types, option
        assert all(event["study"] in ("1.9", "") for event in kept.json("ledger", option, value))
    assert kept.json("ledger", "--since", "1h") == kept.json("ledger")
    assert kept.json("ledger", "--until", "1h") == []
    assert len(kept.json("ledger", "--limit", "1")) == 1
    kept.run("ledger", "--type", "no.such", code=2)
    kept.run("ledger", "--since", "never", code=2)


def test_ledger_follow_prints_an_event_a_line(kept: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "LATE", 0)
    monkeypatch.setattr(ledger, "POLL_SECONDS", 0.01)
    lines = kept.run("ledger", "--follow", "--study", "1.9", "--until", "0s", "--json").stdout.splitlines()
    assert [json.loads(line)["type"] for line in lines] == [
        event["type"] for event in kept.json("ledger", "--study", "1.9")
    ]
    assert "study.created" in kept.run("ledger", "--follow", "--study", "1.9", "--until", "0s").stdout


def test_ledger_verify_finds_a_changed_event(kept: Terminal) -> None:
    assert all(chain["whole"] for chain in kept.json("ledger", "verify"))
    with kept.archive() as archive, archive.database.write() as tx:
        tx.connection.execute("UPDATE ledger SET at = at + 1 WHERE n = 2")  # type: ignore[attr-defined]
    chains = json.loads(kept.run("ledger", "verify", "--json", code=7).stdout)
    assert any(not chain["whole"] and chain["broken_at"] == 2 for chain in chains)
    assert kept.events("ledger.verified")[-1]["payload"]["broken"]


def test_ledger_takes_the_folder_before_its_command(kept: Terminal) -> None:
    kept.run("ledger", "--data", str(kept.data), "verify", where=False)


def test_quarantine(kept: Terminal, tmp_path: Path) -> None:
    other = tmp_path / "other.dcm"
    other.write_bytes(part10("1.9.1", study="1.9", series="1.9.0", patient="P2", pixels=b"changed!"))
    kept.json("import", str(other))
    [held] = kept.json("quarantine", "list")
    assert (held["reason"], held["sop"]) == ("conflict", "1.9.1")
    assert kept.json("quarantine", "release", str(held["id"]))["held"] == 1, "it conflicts still"
    kept.run("quarantine", "release", "4711", code=3)
    kept.run("quarantine", "release", code=2)
    kept.run("quarantine", "drop", "--study", "1.9", "--yes", code=2)  # no reason given
    kept.run("quarantine", "drop", "--study", "1.9", "--reason", "r", text="n\n", code=1)
    assert kept.json("quarantine", "drop", "--study", "1.9", "--reason", "scanner test", "--yes") == {
        "dropped": 1
    }
    assert kept.json("quarantine", "list") == []
    [event] = kept.events("instance.dropped")
    assert event["payload"]["why"] == "scanner test" and event["payload"]["objects"][0][0] == "1.9.1"
    assert kept.json("study", "verify", "1.9")["objects"] == 1, "the current one stays"


def test_jobs_that_were_set_aside(kept: Terminal) -> None:
    waiting = [job for job in kept.json("job", "list") if job["kind"] == "pack-series"]
    assert len(waiting) == 2, "each series waits to be packed"
    with kept.archive() as archive, archive.database.write() as tx:
        tx.jobs.enqueue([NewJob("broken", "k", max_attempts=1)])
        job = tx.jobs.claim(["broken"], "me", archive.clock.now(), 1_000_000)
        assert job is not None
        assert tx.jobs.fail(job.id, "me", "it broke", 0) is JobState.DEAD
    [dead] = kept.json("job", "list", "--state", "dead")
    assert dead["error"] == "it broke"
    kept.run("job", "revive", str(dead["id"]))
    kept.run("job", "revive", str(dead["id"]), code=4)
    kept.run("job", "discard", str(dead["id"]), "--reason", "no use")
    kept.run("job", "discard", str(dead["id"]), "--reason", "no use", code=3)
    assert [kept.events(kind)[0]["payload"]["job"] for kind in ("job.revived", "job.discarded")] == [
        dead["id"]
    ] * 2


def test_echo(terminal: Terminal) -> None:
    shown = terminal.json("echo", "CT1@10.1.2.3:104")
    assert shown == {"peer": "CT1@10.1.2.3:104", "implementation_version": "FAKE_1"}
    [(_, peer)] = terminal.wiring.known.asked
    assert (peer.ae_title, peer.host, peer.port, peer.tls) == ("CT1", "10.1.2.3", 104, False)
    terminal.run("echo", "CT1@nowhere:104", code=6)
    terminal.run("echo", "CT1@nowhere", code=5)
    assert not terminal.data.exists(), "no archive is needed"


def test_a_peer_by_name(terminal: Terminal) -> None:
    terminal.run("device", "add", "pacs", "PACS@[::1]:11112")
    terminal.run("device", "add", "ct", "CT")
    terminal.run("echo", "pacs", "--tls")
    [(_, peer)] = terminal.wiring.known.asked
    assert (peer.host, peer.port, peer.tls) == ("::1", 11112, True)
    assert "no address" in terminal.run("echo", "ct", code=5).stderr
    terminal.run("echo", "nobody", code=3)


def test_find(terminal: Terminal) -> None:
    known = terminal.wiring.known
    known.rows = [{"PatientName": "DOE^JANE", "StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.3"}]
    words = ("find", "P@h:104", "PatientName=DOE*", "StudyDate")
    assert terminal.json(*words) == known.rows
    assert known.asked[0][2:] == (
        "study",
        Level.STUDY,
        {"PatientName": "DOE*", "StudyDate": "", "StudyInstanceUID": ""},
    )
    assert len(terminal.json(*words, "--limit", "1")) == 1
    terminal.run("find", "P@h:104", "--level", "series", "StudyInstanceUID=1.2")
    assert known.asked[-1][3] is Level.SERIES
    for wrong in (("Nonsense=1",), ("--level", "galaxy"), ("--model", "none")):
        terminal.run("find", "P@h:104", *wrong, code=2)


def test_send(kept: Terminal) -> None:
    known = kept.wiring.known
    assert kept.json("send", "P@h:104", "--study", "1.2.3")["completed"] == 3
    assert known.asked[-1][2] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.3"]
    known.statuses = [0, 0xA700, 0xB000, 0]
    result = kept.run("send", "P@h:104", "--study", "1.2.3", "--instance", "1.9.1", "--json", code=6)
    sent = json.loads(result.stdout)
    assert (sent["completed"], sent["failed"], sent["warning"]) == (2, 1, 1)
    assert sent["failures"] == [{"sop": "1.2.3.1.2", "status": "A700", "reason": "refused"}]
    kept.run("send", "P@h:104", "--patient", "nobody", code=3)


def test_move_and_get(kept: Terminal) -> None:
    known = kept.wiring.known
    kept.run("move", "P@h:104", "--study", "1.2", "--series", "1.2.3", "--to", "WS1", code=6)
    assert known.asked[-1][2:] == (
        Level.SERIES,
        {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"},
        "WS1",
    )
    assert kept.json("get", "P@h:104", "--study", "1.2", "--study", "1.3")["completed"] == 3
    assert known.asked[-1][2:] == (Level.STUDY, {"StudyInstanceUID": "1.2\\1.3"})
    kept.run("get", "P@h:104", code=2)


def test_errors_carry_what_to_do() -> None:
    assert str(HounsfieldError("It broke", "Mend it")) == "It broke. Mend it"
