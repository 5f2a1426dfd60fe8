"""Who asks, users, and API tokens. Who may do what with whom, `accounts` and `tokens` of services decide."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from hounsfield.domain.access import Permission, Role
from hounsfield.ports.people import Account, Token
from hounsfield.servers.web.api.shapes import Done, Shape, TheWeb, Who, Word, microseconds, moment, problems
from hounsfield.servers.web.guard import SIGNED_IN, Rule
from hounsfield.services import accounts, tokens
from hounsfield.services.accounts import Change

router = APIRouter(tags=["people"])

_NAME = Annotated[str, Field(min_length=1, max_length=64)]
_PASSWORD = Annotated[str, Field(max_length=1000)]
_SITES = Annotated[list[Word], Field(max_length=100)]
_STUDIES = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=10_000)]


class Self(Shape):
    name: str
    role: Role
    permissions: list[Permission]
    limited: bool = Field(description="Whether it is limited to some sites or studies.")
    how: str = Field(description="session, token or basic.")
    csrf_token: str = Field(description="For the header X-CSRF-Token of a session's unsafe requests.")


class User(Shape):
    name: str
    role: str
    sites: list[str]
    studies: list[str]
    disabled: bool
    created_at: datetime | None
    second_factor: bool
    external: bool = Field(description="Whether a provider vouches for it, and not a password of ours.")


class Users(Shape):
    users: list[User]


class NewUser(Shape):
    name: _NAME
    role: Role
    password: _PASSWORD = Field(default="", description="None for a service.")
    sites: _SITES = Field(default=[], description="To which it is limited; none: to none.")
    studies: _STUDIES = Field(default=[], description="Study Instance UIDs granted.")


class UserChange(Shape):
    """What is to change; null leaves it as it is."""

    role: Role | None = None
    sites: _SITES | None = None
    grant: _STUDIES = Field(default=[], description="Study Instance UIDs to add.")
    withdraw: _STUDIES = Field(default=[], description="And to take away.")
    disabled: bool | None = None


class NewPassword(Shape):
    password: _PASSWORD


class ApiToken(Shape):
    id: str
    user: str
    label: str
    permissions: list[str]
    sites: list[str] | None
    studies: list[str] | None
    created_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None


class ApiTokens(Shape):
    tokens: list[ApiToken]


class NewToken(Shape):
    user: Annotated[str, Field(max_length=64)] = Field(default="", description="Whose; '' for one's own.")
    label: Word = ""
    permissions: Annotated[list[Permission], Field(min_length=1)]
    expires_at: datetime | None = None
    sites: _SITES | None = None
    studies: _STUDIES | None = None


class MadeToken(Shape):
    token: ApiToken
    secret: str = Field(description="To send as `Authorization: Bearer ...`; shown this once.")


@router.get("/session", responses=problems())
async def show_self(web: TheWeb, who: Who) -> Self:
    """Who asks, and what they may."""
    return Self(
        name=who.name,
        role=who.role,
        permissions=sorted(who.permissions),
        limited=not who.scope.unlimited,
        how=who.how,
        csrf_token=web.access.csrf_token(who.session) if who.how == "session" else "",
    )


@router.get("/users", responses=problems())
async def list_users(web: TheWeb, who: Who) -> Users:
    """The users that whoever asks may see."""
    found = await web.beside_loop(accounts.listed, web.database, by=who)
    return Users(users=[_user(account) for account in found])


@router.post("/users", status_code=201, responses=problems(409))
async def add_user(web: TheWeb, who: Who, new: NewUser) -> User:
    """Add a user."""
    made = await web.beside_loop(
        accounts.add,
        web.database,
        web.clock,
        who.actor,
        new.name,
        str(new.role),
        new.password,
        sites=tuple(new.sites),
        studies=tuple(new.studies),
        by=who,
    )
    return _user(made)


@router.get("/users/{name}", responses=problems(404))
async def show_user(web: TheWeb, who: Who, name: str) -> User:
    """One user."""
    return _user(await web.beside_loop(accounts.get, web.database, name, by=who))


@router.patch("/users/{name}", responses=problems(404))
async def change_user(web: TheWeb, who: Who, name: str, change: UserChange) -> User:
    """Change role, sites, studies, state of a user."""
    what = Change(
        None if change.role is None else str(change.role),
        change.sites,
        change.grant,
        change.withdraw,
        change.disabled,
    )
    changed = await web.beside_loop(accounts.change, web.database, web.clock, who.actor, name, what, by=who)
    return _user(changed)


@router.delete("/users/{name}", responses=problems(404))
async def remove_user(web: TheWeb, who: Who, name: str) -> Done:
    """Remove a user, with sessions and tokens; the ledger keeps what was done under the name."""
    await web.beside_loop(accounts.remove, web.database, web.clock, who.actor, name, by=who)
    return Done()


@router.put("/users/{name}/password", responses=problems(404))
async def set_password(web: TheWeb, who: Who, name: str, new: NewPassword) -> Done:
    """Set a user's password; ends the user's sessions."""
    await web.beside_loop(
        accounts.set_password, web.database, web.clock, who.actor, name, new.password, by=who
    )
    return Done()


@router.delete("/users/{name}/sessions", responses=problems(404))
async def end_sessions(web: TheWeb, who: Who, name: str) -> Done:
    """Sign a user out everywhere."""
    await web.beside_loop(accounts.end_sessions, web.database, web.clock, who.actor, name, by=who)
    return Done()


@router.get("/tokens", responses=problems(404))
async def list_tokens(web: TheWeb, who: Who, user: Annotated[str, Query(max_length=64)] = "") -> ApiTokens:
    """The tokens that whoever asks may see, of one user where one is named."""
    found = await web.beside_loop(tokens.listed, web.database, user, by=who)
    return ApiTokens(tokens=[_token(token) for token in found])


@router.post("/tokens", status_code=201, responses=problems(404))
async def create_token(web: TheWeb, who: Who, new: NewToken) -> MadeToken:
    """Make a token."""
    token, secret = await web.beside_loop(
        tokens.create,
        web.database,
        web.clock,
        who.actor,
        new.user or who.name,
        [str(permission) for permission in new.permissions],
        label=new.label,
        expires_at=microseconds(new.expires_at),
        sites=new.sites,
        studies=new.studies,
        by=who,
    )
    return MadeToken(token=_token(token), secret=secret)


@router.delete("/tokens/{token}", responses=problems(404))
async def revoke_token(web: TheWeb, who: Who, token: str) -> Done:
    """Revoke a token, by its id."""
    await web.beside_loop(tokens.revoke, web.database, web.clock, who.actor, token, by=who)
    return Done()


def _user(account: Account) -> User:
    return User(
        name=account.name,
        role=account.role,
        sites=list(account.sites),
        studies=list(account.studies),
        disabled=account.disabled,
        created_at=moment(account.created_at),
        second_factor=bool(account.totp_secret),
        external=bool(account.subject),
    )


def _token(token: Token) -> ApiToken:
    return ApiToken(
        id=token.id,
        user=token.account,
        label=token.label,
        permissions=list(token.permissions),
        sites=None if token.sites is None else list(token.sites),
        studies=None if token.studies is None else list(token.studies),
        created_at=moment(token.created_at),
        expires_at=moment(token.expires_at),
        used_at=moment(token.used_at),
    )


RULES = (
    Rule("GET", "/api/session", SIGNED_IN),
    Rule("GET", "/api/users", Permission.USERS_READ),
    Rule("POST", "/api/users", Permission.USERS_CHANGE),
    Rule("GET", "/api/users/{name}", Permission.USERS_READ),
    Rule("PATCH", "/api/users/{name}", Permission.USERS_CHANGE),
    Rule("DELETE", "/api/users/{name}", Permission.USERS_CHANGE),
    Rule("PUT", "/api/users/{name}/password", Permission.USERS_CHANGE),
    Rule("DELETE", "/api/users/{name}/sessions", Permission.USERS_CHANGE),
    Rule("GET", "/api/tokens", Permission.TOKENS_OWN),
    Rule("POST", "/api/tokens", Permission.TOKENS_OWN),
    Rule("DELETE", "/api/tokens/{token}", Permission.TOKENS_OWN),
)
