"""For monitoring and load balancers: alive, ready, numbers."""

from __future__ import annotations

import shutil

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hounsfield.domain.errors import HounsfieldError
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.guard import NEARBY, PUBLIC, Permission, Rule
from hounsfield.services import metrics, statistics


async def healthz(request: Request) -> Response:
    """The process answers. Nothing else is said here, since everybody may ask."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Whether requests can be served: 200 or 503, with what is wrong."""
    web = the_web.of(request)
    state = await web.beside_loop(_state, web)
    ready = all(value == "ok" for value in state.values())
    return JSONResponse({"ready": ready, **state}, 200 if ready else 503)


async def numbers(request: Request) -> Response:
    web = the_web.of(request)
    gauges = await web.beside_loop(statistics.gauges, web.database, web.blobs, web.clock)
    text = await web.beside_loop(metrics.exposition, web.settings.data, web.name, gauges)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _state(web: the_web.Web) -> dict[str, str]:
    state = {"database": "ok", "disk": "ok"}
    try:
        with web.database.read() as tx:
            tx.devices.version()
    except HounsfieldError:
        state["database"] = "away"
    try:
        if shutil.disk_usage(web.settings.data).free < web.settings.min_free << 20:
            state["disk"] = "full"
    except OSError:
        state["disk"] = "away"
    return state


routes = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", numbers),
]
RULES = (
    Rule("GET", "/healthz", PUBLIC),
    Rule("GET", "/readyz", NEARBY),
    Rule("GET", "/metrics", Permission.METRICS_READ),
)
