"""Against forged requests: a browser sends our cookie with whatever page makes it ask; that page does not
know the session's token, and cannot hide its origin."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import FormData, Headers
from starlette.requests import Request

from hounsfield.domain.access import Principal
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.problems import Problem

HEADER = "x-csrf-token"
FIELD = "csrf"


def check_origin(request: Request) -> None:
    """Raises Problem 403 where a browser says that another site's page asks."""
    headers = request.headers
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise _forged("The request comes from a page of another site")
    origin = headers.get("origin")
    if origin is not None and origin not in _own(request, headers):
        raise _forged("The request comes from a page of another origin; behind a proxy, set public_url")


def check_header(request: Request, who: Principal) -> None:
    """Raises Problem 403 where the header does not hold the session's token."""
    if not _fits(request, who, request.headers.get(HEADER, "")):
        raise _forged("Send the session's token in the header X-CSRF-Token")


def check_form(request: Request, form: FormData) -> None:
    """For handlers of our own forms. Raises Problem 403 where the field does not hold the session's token."""
    value = form.get(FIELD, "")
    if not isinstance(value, str) or not _fits(request, the_web.principal(request), value):
        raise _forged("The form is not from this session; load the page again")


def _fits(request: Request, who: Principal, token: str) -> bool:
    return bool(token) and the_web.of(request).access.csrf_fits(who.session, token)


def _own(request: Request, headers: Headers) -> set[str]:
    """The origins that are ours, as a browser writes them: without the scheme's own port."""
    own = {the_web.base_url(request), f"{request.scope.get('scheme', 'http')}://{headers.get('host', '')}"}
    return {_origin(url) for url in own}


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")


def _forged(detail: str) -> Problem:
    return Problem(403, "The request may be forged", detail)
