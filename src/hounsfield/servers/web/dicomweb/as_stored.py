"""Objects that are shown as they are stored: video, PDF and CDA (PS3.18 8.7.4), also in ranges of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from hounsfield.domain.errors import UnreadableError
from hounsfield.domain.study import StoredInstance
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import accessed
from hounsfield.servers.web.dicomweb.sending import Streamed, beside, entity_tag, not_modified, validators
from hounsfield.servers.web.dicomweb.wado import wanted_range
from hounsfield.services.frames import Frames, Objects, OpenObject
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.layouts import UNDEFINED
from hounsfield.wire.dicomfile.outline import Outline
from hounsfield.wire.dicomweb.ranges import content_range

_DOCUMENT, _LENGTH = 0x00420011, 0x00420015
#: A document runs no script here, but what shows a PDF must be able to.
DOCUMENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_CHARSETS = {"text/plain": "; charset=utf-8", "text/xml": ""}

Places = Sequence[tuple[int, int]]


async def as_stored(request: Request, instance: StoredInstance, media_type: str) -> Response:
    """The stream of a video, or the document of an object. Raises Problem, UnreadableError."""
    web = the_web.of(request)
    tag = entity_tag(instance.content_hash.hex()[:32], media_type.replace("/", "-"))
    headers = validators(tag, 0, 0) | {"Accept-Ranges": "bytes"}
    if media_type == "application/pdf":
        headers["Content-Security-Policy"] = DOCUMENT_POLICY
    if unchanged := not_modified(request, headers):
        return unchanged
    opened, places = await web.beside_loop(_open, web, instance, media_type)
    size = sum(length for _, length in places)
    content_type = media_type + _CHARSETS.get(media_type, "")
    if request.method == "HEAD":
        return Streamed((), content_type, length=size, headers=headers)
    accessed(request, instance.study_instance_uid, "rendered", 1, size)
    span = wanted_range(request, headers, size) if size else None
    if span is None:
        return Streamed(beside(request, opened.read(places)), content_type, length=size, headers=headers)
    start, stop = span
    headers["Content-Range"] = content_range(start, stop, size)
    pieces = beside(request, opened.read(list(_between(places, start, stop))))
    return Streamed(pieces, content_type, length=stop - start, status=206, headers=headers)


def _open(web: the_web.Web, instance: StoredInstance, media_type: str) -> tuple[OpenObject, Places]:
    opened = Objects(web.reader, web.transcoder, web.scratch).open(instance)
    if media_type.startswith("video/"):
        found = Frames(opened, web.renderer, instance.transfer_syntax_uid)
        return opened, found.video().places
    return opened, [_document(opened.outline(), instance)]


def _document(elements: Outline, instance: StoredInstance) -> tuple[int, int]:
    place = elements.places.get(_DOCUMENT)
    if place is None or place.length in (0, UNDEFINED):
        raise UnreadableError(f"Object {instance.sop_instance_uid} has no encapsulated document")
    try:
        length = elements.integer(_LENGTH, place.length)
    except MalformedError:
        length = place.length
    if not place.length - 1 <= length <= place.length:  # all but the padding
        length = place.length
    return place.offset, length


def _between(places: Places, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The bytes [start, stop) of all that stand at `places`."""
    position = 0
    for offset, length in places:
        first, last = max(start - position, 0), min(stop - position, length)
        if first < last:
            yield offset + first, last - first
        position += length
