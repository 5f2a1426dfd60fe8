"""Errors as problem details (RFC 9457): one shape for every refusal and every failure of the web role."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from hounsfield.domain import errors

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: Kinds of our own errors, the more special before the more general.
_STATUS: tuple[tuple[type[errors.HounsfieldError], int, str], ...] = (
    (errors.NotFoundError, 404, "Not found"),
    (errors.ConflictError, 409, "It contradicts what is kept"),
    (errors.RefusedError, 422, "Refused"),
    (errors.UnreadableError, 400, "Not readable"),
    (errors.PeerError, 502, "Another system failed"),
    (errors.StorageFullError, 507, "The storage is full"),
    (errors.DatabaseUnavailableError, 503, "The database is away"),
    (errors.DatabaseSetBackError, 503, "The database is away"),
    (errors.DamagedError, 500, "What is kept is damaged"),
)
#: Seconds after which to come again, where that may help.
RETRY_SECONDS = "5"
#: What an exception of Starlette says to whoever asks; its own sentences stay out.
_TITLES = {
    400: "The request cannot be read",
    404: "There is nothing here",
    405: "This method cannot be used here",
    406: "None of the acceptable types can be given",
    413: "The request is too large",
    415: "This media type is not taken here",
}


class Problem(Exception):  # noqa: N818  (RFC 9457 calls it so; an answer like others)
    """An answer that is a refusal. `detail` is for the person who reads it and holds no patient data."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        errors: object = None,
    ) -> None:
        """`errors`: what is wrong with each field, as JSON values, where the request was a form of some."""
        super().__init__(f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors

    def response(self) -> Response:
        values: dict[str, object] = {"type": "about:blank", "status": self.status, "title": self.title}
        if self.detail:
            values["detail"] = self.detail
        if self.errors is not None:
            values["errors"] = self.errors
        body = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
        return Response(body, self.status, self.headers, MEDIA_TYPE)


def of_error(error: errors.HounsfieldError) -> Problem:
    """The problem that one of our own errors is to the client."""
    for kind, status, title in _STATUS:
        if isinstance(error, kind):
            headers = {"Retry-After": RETRY_SECONDS} if status in (503, 507) else {}
            return Problem(status, title, str(error), headers)
    return Problem(500, "It failed", str(error))


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def on_hounsfield_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.HounsfieldError)
    problem = of_error(error)
    if problem.status >= 500:
        log.error("a request failed", extra={"why": str(error), "status": problem.status})
    return problem.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = _TITLES.get(error.status_code, "It cannot be done")
    return Problem(error.status_code, title, headers=error.headers).response()


async def on_unforeseen(request: Request, error: Exception) -> Response:
    """Nothing of it to the client; all of it into the log, which Starlette's outermost layer writes."""
    return Problem(500, "It failed", "The archive's log says why", {"Connection": "close"}).response()


async def on_gone(request: Request, error: Exception) -> Response:
    """The client went away; nobody reads this."""
    return Response(status_code=400)


#: What every application of the role hands to Starlette.
HANDLERS = {
    Problem: on_problem,
    ClientDisconnect: on_gone,
    errors.HounsfieldError: on_hounsfield_error,
    HTTPException: on_http_exception,
    Exception: on_unforeseen,
}
