"""user add, list, roles, set, password, totp, sign-out, remove."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.domain.access import ROLE_PERMISSIONS, ROLE_SUMMARIES, UNLIMITED_ONLY, Permission, Role
from hounsfield.ports.people import Account
from hounsfield.services import accounts
from hounsfield.services import totp as second_factor

app = typer.Typer(help="User accounts.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the user.", show_default=False)]
ROLES = f"One of {', '.join(Role)}; see `hounsfield user roles`."


@command(app, "add")
def add(
    session: Session,
    name: Name,
    role: Annotated[str, typer.Option(help=ROLES)] = "radiologist",
    site: Annotated[
        list[str] | None, typer.Option(help="Limit to studies of this site; may be repeated.")
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="Grant this study (Study Instance UID); may be repeated.")
    ] = None,
) -> None:
    """Add a user. The password is asked for; without a terminal it is the first line of the input.

    A service has no password: make a token for it."""
    password = "" if role == Role.SERVICE else _password()
    with session.archive(make=True) as archive:
        made = accounts.add(
            *(archive.database, archive.clock, session.actor, name, role, password),
            sites=site or (),
            studies=study or (),
        )
    _told(session, made, "is added")


@command(app, "list")
def list_users(session: Session) -> None:
    """List the users."""
    with session.archive() as archive:
        rows = [row(account) for account in accounts.listed(archive.database)]
    columns = ["name", "role", "sites", "studies", "created_at", "totp", "provider", "disabled"]
    shown = rows if session.out.as_json else [_short(one) for one in rows]
    session.out.rows(columns, shown)


@command(app, "roles")
def roles(session: Session) -> None:
    """Show what each role may."""
    if session.out.as_json:
        rows = [
            {"role": role, "about": ROLE_SUMMARIES[role], "permissions": sorted(ROLE_PERMISSIONS[role])}
            for role in Role
        ]
        session.out.rows(["role", "about", "permissions"], rows)
        return
    table = [
        {"permission": permission + ("*" if permission in UNLIMITED_ONLY else "")}
        | {role: "yes" if permission in ROLE_PERMISSIONS[role] else "" for role in Role}
        for permission in Permission
    ]
    session.out.rows(["permission", *Role], table)
    session.out.say("* only where the user is limited to no site or study")


@command(app, "set")
def set_user(
    session: Session,
    name: Name,
    role: Annotated[str | None, typer.Option(help=ROLES, show_default=False)] = None,
    site: Annotated[
        list[str] | None, typer.Option(help="The sites from now on; may be repeated.", show_default=False)
    ] = None,
    no_site: Annotated[bool, typer.Option("--no-site", help="No longer limited by site.")] = False,
    grant: Annotated[
        list[str] | None, typer.Option(help="Grant this study; may be repeated.", show_default=False)
    ] = None,
    withdraw: Annotated[
        list[str] | None, typer.Option(help="Grant it no longer; may be repeated.", show_default=False)
    ] = None,
    disabled: Annotated[
        bool | None,
        typer.Option("--disable/--enable", help="Whether the user may do anything.", show_default=False),
    ] = None,
) -> None:
    """Change what a user may. Another role ends the user's sessions; --disable ends tokens, too."""
    change = accounts.Change(
        role, () if no_site else site or None, tuple(grant or ()), tuple(withdraw or ()), disabled
    )
    with session.archive() as archive:
        changed = accounts.change(archive.database, archive.clock, session.actor, name, change)
    _told(session, changed, "is changed")


@command(app, "password")
def password(session: Session, name: Name) -> None:
    """Set a user's password, asked for as `user add` does. It ends the user's sessions."""
    new = _password()
    with session.archive() as archive:
        accounts.set_password(archive.database, archive.clock, session.actor, name, new)
    _result(session, name, "has a new password")


@command(app, "totp")
def totp(
    session: Session,
    name: Name,
    confirm: Annotated[
        str, typer.Option(help="The code that the app shows: from now on codes are asked for.")
    ] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Ask for no codes any more.")] = False,
) -> None:
    """Set up a second factor: one-time codes of an app on the user's phone.

    Without options it shows the secret for the app; --confirm finishes with a first code, and shows the
    recovery codes."""
    with session.archive() as archive:
        who = (archive.database, archive.clock, session.actor, name)
        if remove:
            second_factor.remove(*who)
            _result(session, name, "has no second factor")
        elif confirm:
            codes = second_factor.confirm(*who, confirm)
            if session.out.as_json:
                session.out.record({"user": name, "recovery_codes": codes})
                return
            session.out.say(f"{name} is asked for a code from now on. Recovery codes, shown this once:")
            for code in codes:
                session.out.say(f"  {code}")
        else:
            secret, uri = second_factor.enrol(*who)
            if session.out.as_json:
                session.out.record({"user": name, "secret": secret, "uri": uri})
                return
            session.out.say(f"Secret: {secret}")
            session.out.say(f"Address for a QR code: {uri}")
            session.out.say(f"Then: hounsfield user totp {name} --confirm CODE")


@command(app, "sign-out")
def sign_out(session: Session, name: Name) -> None:
    """End all sessions of a user; tokens stay."""
    with session.archive() as archive:
        ended = accounts.end_sessions(archive.database, archive.clock, session.actor, name)
    _result(session, name, f"is signed out of {ended} sessions")


@command(app, "remove")
def remove(session: Session, name: Name) -> None:
    """Remove a user with all sessions and tokens; the ledger keeps what was done under the name."""
    with session.archive() as archive:
        accounts.remove(archive.database, archive.clock, session.actor, name)
    _result(session, name, "is removed")


def row(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        **accounts.described(account),
        "created_at": moment(account.created_at),
        "totp": bool(account.totp_secret),
        "provider": account.subject.partition(" ")[0],
    }


def _short(row: dict[str, object]) -> dict[str, object]:
    sites, studies = row["sites"], row["studies"]
    assert isinstance(sites, list) and isinstance(studies, list)
    return row | {"sites": ", ".join(sites), "studies": len(studies) or ""}


def _password() -> str:
    """Never an argument: those are seen by everybody on the machine."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _told(session: Session, account: Account, what: str) -> None:
    if session.out.as_json:
        session.out.record(row(account) | {"result": what})
    else:
        session.out.say(f"{account.name} {what}.")


def _result(session: Session, name: str, what: str) -> None:
    if session.out.as_json:
        session.out.record({"user": name, "result": what})
    else:
        session.out.say(f"{name} {what}.")
