"""The administration API under /api: an OpenAPI application over the services that the command line uses."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import hounsfield
from hounsfield.servers.web.api import devices, ledger, own_account, people, studies, system, work
from hounsfield.servers.web.api.page import documentation
from hounsfield.servers.web.guard import SIGNED_IN, Rule
from hounsfield.servers.web.problems import HANDLERS, Problem
from hounsfield.servers.web.web import Web

_ROOMS = (studies, devices, people, own_account, ledger, work, system)
_ABOUT = (
    "Studies, devices, users, tokens, the ledger, jobs, quarantine, settings and the system. Send a token as "
    "`Authorization: Bearer ...`; with a session, send its CSRF token as `X-CSRF-Token`. Errors are problem "
    "details (RFC 9457). Images are had over DICOMweb, under /dicom-web."
)

RULES: tuple[Rule, ...] = (
    *(rule for room in _ROOMS for rule in room.RULES),
    Rule("GET", "/api/openapi.json", SIGNED_IN),
    Rule("GET", "/api/docs", SIGNED_IN),
)


def application(web: Web) -> FastAPI:
    """To be mounted at /api."""
    api = _bare()
    api.state.web = web

    async def openapi(request: Request) -> Response:
        return JSONResponse(_described(api))

    async def docs(request: Request) -> Response:
        return documentation(_described(api))

    api.add_route("/openapi.json", openapi, ["GET"], include_in_schema=False)
    api.add_route("/docs", docs, ["GET"], include_in_schema=False)
    return api


def described() -> dict[str, object]:
    """The OpenAPI document, without a running archive."""
    return _described(_bare())


def _bare() -> FastAPI:
    api = FastAPI(
        title="Hounsfield",
        version=hounsfield.__version__,
        description=_ABOUT,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS | {RequestValidationError: _on_invalid},  # type: ignore[arg-type]  # invariant in its values
    )
    for room in _ROOMS:
        api.include_router(room.router)
    return api


def _described(api: FastAPI) -> dict[str, object]:
    """The OpenAPI document, with how one signs in and what a request needs."""
    if api.openapi_schema is None:
        document = api.openapi()
        document["servers"] = [{"url": "/api"}]
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["token"] = {"type": "http", "scheme": "bearer"}
        schemes["session"] = {"type": "apiKey", "in": "cookie", "name": "hounsfield"}
        document["security"] = [{"token": []}, {"session": []}]
        needs = {(rule.method.lower(), rule.path.removeprefix("/api")): rule.needs for rule in RULES}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                operation["x-permission"] = str(needs[method, path])
    return dict(api.openapi_schema or {})


async def _on_invalid(request: Request, error: Exception) -> Response:
    """Where and why, without what was sent: that may be a password, or a patient's name."""
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"where": ".".join(str(part) for part in one["loc"]), "why": one["msg"]} for one in error.errors()
    ]
    return Problem(422, "A value that cannot be", errors=wrong[:100]).response()
