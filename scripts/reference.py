#!/usr/bin/env python3
"""Write the pages of docs/reference that are made from the code; with `--check` say which are stale."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from hounsfield.cli.app import app
from hounsfield.domain import errors
from hounsfield.domain.events import CATALOGUE
from hounsfield.settings import OTHER_VARIABLES, PREFIX, Settings

if __package__:
    from scripts import reference_api, reference_conformance, reference_dicomweb, reference_metrics
else:  # run as a program
    import reference_api
    import reference_conformance
    import reference_dicomweb
    import reference_metrics

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
NOTE = "<!-- Made from the code by `make docs`: change it there. -->\n"

SETTINGS_TEXT = """\
What is needed to start. A flag of the command line wins over the environment, the environment over the
TOML file (`--config`, `HOUNSFIELD_CONFIG`, or `hounsfield/config.toml` in the XDG configuration home), the
file over the default. Devices, users and rules are kept in the database, changed while the archive runs."""

EVENTS_TEXT = """\
Every event has a number in the chain of its writer, a time (microseconds since 1970, UTC), a type of this
list, subjects by which it is found (accession number, patient, study, series, device, association), an
actor, the event that caused it where there is one, a payload with the fields below, and a hash over all that
and the hash of the event before it. See `hounsfield ledger`."""

CLI_TEXT = """\
Every command takes `--data`, `--config` and `--database`, which name the archive, and, when it prints data,
`--json`: a list is then one JSON array, one thing one object, and an error one object on standard error.
Without it a list is a table on a terminal and tab-separated columns in a pipe."""


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if stale:
        print(("Out of date, run `make docs`: " if check else "Written: ") + ", ".join(stale))
    return 1 if check and stale else 0


def settings_page() -> str:
    lines = [
        NOTE,
        "# Settings",
        "",
        SETTINGS_TEXT,
        "",
        "| Setting | Variable | Values | Default | Meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined or isinstance(default, SecretStr) or default in (None, ""):
            shown = ""
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`"
        lines.append(
            f"| `{name}` | `{PREFIX}{name.upper()}` | {_kind(field.annotation, field.metadata)} | {shown} | "
            f"{field.description} |"
        )
    lines += ["", "## Other variables", "", "| Variable | Meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items()]
    lines += ["", "## Example", "", "```toml", 'data = "/srv/hounsfield"', 'host = "0.0.0.0"']
    lines += [
        'ae_title = "PACS1"',
        "dicom_workers = 2",
        'database = "postgresql://hounsfield@db/hounsfield"',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """The type of a setting in words."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if inner and all(isinstance(one, str) for one in inner):
        return ", ".join(f"`{one}`" for one in inner)
    plain = inner[0] if inner else annotation
    if hasattr(plain, "__members__"):
        return ", ".join(f"`{one.value}`" for one in plain)
    names = {int: "number", float: "seconds", bool: "`true`, `false`", Path: "path"}
    low = next((one.ge for one in metadata if hasattr(one, "ge")), None)
    high = next((one.le for one in metadata if hasattr(one, "le")), None)
    bounds = f", {low} to {high}" if high is not None else f", at least {low}" if low else ""
    return names.get(plain, "text") + bounds


def events_page() -> str:
    lines = [
        NOTE,
        "# Events of the ledger",
        "",
        EVENTS_TEXT,
    ]
    for event in CATALOGUE.values():
        lines += ["", f"## `{event.name}`", "", event.summary]
        if event.version != 1:
            lines += ["", f"Version {event.version}."]
        if event.fields:
            lines += ["", "| Field | Meaning |", "| --- | --- |"]
            lines += [f"| `{name}` | {meaning} |" for name, meaning in event.fields.items()]
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    root = typer.main.get_command(app)
    lines = [
        NOTE,
        "# Command line",
        "",
        CLI_TEXT,
        "",
        "`hounsfield --install-completion` installs completion for your shell.",
        "",
        "## Exit codes",
        "",
        "| Code | Meaning |",
        "| --- | --- |",
        "| 0 | Done. |",
        "| 1 | Another failure; `doctor` found a problem. |",
    ]
    lines += [f"| {code} | {text} |" for code, text in _exit_codes()]
    lines += ["| 130 | Stopped by Ctrl-C. |"]
    for path, command in _commands("hounsfield", root):
        lines += ["", f"## `{path}`", "", *inspect.cleandoc(command.help or "").splitlines()]
        arguments = " ".join(_metavar(p) for p in command.params if _is_argument(p))
        lines += ["", "```", f"{path} [OPTIONS] {arguments}".rstrip(), "```"]
        rows = [_row(parameter) for parameter in command.params if not _is_common(parameter)]
        if rows:
            lines += ["", "| Option | Meaning |", "| --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _metavar(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, with the words that run it."""
    children = getattr(command, "commands", None)
    if children is None or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in (children or {}).items():
        yield from _commands(f"{path} {name}", child)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _is_common(parameter: Any) -> bool:
    return parameter.name in ("data", "config", "database", "as_json", "help")


def _row(parameter: Any) -> str:
    names = "`" + "`, `".join([*parameter.opts, *parameter.secondary_opts]) + "`"
    if _is_argument(parameter):
        names = f"`{parameter.name.upper()}`"
    text = (parameter.help or "").replace("|", "\\|")
    default = parameter.default
    if default not in (None, "", False, ()) and not callable(default) and not parameter.required:
        text += f" Default: `{default}`."
    elif isinstance(getattr(parameter, "show_default", None), str):
        text += f" Default: `{parameter.show_default}`."
    if parameter.required:
        text += " Required."
    return f"| {names} | {text} |"


def _exit_codes() -> Iterator[tuple[int, str]]:
    found: dict[int, list[str]] = {}
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.HounsfieldError) and kind.exit_code != 1:
            found.setdefault(kind.exit_code, []).append(
                " ".join(inspect.cleandoc(kind.__doc__ or "").split())
            )
    found.setdefault(2, []).append("The command line itself is wrong.")
    for code, texts in sorted(found.items()):
        yield code, " ".join(texts)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "events.md": events_page,
    "conformance.md": lambda: reference_conformance.page(NOTE),
    "dicomweb.md": lambda: reference_dicomweb.page(NOTE),
    "api.md": lambda: reference_api.page(NOTE),
    "metrics.md": lambda: reference_metrics.page(NOTE),
}

if __name__ == "__main__":
    sys.exit(main())
