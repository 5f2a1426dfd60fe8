"""What all commands have in common: options, JSON, errors, exit codes, output that steers no terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hounsfield.cli.output import clean, shown
from hounsfield.cli.times import microseconds
from support_cli import Terminal


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Terminal(tmp_path / "data")


def test_version_prints_json(terminal: Terminal) -> None:
    assert terminal.json("version")["hounsfield"]
    assert "hounsfield" in terminal.run("version").stdout


def test_where_there_is_no_archive(terminal: Terminal) -> None:
    result = terminal.run("study", "list", code=3)
    assert "There is no archive" in result.stderr
    assert result.stdout == ""
    assert not terminal.data.exists(), "looking makes nothing"


def test_an_error_is_json_too(terminal: Terminal) -> None:
    result = terminal.run("study", "list", "--json", code=3)
    error = json.loads(result.stderr)
    assert error["exit_code"] == 3 and error["error"] and error["todo"]
    assert result.stdout == ""


def test_a_bad_setting_has_exit_code_2(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_AE_TITLE", "much too long a title")
    assert "ae_title" in terminal.run("study", "list", code=2).stderr


def test_an_unknown_option_has_exit_code_2(terminal: Terminal) -> None:
    terminal.run("study", "list", "--nonsense", code=2)


def test_options_of_serve_reach_the_settings(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text('ae_title = "FILE"\ndicom_port = 1\n')
    database = f"sqlite:///{tmp_path}/x.sqlite"
    terminal.run(
        *("serve", "--config", str(file), "--host", "::1", "--dicom-port", "1104"),
        *("--dicom-workers", "3", "--database", database, "--demo"),
    )
    [(_, settings, config, demo)] = terminal.wiring.started
    assert (settings.data, settings.host, settings.dicom_port) == (terminal.data, "::1", 1104)
    assert (settings.dicom_workers, settings.database_url) == (3, database)
    assert (settings.ae_title, config, demo) == ("FILE", file, True)


def test_roles_run_alone(terminal: Terminal) -> None:
    terminal.run("dicom", "--name", "dicom-7")
    terminal.run("worker")
    assert [(role, name) for role, _, name in terminal.wiring.started] == [
        ("dicom", "dicom-7"),
        ("worker", "worker-1"),
    ]


def test_an_empty_list_is_an_empty_array(terminal: Terminal) -> None:
    with terminal.archive():
        pass
    assert terminal.json("study", "list") == []
    assert terminal.json("device", "list") == []
    assert terminal.run("study", "list").stdout == ""


def test_nothing_of_an_object_steers_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    evil = "Evil\x1b[2J^Mind\u202e"
    terminal.keep(tmp_path / "in", "1.2.3.4", SpecificCharacterSet="ISO_IR 192", PatientName=evil)
    printed = terminal.run("study", "list").stdout
    assert "Evil" in printed
    assert "\x1b" not in printed and "\u202e" not in printed
    assert len(printed.splitlines()) == 2


@pytest.mark.parametrize("text", ["a\x1b]0;x\x07b", "a\x9b31mb", "a\rb", "a\u2066b"])
def test_control_characters_are_replaced(text: str) -> None:
    assert shown(text).startswith("a�") and shown(text).endswith("b")
    assert clean(text).isprintable()


def test_times() -> None:
    now = 1_700_000_000_000_000
    assert microseconds("", now) == 0
    assert microseconds("90s", now) == now - 90_000_000
    assert microseconds("2h", now) == now - 7_200_000_000
    assert microseconds("2024-01-31T08:30+01:00", now) == 1_706_686_200_000_000
    assert microseconds("2024-01-31T07:30Z", now) == 1_706_686_200_000_000


def test_completion_is_offered(terminal: Terminal) -> None:
    shown_script = terminal.run("--show-completion", "bash", where=False).stdout
    assert "hounsfield" in shown_script.lower() or "complete" in shown_script
