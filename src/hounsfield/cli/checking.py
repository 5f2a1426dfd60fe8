"""doctor, version."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import hounsfield
from hounsfield.cli.importing import INTERRUPTED
from hounsfield.cli.session import Session, command
from hounsfield.services.doctor import Finding, Verdict, examine

PACKAGES = ("pydicom", "SQLAlchemy", "psycopg", "uvloop", "imagecodecs", "blake3", "pydantic", "typer")
_MARKS = {Verdict.FINE: ("ok", "green"), Verdict.WARNING: ("look", "yellow"), Verdict.PROBLEM: ("BAD", "red")}


def register(app: typer.Typer) -> None:
    command(app, "doctor")(doctor)
    command(app, "version")(show_version)


def doctor(
    session: Session,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read everything that is kept and compare it with its hashes.")
    ] = False,
) -> None:
    """Look the archive over and say what to do; exit code 1 where there is a problem.

    Exit code 130 where it was stopped before the end (Ctrl-C).
    """
    findings, complete = [], False
    with session.archive() as archive, _Bar(session.out.errors) as bar:
        try:
            for finding in examine(
                archive, session.config, versions(), actor=session.actor, deep=deep, progress=bar.show
            ):
                bar.hide()
                findings.append(finding)
                if not session.out.as_json:
                    _print(session, finding)
            complete = True
        except KeyboardInterrupt:
            bar.hide()
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    if session.out.as_json:
        rows = [row(finding) for finding in findings]
        session.out.record({"problems": problems, "complete": complete, "findings": rows})
    elif complete:
        session.out.say(
            f"{problems} problem{'s' if problems > 1 else ''}." if problems else "No problem found."
        )
    else:
        session.out.say("Stopped before the end.")
    if not complete:
        raise typer.Exit(INTERRUPTED)
    if problems:
        raise typer.Exit(1)


class _Bar:
    """A progress bar that is there while something takes long; none where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._wanted = console.is_terminal
        self._task: TaskID | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def show(self, what: str, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._task is None:
            self._task = self._progress.add_task(what, total=total)
            self._progress.start()
        self._progress.update(self._task, completed=done)

    def hide(self) -> None:
        if self._task is not None:
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None


def show_version(session: Session) -> None:
    """Show the version of this program and of what it stands on."""
    session.out.record(versions())


def versions() -> dict[str, str]:
    found = {
        "hounsfield": hounsfield.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for name in PACKAGES:
        try:
            found[name.lower()] = version(name)
        except PackageNotFoundError:
            found[name.lower()] = "missing"
    return found


def row(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "verdict": str(finding.verdict),
        "what": finding.what,
        "todo": finding.todo,
        "details": list(finding.details),
    }


def _print(session: Session, finding: Finding) -> None:
    mark, style = _MARKS[finding.verdict]
    session.out.marked(mark, style, f"{finding.check}: {finding.what}")
    for line in finding.details:
        session.out.say(f"       {line}")
    if finding.todo:
        session.out.say(f"       -> {finding.todo}")
