"""Signing in with an OpenID Connect provider."""

from __future__ import annotations

import hmac

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hounsfield.domain.errors import PeerError, RefusedError
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.guard import PUBLIC, Rule
from hounsfield.servers.web.identify import secure_cookies
from hounsfield.servers.web.login import begin_session, local, refused
from hounsfield.servers.web.oidc_provider import Attempt, Provider
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.sealed import seal, unseal

COOKIE, ATTEMPT_SECONDS = "hounsfield-oidc", 600
CALLBACK = "/login/oidc/callback"


async def begin(request: Request) -> Response:
    """Send the browser to the provider, with what it has to bring back in a cookie."""
    web, provider = the_web.of(request), _provider(request)
    wanted = local(request.query_params.get("next", ""))
    attempt = Attempt.new()
    try:
        address = await provider.address(attempt, the_web.base_url(request) + CALLBACK)
    except PeerError as error:
        return refused(request, wanted, str(error), 502)
    values = {"state": attempt.state, "nonce": attempt.nonce, "verifier": attempt.verifier, "next": wanted}
    response = RedirectResponse(address, 303)
    response.set_cookie(
        COOKIE,
        seal(web.access.key("oidc"), web.clock, ATTEMPT_SECONDS, values),
        max_age=ATTEMPT_SECONDS,
        path="/login/oidc",
        secure=secure_cookies(web, request.scope),
        httponly=True,
        samesite="lax",
    )
    return response


async def callback(request: Request) -> Response:
    """The browser is back: with a code, or with the provider's refusal."""
    response = await _signed_in(request)
    response.delete_cookie(
        COOKIE,
        path="/login/oidc",
        secure=secure_cookies(the_web.of(request), request.scope),
        httponly=True,
        samesite="lax",
    )
    return response


async def _signed_in(request: Request) -> Response:
    web, provider = the_web.of(request), _provider(request)
    address = the_web.address(request)
    request.app.state.identify.check_failures(address)
    query = request.query_params
    kept = unseal(web.access.key("oidc"), web.clock, request.cookies.get(COOKIE, ""))
    if kept is None or not hmac.compare_digest(kept["state"].encode(), query.get("state", "").encode()):
        request.app.state.identify.failed(address)
        return refused(request, "/", "This sign-in was not begun here, or took too long; begin again.", 400)
    if "error" in query or not query.get("code"):
        return refused(request, kept["next"], "The provider did not let you in.")
    attempt = Attempt(kept["state"], kept["nonce"], kept["verifier"])
    try:
        claims = await provider.claims(
            attempt, the_web.base_url(request) + CALLBACK, query["code"], query.get("iss")
        )
        who = await web.beside_loop(web.access.external, provider.issuer, str(claims["sub"]), claims, address)
    except PeerError as error:
        return refused(request, kept["next"], str(error), 502)
    except RefusedError as error:
        request.app.state.identify.failed(address)
        return refused(request, kept["next"], str(error))
    return await begin_session(request, who, kept["next"])


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.oidc
    if provider is None:
        raise Problem(404, "There is nothing here")
    return provider


routes = [Route("/login/oidc", begin), Route(CALLBACK, callback)]
RULES = (Rule("GET", "/login/oidc", PUBLIC), Rule("GET", CALLBACK, PUBLIC))
