"""WADO-URI (PS3.18 section 9): one object, named by query parameters, as a DICOM file or as what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.dicomweb import rendered_parameters as parameters
from hounsfield.servers.web.dicomweb.asking import find_place, known_place, not_acceptable
from hounsfield.servers.web.dicomweb.rendered import render_instance
from hounsfield.servers.web.dicomweb.wado import answer, with_forms
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.seeing import see_study
from hounsfield.services.outgoing import NOT_NAMED
from hounsfield.wire.dicomweb.accept import DICOM, AcceptError, MediaRange, negotiate, parse_accept

#: Parameter -> name of the UID that it is in the path of WADO-RS.
_UIDS = {"studyUID": "study", "seriesUID": "series", "objectUID": "instance"}


async def wado(request: Request) -> Response:
    """The object that the parameters name."""
    query = request.query_params
    uids = _uids(query)
    await see_study(request, uids["study"])
    web = the_web.of(request)
    place = known_place(web, uids)
    if place is None:
        place = await web.beside_loop(find_place, web, uids)
    instance = place.instance
    shown = web.renderer.media_types(instance.sop_class_uid, instance.transfer_syntax_uid)
    ranges = _content_types(query)
    if _is_file(ranges, shown):
        wanted = query.get("transferSyntax") or NOT_NAMED
        objects = with_forms(web, [instance], [wanted])
        return await answer(request, objects, place.changed_at, multipart=False)
    return await render_instance(request, instance, parameters.uri_rendering(query), ranges)


def _uids(query: Mapping[str, str]) -> dict[str, str]:
    """Raises Problem 400 for what is no request of WADO-URI."""
    if query.get("requestType") != "WADO":
        raise Problem(400, "This is no WADO-URI request", "Its parameter requestType must be WADO")
    if query.get("anonymize", "no") != "no":
        raise Problem(400, "Objects are not anonymized here", "Leave the parameter anonymize out")
    uids = {}
    for parameter, name in _UIDS.items():
        uids[name] = query.get(parameter, "")
        if not is_tolerated_uid(uids[name]):
            raise Problem(
                400, "This is no UID", f"The parameter {parameter} is digits and dots, at most 64 of them"
            )
    return uids


def _content_types(query: Mapping[str, str]) -> Sequence[MediaRange]:
    try:
        return parse_accept(query.get("contentType", ""))
    except AcceptError as error:
        raise Problem(400, "The parameter contentType cannot be read", str(error)) from error


def _is_file(ranges: Sequence[MediaRange], shown: Sequence[str]) -> bool:
    """Whether the DICOM file is wanted, and not what it shows. Raises Problem 406."""
    choice = negotiate(ranges, [*shown, DICOM])
    if choice is None:
        raise not_acceptable(f"The object is given as {', '.join([*shown, DICOM])}")
    return choice.media_type == DICOM


_PATH = "/wado"
routes: list[BaseRoute] = [Route(_PATH, wado, methods=["GET"])]
RULES: tuple[Rule, ...] = (Rule("GET", _PATH, Permission.STUDIES_READ),)
