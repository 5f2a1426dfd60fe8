"""doctor, version."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

import hounsfield
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
    """Look the archive over and say what to do; exit code 1 where there is a problem."""
    with session.archive() as archive:
        findings = list(examine(archive, session.config, versions(), actor=session.actor, deep=deep))
    problems = sum(finding.verdict is Verdict.PROBLEM for finding in findings)
    if session.out.as_json:
        session.out.record({"problems": problems, "findings": [row(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(session, finding)
        session.out.say(f"{problems} problems." if problems else "No problem found.")
    if problems:
        raise typer.Exit(1)


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
