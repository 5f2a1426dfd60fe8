"""One's own account: password, second factor. For sessions alone: a token never changes who may sign in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from hounsfield.domain.access import Permission, Principal
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.api.shapes import Done, Shape, TheWeb, Who, problems
from hounsfield.servers.web.guard import SIGNED_IN, Rule
from hounsfield.servers.web.identify import too_many
from hounsfield.servers.web.login import put_session
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.web import Web
from hounsfield.services import accounts, totp
from hounsfield.services.sign_in import WaitError

router = APIRouter(tags=["own account"])

_PASSWORD = Annotated[str, Field(max_length=1000)]


class PasswordChange(Shape):
    old: _PASSWORD
    new: _PASSWORD


class Confirmed(Shape):
    password: _PASSWORD = Field(description="One's own, asked for once more.")


class Enrolment(Shape):
    secret: str = Field(description="Base32, for the app that makes the codes; shown this once.")
    uri: str = Field(description="The same, to show as a QR code.")


class Code(Shape):
    code: Annotated[str, Field(max_length=32)]


class RecoveryCodes(Shape):
    codes: list[str] = Field(description="Each opens the account once, without the app; shown this once.")


@router.put("/session/password", responses=problems())
async def change_password(
    request: Request, response: Response, web: TheWeb, who: Who, change: PasswordChange
) -> Done:
    """Change one's own password: all sessions end, this one goes on as a new one."""
    await _confirm(request, web, who, change.old)
    await web.beside_loop(
        accounts.set_password,
        web.database,
        web.clock,
        who.actor,
        who.name,
        change.new,
        by=who,
        confirmed=True,
    )
    await put_session(request, response, who)
    return Done()


@router.post("/session/second-factor", responses=problems(409))
async def begin_second_factor(request: Request, web: TheWeb, who: Who, asked: Confirmed) -> Enrolment:
    """Begin to set up one-time codes (RFC 6238); they are asked for once a first code was confirmed."""
    await _confirm(request, web, who, asked.password)
    secret, uri = await web.beside_loop(totp.enrol, web.database, web.clock, who.actor, who.name)
    return Enrolment(secret=secret, uri=uri)


@router.post("/session/second-factor/confirm", responses=problems())
async def confirm_second_factor(web: TheWeb, who: Who, first: Code) -> RecoveryCodes:
    """Finish with a first code."""
    _check_session(who)
    codes = await web.beside_loop(
        totp.confirm, web.database, web.clock, who.actor, who.name, first.code.replace(" ", "")
    )
    return RecoveryCodes(codes=codes)


@router.post("/session/second-factor/remove", responses=problems(404))
async def remove_second_factor(request: Request, web: TheWeb, who: Who, asked: Confirmed) -> Done:
    """Take one's own second factor away."""
    await _confirm(request, web, who, asked.password)
    await web.beside_loop(totp.remove, web.database, web.clock, who.actor, who.name)
    return Done()


@router.delete("/users/{name}/second-factor", responses=problems(404))
async def remove_others_second_factor(web: TheWeb, who: Who, name: str) -> Done:
    """Take a user's second factor away, who has lost it."""
    await web.beside_loop(accounts.check_may_sign_in_as, web.database, name, who)
    await web.beside_loop(totp.remove, web.database, web.clock, who.actor, name)
    return Done()


async def _confirm(request: Request, web: Web, who: Principal, password: str) -> None:
    """Raises Problem 403, 422 or 429 where it is not the password of who is signed in."""
    _check_session(who)
    try:
        address = the_web.address(request)
        await web.passwords.check(address, web.access.confirm, who.name, password, address)
    except WaitError as error:
        raise too_many(error.what, error.seconds) from error


def _check_session(who: Principal) -> None:
    if who.how != "session":
        raise Problem(403, "This is not for you", "Sign in with a browser to change your own account")


RULES = (
    Rule("PUT", "/api/session/password", SIGNED_IN),
    Rule("POST", "/api/session/second-factor", SIGNED_IN),
    Rule("POST", "/api/session/second-factor/confirm", SIGNED_IN),
    Rule("POST", "/api/session/second-factor/remove", SIGNED_IN),
    Rule("DELETE", "/api/users/{name}/second-factor", Permission.USERS_CHANGE),
)
