"""The guard: every request passes it first. Who asks, whether the table of rules lets them, within which
limits; closed by default. (Whether they may see a study is `seeing`'s; rules are `table.Rule`s.)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hounsfield.domain.access import ANONYMOUS, Permission, Principal
from hounsfield.servers.web import csrf
from hounsfield.servers.web.headers import Cors, secure
from hounsfield.servers.web.identify import Identify, too_many
from hounsfield.servers.web.limits import Buckets
from hounsfield.servers.web.observe import Observed
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.proxies import Proxies, is_nearby
from hounsfield.servers.web.table import NEARBY, PUBLIC, SIGNED_IN, Needs, Rule, Table
from hounsfield.servers.web.web import Web
from hounsfield.settings_web import split_list

__all__ = ["NEARBY", "PUBLIC", "SIGNED_IN", "Guard", "Needs", "Permission", "Rule", "Table"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Programs ask there, never people: they are told 401, not sent to the sign-in page.
PROGRAM_PATHS = ("/api/", "/dicom-web", "/wado", "/metrics", "/readyz", "/fhir")
KIB, MIB = 1 << 10, 1 << 20
_ROOT = re.compile(r"/+dicom-web/+")


class Guard:
    """ASGI middleware around all of the role."""

    def __init__(self, app: ASGIApp, web: Web, table: Table) -> None:
        settings = web.settings
        self.app = app
        self.web = web
        self.table = table
        self.identify = Identify(web)
        self.proxies = Proxies(split_list(settings.trusted_proxies))
        self.cors = Cors(split_list(settings.cors_origins))
        self.requests = Buckets(settings.http_rate, 2 * settings.http_rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("The web role speaks HTTP alone")
        peer = scope["client"][0] if scope.get("client") else ""
        headers = Headers(scope=scope)
        self.proxies.settle(scope, headers)
        scope["path"] = _joined(scope["path"])
        scope["app"] = self.app  # who asks `web.of` before the router has run
        cors = self.cors.headers(headers.get("origin"))
        with Observed(scope, headers) as observed:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    observed.status = message["status"]
                    secure(message, https=scope["scheme"] == "https", cors=cors)
                await send(message)

            try:
                methods = self.table.methods(scope["path"])
                if cors and (preflight := self._preflight(scope, headers)) is not None:
                    await preflight(scope, receive, answer)
                    return
                rule = self._rule(scope, methods)
                observed.template = rule.path if rule is not None else ""
                request = Request(scope)
                await self._admit(request, rule, methods, peer)
                receive = await self._bounded(scope, headers, receive, rule)
            except Problem as problem:
                await self._refuse(scope, headers, problem)(scope, receive, answer)
                return
            except _GoneError:
                return
            await self.app(scope, receive, answer)

    def _rule(self, scope: Scope, methods: Mapping[str, Rule]) -> Rule | None:
        return methods.get(scope["method"])

    async def _admit(
        self, request: Request, rule: Rule | None, methods: Mapping[str, Rule], peer: str
    ) -> None:
        """Raises Problem where the request goes no further."""
        scope = request.scope
        who = ANONYMOUS
        if rule is None or rule.needs != PUBLIC:
            who = await self._who(request, rule, peer)
        scope.setdefault("state", {})["principal"] = who
        key = f"{who.how}:{who.name}:{who.token}" if who.name else scope["client"][0]
        if seconds := self.requests.take(key, self.web.clock.monotonic()):
            raise too_many("The limit of requests is reached", seconds)
        if rule is None:
            if methods:
                allowed = {"Allow": ", ".join(sorted(methods))}
                raise Problem(405, "This method cannot be used here", headers=allowed)
            raise Problem(404, "There is nothing here")
        if rule.needs in (PUBLIC, NEARBY, SIGNED_IN):
            pass
        elif not who.may(cast(Permission, rule.needs)):
            self.web.audit.count(request, "access.refused", "", f"{rule.method} {rule.path}")
            raise Problem(403, "This is not for you", f"It needs the permission {rule.needs}")
        if scope["method"] not in SAFE_METHODS:
            if who.how == "session" or rule.form:
                csrf.check_origin(request)
            if who.how == "session" and not rule.form:
                csrf.check_header(request, who)

    async def _who(self, request: Request, rule: Rule | None, peer: str) -> Principal:
        found = await self.identify.who(request.scope, request.headers)
        if found is not None:
            return found
        if rule is not None and rule.needs == NEARBY and is_nearby(peer, request.headers):
            return ANONYMOUS
        raise self.identify.refusal(request.scope, "This needs a token, or a session")

    def _preflight(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a browser that asks whether a page may ask; nothing of ours is in it."""
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        response = Response(status_code=204)
        response.raw_headers.extend(self.cors.preflight())
        return response

    async def _bounded(self, scope: Scope, headers: Headers, receive: Receive, rule: Rule | None) -> Receive:
        """`receive` that keeps to the limits of the rule. A small body is read here and now: it is refused
        before anything is done with it. Raises Problem 413."""
        upload = rule is not None and rule.upload
        settings = self.web.settings
        limit = settings.http_max_upload * MIB if upload else settings.http_max_body * KIB
        length = headers.get("content-length", "")
        if not length and "transfer-encoding" not in headers:
            return receive
        if limit and length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        return _counted(receive, limit) if upload else await _whole(receive, limit)

    def _refuse(self, scope: Scope, headers: Headers, problem: Problem) -> Response:
        """A person with a browser is shown the sign-in page, everybody else the problem."""
        path = scope["path"]
        page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if problem.status == 401 and page and not path.startswith(PROGRAM_PATHS):
            query = scope.get("query_string", b"").decode("latin-1")
            wanted = quote(path + ("?" + query if query else ""), safe="/")
            return RedirectResponse(f"/login?next={wanted}" if path != "/" else "/login", 303)
        if scope["method"] not in SAFE_METHODS:
            problem.headers.setdefault("Connection", "close")  # what it sends besides is not waited for
        return problem.response()


def _joined(path: str) -> str:
    """The path as the table and the routes have it: clients of DICOMweb put a slash too many where they join
    addresses, behind the root or at the end. Between UIDs one stays wrong: there, a UID is missing."""
    if _ROOT.match(path) is None:
        return path
    path = _ROOT.sub("/dicom-web/", path, count=1)
    return path[:-1] if path.endswith("/") and path != "/dicom-web/" else path


class _GoneError(Exception):
    """The client went away while its request came in."""


def _counted(receive: Receive, limit: int) -> Receive:
    if not limit:
        return receive
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return counted


async def _whole(receive: Receive, limit: int) -> Receive:
    """Read all of it, give it out as one message."""
    pieces: list[bytes] = []
    taken, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        piece = message.get("body", b"")
        taken += len(piece)
        if taken > limit:
            raise _too_large(limit)
        pieces.append(piece)
        more = message.get("more_body", False)
    body: Message | None = {"type": "http.request", "body": b"".join(pieces), "more_body": False}

    async def again() -> Message:
        nonlocal body
        if body is None:
            return await receive()
        message, body = body, None
        return message

    return again


def _too_large(limit: int) -> Problem:
    return Problem(
        413, "The request is too large", f"At most {limit} bytes are taken here", {"Connection": "close"}
    )
