"""QIDO-RS (PS3.18 10.6): searches of studies, series and instances.

An answer has at most `search_limit` matches and is made before it is sent, so that no client, however slow,
holds a transaction of the database open. A search that finds nothing is answered with an empty list.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.attributes import UNIQUE_KEY
from hounsfield.domain.errors import DamagedError, NotFoundError
from hounsfield.domain.query import Level
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import searched
from hounsfield.servers.web.dicomweb.asking import (
    ROOT,
    accepted,
    not_acceptable,
    path_uids,
    series_address,
    tell_of_damage,
)
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.services.header_members import header_members
from hounsfield.services.metadata import Metadata
from hounsfield.services.search import UnreadableKeyError
from hounsfield.services.search_answer import Plan, Row, understand
from hounsfield.wire.dicomweb.accept import METADATA_OFFERS, XML, Choice, negotiate
from hounsfield.wire.dicomweb.multipart import related_type
from hounsfield.wire.dicomweb.qido import QidoError, QidoQuery, parse_query
from hounsfield.wire.dicomweb.xml import json_to_xml, xml_parts

#: Resource name of a level in paths, and in the ledger.
_NAMES = {Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
#: Parameters by which the client asks for what we do not do, in the words of PS3.18 8.3.4.5.
_EMPTY_VALUES = (
    "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed."
)
MORE = "There are additional results that can be requested"


@dataclass(frozen=True, slots=True)
class Found:
    """The JSON objects of the matches, and whether there are others behind them."""

    answers: list[str]
    more: bool


async def studies(request: Request) -> Response:
    """Search for studies."""
    return await _search(request, Level.STUDY)


async def series(request: Request) -> Response:
    """Search for series, all or those of a study."""
    return await _search(request, Level.SERIES)


async def instances(request: Request) -> Response:
    """Search for instances, all or those of a study or a series."""
    return await _search(request, Level.IMAGE)


async def _search(request: Request, level: Level) -> Response:
    web = the_web.of(request)
    uids = await _keys_of_path(request)
    within = {0: None, 1: Level.STUDY, 2: Level.SERIES}[len(uids)]
    try:
        asked = parse_query(request.scope["query_string"], uids, level.name)
    except QidoError as error:
        raise Problem(400, "The search cannot be read", str(error)) from error
    choice = _choice(request)
    service = the_web.base_url(request) + ROOT
    try:
        plan = understand(
            asked,
            within,
            most=web.settings.search_limit,
            service=service,
            scope=the_web.principal(request).scope,
        )
    except UnreadableKeyError as error:
        raise Problem(400, "The search cannot be read", error.what) from error
    found = await web.beside_loop(_find, request, plan)
    searched(request, _NAMES[level], len(found.answers))
    response = _response(found, choice)
    for warning in _warnings(asked, plan, found):
        response.headers.append("warning", f'299 {service} "{warning}"')
    return response


async def _keys_of_path(request: Request) -> dict[str, str]:
    """Keyword -> UID of the study, and the series, in which the path searches."""
    uids = await path_uids(request) if "study" in request.path_params else {}
    levels = {"study": Level.STUDY, "series": Level.SERIES}
    return {UNIQUE_KEY[levels[name]]: uid for name, uid in uids.items()}


def _choice(request: Request) -> Choice:
    choice = negotiate(accepted(request), METADATA_OFFERS)
    if choice is None:
        raise not_acceptable(
            "Searches are answered as application/dicom+json, application/json, "
            'or multipart/related; type="application/dicom+xml"'
        )
    return choice


def _find(request: Request, plan: Plan) -> Found:
    """On a thread: all matches of one answer."""
    if not plan.limit:
        return Found([], False)
    with the_web.of(request).database.read() as tx:
        rows = list(tx.index.search(plan.query))
    more = len(rows) > plan.limit
    answer = partial(_answer_of_object, request, plan) if plan.beyond else plan.answer
    return Found([answer(row) for row in rows[: plan.limit]], more)


def _answer_of_object(request: Request, plan: Plan, row: Row) -> str:
    """An answer with what only the object itself has."""
    web = the_web.of(request)
    damaged = tell_of_damage(web)
    members = plan.members(row)
    with web.database.read() as tx:
        instance = tx.index.locate(row["SOPInstanceUID"])
    if instance is not None:
        metadata = Metadata(web.database, web.reader, damaged)
        try:
            members += header_members(metadata, instance, series_address(request, instance), plan.beyond)
        except DamagedError as error:
            damaged(instance, error)
        except NotFoundError:
            pass  # given up in this moment: the row was still there
    return "{" + ",".join(sorted(members)) + "}"


def _response(found: Found, choice: Choice) -> Response:
    if choice.media_type != XML:
        body = f"[{','.join(found.answers)}]".encode("utf-8", "replace")
        return Response(body, media_type=choice.media_type)
    if choice.multipart:
        boundary = uuid.uuid4().hex
        xml = b"".join(xml_parts(found.answers, boundary))
        return Response(xml, media_type=related_type(boundary, XML))
    if len(found.answers) != 1:
        raise not_acceptable(
            f"One XML document holds one match; there are {len(found.answers)}: accept multipart/related",
        )
    return Response(json_to_xml(found.answers[0]), media_type=XML)


def _warnings(asked: QidoQuery, plan: Plan, found: Found) -> list[str]:
    warnings = [MORE] if found.more else []
    if plan.unmatched:
        names = ", ".join(name for name in plan.unmatched if name.isascii() and name.isprintable())
        warnings.append(f"These keys are not supported and were not matched: {names}".replace('"', "'"))
    if asked.emptyvaluematching:
        warnings.append(_EMPTY_VALUES)
    return warnings


_RESOURCES = (
    ("/studies", studies),
    ("/studies/{study}/series", series),
    ("/studies/{study}/series/{series}/instances", instances),
    ("/studies/{study}/instances", instances),
    ("/series", series),
    ("/instances", instances),
)
routes: list[BaseRoute] = [Route(ROOT + path, handler, methods=["GET"]) for path, handler in _RESOURCES]
RULES: tuple[Rule, ...] = tuple(Rule("GET", ROOT + path, Permission.STUDIES_READ) for path, _ in _RESOURCES)
