"""Who asks: by token, session cookie, or, on DICOMweb, HTTP Basic."""

from __future__ import annotations

import base64
import binascii

from starlette.datastructures import Headers
from starlette.types import Scope

from hounsfield.domain.access import Principal
from hounsfield.domain.errors import RefusedError
from hounsfield.servers.web.limits import Buckets
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.proxies import is_loopback
from hounsfield.servers.web.web import Web
from hounsfield.services.sign_in import WaitError

COOKIE, SECURE_COOKIE = "hounsfield", "__Host-hounsfield"
#: Where old clients may use HTTP Basic.
BASIC_PATHS = ("/dicom-web", "/wado")
LONGEST_SECRET = 4096
REALM = "Hounsfield"


class Identify:
    """For one process: it also counts failures by address, so that guessing is slow whatever is guessed."""

    def __init__(self, web: Web) -> None:
        self.web = web
        per_minute = web.settings.http_sign_in_rate
        self.failures = Buckets(per_minute / 60, per_minute)

    async def who(self, scope: Scope, headers: Headers) -> Principal | None:
        """The principal; None where no credentials came. Raises Problem 401 for wrong ones, 429."""
        if authorization := headers.get("authorization"):
            if len(authorization) > LONGEST_SECRET:
                raise self.refusal(scope, "These credentials are too long")
            kind, _, rest = authorization.partition(" ")
            match kind.lower():
                case "bearer":
                    return await self._token(scope, rest.strip())
                case "basic":
                    return await self._basic(scope, rest.strip())
            raise self.refusal(scope, "Use a token (Bearer)")
        if secret := cookie(headers, secure_cookies(self.web, scope)):
            return await self._session(secret)
        return None

    def refusal(self, scope: Scope, detail: str) -> Problem:
        """401, with what may be used here."""
        challenges = [f'Bearer realm="{REALM}"']
        if self._basic_here(scope):
            challenges.insert(0, f'Basic realm="{REALM}", charset="UTF-8"')
        return Problem(401, "Sign in first", detail, {"WWW-Authenticate": ", ".join(challenges)})

    def failed(self, address: str) -> None:
        """A sign-in from there failed."""
        self.failures.take(address, self.web.clock.monotonic())

    def check_failures(self, address: str) -> None:
        """Raises Problem 429 where too many failed lately."""
        seconds = self.failures.empty(address, self.web.clock.monotonic())
        if seconds:
            raise too_many("Too many sign-ins have failed from this address", seconds)

    async def _token(self, scope: Scope, secret: str) -> Principal:
        access = self.web.access
        if (known := access.recall_token(secret)) is not None:
            return known
        address = _address(scope)
        self.check_failures(address)
        if (found := await self.web.beside_loop(access.token, secret)) is None:
            self.failed(address)
            raise self.refusal(scope, "The token is not valid, or no longer")
        return found

    async def _session(self, secret: str) -> Principal | None:
        access = self.web.access
        if len(secret) > LONGEST_SECRET:
            return None
        if (known := access.recall_session(secret)) is not None:
            return known
        return await self.web.beside_loop(access.session, secret)

    async def _basic(self, scope: Scope, encoded: str) -> Principal:
        if not self._basic_here(scope):
            raise self.refusal(scope, "HTTP Basic is not taken here; use a token (Bearer)")
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise self.refusal(scope, "The header Authorization cannot be read") from None
        access = self.web.access
        if (known := access.recall_basic(name, password)) is not None:
            return known
        if (known := await self.web.beside_loop(access.known_basic, name, password)) is not None:
            return known
        address = _address(scope)
        self.check_failures(address)
        try:
            return await self.web.passwords.check(address, access.basic, name, password, address)
        except WaitError as error:
            raise too_many(str(error), error.seconds) from error
        except RefusedError as error:
            self.failed(address)
            raise self.refusal(scope, str(error)) from error

    def _basic_here(self, scope: Scope) -> bool:
        if not scope["path"].startswith(BASIC_PATHS):
            return False
        match self.web.settings.http_basic:
            case "on":
                return True
            case "auto":
                return scope.get("scheme") == "https" or is_loopback(_address(scope))
        return False


def too_many(title: str, seconds: float) -> Problem:
    wait = str(max(1, round(seconds + 0.5)))
    return Problem(429, "Too many requests", f"{title}. Come again in {wait} seconds", {"Retry-After": wait})


def secure_cookies(web: Web, scope: Scope) -> bool:
    """Whether the browser's own connection is HTTPS: then our cookie is for that alone."""
    return scope.get("scheme") == "https" or web.settings.public_url.startswith("https:")


def cookie_name(secure: bool) -> str:
    return SECURE_COOKIE if secure else COOKIE


def cookie(headers: Headers, secure: bool) -> str:
    """The session's secret; '' for none."""
    wanted = cookie_name(secure)
    for header in headers.getlist("cookie"):
        for part in header.split(";"):
            name, equals, value = part.strip().partition("=")
            if equals and name == wanted:
                return value
    return ""


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""
