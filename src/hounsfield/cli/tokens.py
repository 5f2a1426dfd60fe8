"""token create, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from hounsfield.cli.output import moment
from hounsfield.cli.session import Session, command
from hounsfield.domain.access import Permission
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.lockout import DAY
from hounsfield.ports.people import Token
from hounsfield.services import tokens

app = typer.Typer(help="API tokens: what programs sign in with.", no_args_is_help=True)


@command(app, "create")
def create(
    session: Session,
    user: Annotated[str, typer.Argument(help="Whose token it is.", show_default=False)],
    allow: Annotated[
        list[str],
        typer.Option(help=f"A permission; may be repeated. One of {', '.join(Permission)}."),
    ],
    label: Annotated[str, typer.Option(help="What it is for.", show_default=False)] = "",
    days: Annotated[int, typer.Option(help="Days after which it ends; 0: never.", min=0, max=36500)] = 365,
    site: Annotated[
        list[str] | None, typer.Option(help="Limit to studies of this site; may be repeated.")
    ] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="Limit to this study (and the sites); may be repeated.")
    ] = None,
) -> None:
    """Make a token. It is shown this once, and may what is allowed here, as far as its user may."""
    with session.archive() as archive:
        token, secret = tokens.create(
            *(archive.database, archive.clock, session.actor, user, allow),
            label=label,
            expires_at=archive.clock.now() + days * DAY if days else 0,
            sites=site or None,
            studies=study or None,
        )
    if session.out.as_json:
        session.out.record(row(token) | {"token": secret})
    else:
        session.out.say(f"Token {token.id} of {user}, shown this once:")
        session.out.say(secret)


@command(app, "list")
def list_tokens(
    session: Session,
    user: Annotated[str, typer.Option(help="Only those of this user.", show_default=False)] = "",
) -> None:
    """List the tokens, without their secrets."""
    with session.archive() as archive:
        found = [row(token) for token in tokens.listed(archive.database, user)]
    columns = [
        "id",
        "user",
        "label",
        "permissions",
        "sites",
        "studies",
        "created_at",
        "expires_at",
        "used_at",
    ]
    session.out.rows(columns, found, empty="No tokens yet; make one with `hounsfield token create`.")


@command(app, "revoke")
def revoke(
    session: Session, token: Annotated[str, typer.Argument(help="Id of the token.", show_default=False)]
) -> None:
    """Revoke a token: it is good for nothing any more, within a second."""
    if "_" in token:
        raise RefusedError(
            "This is a token itself, not its id", "Name what stands between its first two underscores"
        )
    with session.archive() as archive:
        revoked = tokens.revoke(archive.database, archive.clock, session.actor, token)
    if session.out.as_json:
        session.out.record({"id": revoked.id, "user": revoked.account, "result": "is revoked"})
    else:
        session.out.say(f"Token {revoked.id} of {revoked.account} is revoked.")


def row(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "user": token.account,
        "label": token.label,
        "permissions": list(token.permissions),
        "sites": None if token.sites is None else list(token.sites),
        "studies": None if token.studies is None else list(token.studies),
        "created_at": moment(token.created_at),
        "expires_at": moment(token.expires_at),
        "used_at": moment(token.used_at),
    }
