"""The whole of the role: every route, every rule, and the guard before them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

from hounsfield.servers.web import api, dicomweb, health, home, login, oidc
from hounsfield.servers.web.guard import Guard, Rule, Table
from hounsfield.servers.web.oidc_provider import Provider
from hounsfield.servers.web.problems import HANDLERS
from hounsfield.servers.web.web import Web

RULES: tuple[Rule, ...] = (
    *health.RULES,
    *home.RULES,
    *login.RULES,
    *oidc.RULES,
    *dicomweb.RULES,
    *api.RULES,
)


def routes(web: Web) -> list[BaseRoute]:
    return [
        *health.routes,
        *home.routes,
        *login.routes,
        *oidc.routes,
        *dicomweb.routes,
        Mount("/api", api.application(web)),
    ]


def make_app(web: Web) -> ASGIApp:
    """The application of one process."""
    inner = Starlette(routes=routes(web), exception_handlers=HANDLERS)
    inner.router.redirect_slashes = False
    guard = Guard(inner, web, Table(RULES))
    inner.state.web = web
    inner.state.identify = guard.identify
    inner.state.oidc = Provider(web.settings, web.clock) if web.settings.oidc_issuer else None
    return guard
