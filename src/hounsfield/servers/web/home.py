"""The first page after signing in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hounsfield.servers.web import csrf
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.guard import SIGNED_IN, Rule
from hounsfield.servers.web.pages import page, text
from hounsfield.services import live_settings


async def home(request: Request) -> Response:
    web, who = the_web.of(request), the_web.principal(request)
    root = text(the_web.base_url(request))
    name = (await web.beside_loop(live_settings.values, web.database))["archive_name"]
    token = web.access.csrf_token(who.session) if who.how == "session" else ""
    body = (
        f"<p>You are signed in as <b>{text(who.name)}</b> ({text(who.role)}).</p>"
        "<table>"
        f"<tr><th>DICOMweb</th><td><code>{root}/dicom-web</code></td></tr>"
        f"<tr><th>WADO-URI</th><td><code>{root}/wado</code></td></tr>"
        '<tr><th>Administration API</th><td><a href="/api/docs">/api/docs</a>, '
        '<a href="/api/openapi.json">OpenAPI</a></td></tr>'
        "</table>"
        '<form method="post" action="/logout">'
        f'<input type="hidden" name="{csrf.FIELD}" value="{text(token)}">'
        "<p><button>Sign out</button></p></form>"
    )
    return page(name or "Hounsfield", body)


routes = [Route("/", home)]
RULES = (Rule("GET", "/", SIGNED_IN),)
