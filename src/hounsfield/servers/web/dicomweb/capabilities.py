"""What DICOMweb can do here (PS3.18 8.9, Retrieve Capabilities), made from the routes that there are.

As a WADL document, or the same in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.attributes import ATTRIBUTES, Kind
from hounsfield.domain.query import Level
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.dicomweb.asking import ROOT, accepted, not_acceptable
from hounsfield.servers.web.guard import SIGNED_IN, Rule
from hounsfield.wire.dicomweb.accept import (
    DICOM,
    INSTANCE_OFFERS,
    JSON,
    METADATA_OFFERS,
    OCTET_STREAM,
    PLAIN_JSON,
    RELATED,
    XML,
    Offer,
    negotiate,
)

WADL = "application/vnd.sun.wadl+xml"
#: Documents kept; a client may call us by any name.
_MOST_KEPT = 16
_LEVELS = {"studies": Level.STUDY, "series": Level.SERIES, "instances": Level.IMAGE}
_RENDERED = tuple(map(Offer, ("image/jpeg", "image/png", "image/gif", "image/jxl")))
_PIECES = (Offer(OCTET_STREAM, multipart=True), Offer(OCTET_STREAM))
#: What a resource is answered as, by the last word of its path that is fixed.
_ANSWERS: dict[str, tuple[Offer, ...]] = {
    "metadata": METADATA_OFFERS,
    "rendered": _RENDERED,
    "thumbnail": _RENDERED,
    "frames": _PIECES,
    "bulkdata": _PIECES,
}
_STORED = (Offer(DICOM, multipart=True), Offer(JSON, multipart=True), Offer(XML, multipart=True))
_TEMPLATE = re.compile(r"{(\w+)(?::\w+)?}")

Described = dict[str, Any]


async def capabilities(request: Request) -> Response:
    """Tell what can be done here."""
    choice = negotiate(accepted(request), (WADL, PLAIN_JSON, JSON))
    if choice is None:
        raise not_acceptable(f"It is {WADL} or {PLAIN_JSON}")
    base = the_web.base_url(request) + ROOT
    return Response(_document(request, base, choice.media_type), media_type=choice.media_type)


def _document(request: Request, base: str, media_type: str) -> bytes:
    """Made once for each address by which we are called: the routes do not change."""
    state = request.app.state
    if not hasattr(state, "capabilities"):
        state.capabilities = {}
    made: dict[tuple[str, str], bytes] = state.capabilities
    if (base, media_type) not in made:
        if len(made) >= _MOST_KEPT:
            made.clear()
        described = list(describe(request.app.routes))
        whole = {"base": base, "resources": described}
        made[base, media_type] = (
            as_wadl(base, described) if media_type == WADL else json.dumps(whole).encode()
        )
    return made[base, media_type]


def describe(all_routes: Iterable[BaseRoute]) -> Iterator[Described]:
    """Every resource below /dicom-web with its methods, their parameters and media types."""
    by_path: dict[str, list[Route]] = {}
    for route in all_routes:
        if isinstance(route, Route) and route.path.startswith(ROOT + "/") and route.path != ROOT + "/":
            by_path.setdefault(route.path, []).append(route)
    for path, of_path in by_path.items():
        yield {
            "path": _TEMPLATE.sub(r"{\1}", path.removeprefix(ROOT)),
            "methods": [
                _method(method, route)
                for route in of_path
                for method in sorted(route.methods or ())
                if method not in ("HEAD", "OPTIONS")
            ],
        }


def _method(method: str, route: Route) -> Described:
    words = [word for word in route.path.removeprefix(ROOT).split("/") if word and "{" not in word]
    last = words[-1]
    searches = method == "GET" and route.path.endswith("/" + last) and last in _LEVELS
    described: Described = {
        "name": method,
        "does": (route.endpoint.__doc__ or "").strip().partition("\n")[0],
        "query": list(_search_parameters(_LEVELS[last])) if searches else [],
        "answers": [],
    }
    if method == "POST":
        described["takes"] = [_media_type(offer) for offer in _STORED] + [DICOM]
        described["answers"] = [JSON, XML]
    else:
        offers = METADATA_OFFERS if searches else _ANSWERS.get(last, INSTANCE_OFFERS)
        described["answers"] = [_media_type(offer) for offer in offers]
    return described


def _search_parameters(level: Level) -> Iterator[str]:
    yield from ("limit", "offset", "fuzzymatching", "includefield")
    for keyword, attribute in ATTRIBUTES.items():
        if attribute.level <= level and attribute.kind is not Kind.COUNT:
            yield keyword


def _media_type(offer: Offer) -> str:
    return f'{RELATED}; type="{offer.media_type}"' if offer.multipart else offer.media_type


def as_wadl(base: str, described: Iterable[Described]) -> bytes:
    """The WADL document of `describe`'s resources."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<application xmlns="http://wadl.dev.java.net/2009/02">',
        f"<resources base={quoteattr(base)}>",
    ]
    for resource in described:
        lines.append(f"<resource path={quoteattr(resource['path'])}>")
        lines += [
            f"<param name={quoteattr(name)} style='template' required='true'/>"
            for name in _TEMPLATE.findall(resource["path"])
        ]
        for method in resource["methods"]:
            lines += _wadl_method(method)
        lines.append("</resource>")
    lines.append("</resources></application>")
    return "\n".join(lines).encode()


def _wadl_method(method: Described) -> Iterator[str]:
    yield f"<method name={quoteattr(method['name'])}><doc title={quoteattr(method['does'])}/><request>"
    yield from (f"<param name={quoteattr(name)} style='query'/>" for name in method["query"])
    yield from (f"<representation mediaType={quoteattr(kind)}/>" for kind in method.get("takes", ()))
    yield "</request><response>"
    yield from (f"<representation mediaType={quoteattr(kind)}/>" for kind in method["answers"])
    yield "</response></method>"


_PATHS = (ROOT, ROOT + "/")
routes: list[BaseRoute] = [Route(path, capabilities, methods=["GET", "OPTIONS"]) for path in _PATHS]
RULES: tuple[Rule, ...] = tuple(
    Rule(method, path, SIGNED_IN) for path in _PATHS for method in ("GET", "OPTIONS")
)
