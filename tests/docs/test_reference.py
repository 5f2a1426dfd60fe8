"""The reference pages say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import reference

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == reference.PAGES[name](), "run `make docs`"


def test_every_setting_is_described() -> None:
    page = reference.settings_page()
    for name, field in reference.Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert f"`HOUNSFIELD_{name.upper()}`" in page


def test_every_command_says_what_it_does() -> None:
    root = reference.typer.main.get_command(reference.app)
    commands = list(reference._commands("hounsfield", root))
    for path, command in commands:
        assert command.help, path
        for parameter in command.params:
            assert parameter.help, f"{path} {parameter.name}"
    named = {path.removeprefix("hounsfield ") for path, _ in commands}
    assert named >= {
        *("serve", "dicom", "web", "worker", "import", "echo", "find", "send", "get", "move"),
        *("doctor", "version"),
        *(f"device {verb}" for verb in ("add", "list", "show", "admit", "refuse", "remove")),
        *(f"user {verb}" for verb in ("add", "list", "password", "remove")),
        *(f"study {verb}" for verb in ("list", "show", "verify", "extract")),
        *(f"job {verb}" for verb in ("list", "revive", "discard")),
        *(f"quarantine {verb}" for verb in ("list", "release", "drop")),
        *("ledger", "ledger verify"),
    }


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [code for code, _ in reference._exit_codes()]
    assert codes == sorted(set(codes))
    assert 7 in codes and "not the bytes that were received" in dict(reference._exit_codes())[7]
