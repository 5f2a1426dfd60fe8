"""user add, list, password, remove."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.services import accounts

app = typer.Typer(help="User accounts.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user.", show_default=False)]


@command(app, "add")
def add(
    session: Session,
    name: Name,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(accounts.ROLES)}.")] = "user",
) -> None:
    """Add a user. The password is asked for; without a terminal it is the first line of the input."""
    password = _password()
    with session.archive(make=True) as archive:
        accounts.add(archive.database, archive.clock, session.actor, name, role, password)
    _told(session, name, "is added")


@command(app, "list")
def list_users(session: Session) -> None:
    """List the users."""
    with session.archive() as archive, archive.database.read() as tx:
        rows = [
            {"name": a.name, "role": a.role, "created_at": moment(a.created_at), "disabled": a.disabled}
            for a in tx.accounts.all()
        ]
    session.out.rows(["name", "role", "created_at", "disabled"], rows)


@command(app, "password")
def password(session: Session, name: Name) -> None:
    """Set a user's password, asked for as `user add` does."""
    new = _password()
    with session.archive() as archive:
        accounts.set_password(archive.database, archive.clock, session.actor, name, new)
    _told(session, name, "has a new password")


@command(app, "remove")
def remove(session: Session, name: Name) -> None:
    """Remove a user; the ledger keeps what was done under the name."""
    with session.archive() as archive:
        accounts.remove(archive.database, archive.clock, session.actor, name)
    _told(session, name, "is removed")


def _password() -> str:
    """Never an argument: those are seen by everybody on the machine."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _told(session: Session, name: str, what: str) -> None:
    if session.out.as_json:
        session.out.record({"user": name, "result": what})
    else:
        session.out.say(f"{name} {what}.")
