"""Signing in and out with a browser: password, one-time code, session cookie."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hounsfield.domain.access import Principal
from hounsfield.domain.errors import RefusedError
from hounsfield.servers.web import csrf
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.guard import PUBLIC, SIGNED_IN, Rule
from hounsfield.servers.web.identify import cookie, cookie_name, secure_cookies
from hounsfield.servers.web.pages import page, text
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.sealed import seal, unseal
from hounsfield.services import live_settings
from hounsfield.services.sign_in import CodeNeededError, WaitError

#: A path of ours, and nothing that a browser would take for another host.
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f-\U0010ffff]*\Z")
_FORM = "application/x-www-form-urlencoded"
#: Between the password and the one-time code.
STEP_COOKIE, STEP_SECONDS = "hounsfield-step", 300
LONGEST_FIELD = 1024


async def show(request: Request) -> Response:
    web = the_web.of(request)
    values = await web.beside_loop(live_settings.values, web.database)
    notice = f"<p>{text(values['sign_in_notice'])}</p>" if values["sign_in_notice"] else ""
    return _form(request, local(request.query_params.get("next", "")), notice=notice)


async def sign_in(request: Request) -> Response:
    web = the_web.of(request)
    form = await read_form(request)
    wanted = local(_field(form, "next"))
    otp = _field(form, "code").replace(" ", "")
    name, password = _field(form, "name"), _field(form, "password")
    if otp and not password:  # the second step: name and password were right a moment ago
        key = web.access.key("second-step")
        before = unseal(key, web.clock, request.cookies.get(STEP_COOKIE, ""))
        if before is None:
            return _form(request, wanted, wrong="That took too long; begin again.", status=401)
        name, password = before["name"], before["password"]
    address = the_web.address(request)
    identify = request.app.state.identify
    identify.check_failures(address)
    try:
        who = await web.passwords.check(address, web.access.password, name, password, address, otp)
    except CodeNeededError as error:
        return _ask_for_code(request, wanted, name, password, wrong=str(error) if otp else "")
    except WaitError as error:
        headers = {"Retry-After": str(error.seconds)}
        return _form(request, wanted, name, wrong=str(error), status=429, headers=headers)
    except RefusedError as error:
        identify.failed(address)
        return _form(request, wanted, name, wrong=str(error), status=401)
    return await begin_session(request, who, wanted)


async def sign_out(request: Request) -> Response:
    web = the_web.of(request)
    form = await read_form(request)
    if the_web.principal(request).how == "session":
        csrf.check_form(request, form)
    secure = secure_cookies(web, request.scope)
    if secret := cookie(request.headers, secure):
        await web.beside_loop(web.access.session_end, secret)
    response = RedirectResponse("/login", 303, {"Clear-Site-Data": '"cache"'})
    response.delete_cookie(cookie_name(secure), secure=secure, httponly=True, samesite="lax")
    return response


async def begin_session(request: Request, who: Principal, wanted: str) -> Response:
    """A new session, whatever the browser had before: a cookie that was put there by somebody else is never
    the one that becomes signed in."""
    web = the_web.of(request)
    secure = secure_cookies(web, request.scope)
    if old := cookie(request.headers, secure):
        await web.beside_loop(web.access.session_end, old)
    response = RedirectResponse(wanted, 303)
    await put_session(request, response, who)
    response.delete_cookie(STEP_COOKIE, path="/login", secure=secure, httponly=True, samesite="strict")
    return response


async def put_session(request: Request, response: Response, who: Principal) -> None:
    """Begin a session whose cookie goes out with the response."""
    web = the_web.of(request)
    secure = secure_cookies(web, request.scope)
    secret = await web.beside_loop(web.access.session_begin, who, the_web.address(request))
    response.set_cookie(cookie_name(secure), secret, path="/", secure=secure, httponly=True, samesite="lax")


def local(wanted: str) -> str:
    """Where to go on after signing in: a path of ours, or "/"."""
    return wanted if len(wanted) <= 2048 and _LOCAL.match(wanted) else "/"


def refused(request: Request, wanted: str, wrong: str, status: int = 403) -> Response:
    """The sign-in page, and what was wrong."""
    return _form(request, wanted, wrong=wrong, status=status)


async def read_form(request: Request) -> FormData:
    """Raises Problem 415, 400."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Problem(415, "This media type is not taken here", f"Send a form ({_FORM})")
    return await request.form(max_fields=20)


def _field(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > LONGEST_FIELD:
        raise Problem(400, "The form cannot be read", f"{name} is too long")
    return value


def _form(
    request: Request,
    wanted: str,
    name: str = "",
    *,
    wrong: str = "",
    status: int = 200,
    headers: dict[str, str] | None = None,
    notice: str = "",
) -> Response:
    other = ""
    if the_web.of(request).settings.oidc_issuer:
        other = f'<p><a href="/login/oidc?next={quote(wanted)}">Sign in with your organisation</a></p>'
    body = (
        f"{_wrong(wrong)}{notice}"
        '<form method="post" action="/login">'
        f'<input type="hidden" name="next" value="{text(wanted)}">'
        f'<label>Name <input name="name" value="{text(name)}" autocomplete="username" required autofocus>'
        "</label>"
        '<label>Password <input type="password" name="password" autocomplete="current-password" required>'
        f"</label><button>Sign in</button></form>{other}"
    )
    response = page("Sign in to Hounsfield", body, status=status, narrow=True)
    response.headers.update(headers or {})
    return response


def _ask_for_code(request: Request, wanted: str, name: str, password: str, wrong: str) -> Response:
    web = the_web.of(request)
    body = (
        f"{_wrong(wrong)}"
        '<form method="post" action="/login">'
        f'<input type="hidden" name="next" value="{text(wanted)}">'
        '<label>One-time code <input name="code" inputmode="numeric" autocomplete="one-time-code" required '
        "autofocus></label><button>Go on</button></form>"
    )
    sealed = seal(
        web.access.key("second-step"), web.clock, STEP_SECONDS, {"name": name, "password": password}
    )
    response = page("One-time code", body, status=401 if wrong else 200, narrow=True)
    response.set_cookie(
        STEP_COOKIE,
        sealed,
        max_age=STEP_SECONDS,
        path="/login",
        secure=secure_cookies(web, request.scope),
        httponly=True,
        samesite="strict",
    )
    return response


def _wrong(sentence: str) -> str:
    return f'<p class="wrong" role="alert">{text(sentence)}</p>' if sentence else ""


routes = [
    Route("/login", show, methods=["GET"]),
    Route("/login", sign_in, methods=["POST"]),
    Route("/logout", sign_out, methods=["POST"]),
]
RULES = (
    Rule("GET", "/login", PUBLIC),
    Rule("POST", "/login", PUBLIC, form=True),
    Rule("POST", "/logout", SIGNED_IN, form=True),
)
