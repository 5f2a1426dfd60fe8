"""WADO-RS bulk data (PS3.18 10.4.1.1.4): the values that BulkDataURIs in metadata name, also in ranges."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.errors import DamagedError, UnreadableError
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import accessed
from hounsfield.servers.web.dicomweb import frames as all_frames
from hounsfield.servers.web.dicomweb.asking import (
    INSTANCE,
    accepted,
    find_instance,
    not_acceptable,
    path_uids,
    pixel_turns,
    tell_of_damage,
)
from hounsfield.servers.web.dicomweb.sending import (
    Streamed,
    beside,
    entity_tag,
    not_modified,
    validators,
)
from hounsfield.servers.web.dicomweb.wado import wanted_range
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.services.bulk_values import Value, find_value, fragments_of, is_path
from hounsfield.services.frames import Objects, OpenObject
from hounsfield.wire.dicomweb.accept import OCTET_STREAM, Choice, MediaRange, Offer, negotiate
from hounsfield.wire.dicomweb.multipart import closing, part_head, related_length, related_type
from hounsfield.wire.dicomweb.ranges import content_range


@dataclass(frozen=True, slots=True)
class Found:
    """One value: where it stands in the open object, or the frames that it is."""

    instance: StoredInstance
    opened: OpenObject
    places: Sequence[tuple[int, int]] = ()
    choice: Choice | None = None
    prepared: all_frames.Prepared | None = None


async def bulkdata(request: Request) -> Response:
    """One value. Compressed pixel data are their frames: decoded, in parts as they are stored
    (transfer-syntax=*), or compressed anew."""
    uids = await path_uids(request)
    path = uids["path"]
    if not is_path(path):
        raise Problem(
            400, "This is no address of bulk data", "It is tags of eight hexadecimal digits, and item numbers"
        )
    ranges = accepted(request)
    web = the_web.of(request)

    def job() -> Found:
        instance = find_instance(web, uids)
        try:
            return _find(request, web, instance, path, ranges)
        except DamagedError as error:
            tell_of_damage(web)(instance, error)
            raise

    async with pixel_turns(request):  # compressed pixel data may have to be decoded
        found = await web.beside_loop(job)
    instance = found.instance
    digest = instance.content_hash.hex()[:32]
    if found.prepared is not None:
        tag = entity_tag(digest, path, found.prepared.wanted.transfer_syntax, weak=True)
        headers = validators(tag, 0, 0)
        unchanged = not_modified(request, headers)
        return unchanged or all_frames.respond(request, instance, found.prepared, headers)
    assert found.choice is not None
    headers = validators(entity_tag(digest, path, weak=found.choice.multipart), 0, 0)
    if unchanged := not_modified(request, headers):
        return unchanged
    return _value(request, found, found.choice, headers)


def _find(
    request: Request, web: the_web.Web, instance: StoredInstance, path: str, ranges: Sequence[MediaRange]
) -> Found:
    """On a thread. Raises Problem 406, NotFoundError, DamagedError."""
    try:
        opened = Objects(web.reader, web.transcoder, web.scratch).open(instance)
        value = find_value(opened, path)
        if value.encapsulated and value.top_level:
            wanted = all_frames.choose(web, instance, ranges)
            prepared = all_frames.prepare(request, web, instance, None, wanted, opened)
            if not wanted.multipart and len(prepared.numbers) > 1 and not prepared.plain:
                raise not_acceptable("Several compressed frames need multipart/related")
            return Found(instance, opened, prepared=prepared)
        places = fragments_of(opened, value) if value.encapsulated else [(value.offset, value.length)]
    except UnreadableError as error:
        raise Problem(406, "It cannot be given in that form", str(error)) from error
    choice = negotiate(ranges, _offers(value))
    if choice is None:
        raise not_acceptable("Bulk data are given as application/octet-stream, or in multipart/related")
    return Found(instance, opened, places, choice)


def _offers(value: Value) -> list[Offer]:
    own = [value.media_type] if value.media_type else []
    types = [OCTET_STREAM, *own]
    return [Offer(one) for one in types] + [Offer(one, multipart=True) for one in types]


def _value(request: Request, found: Found, choice: Choice, headers: dict[str, str]) -> Response:
    size = sum(length for _, length in found.places)
    if request.method != "HEAD":
        accessed(request, found.instance.study_instance_uid, "bulk data", 1, size)
    opened, places = found.opened, found.places
    if choice.multipart:
        boundary = uuid.uuid4().hex
        location = the_web.base_url(request) + request.url.path
        head = part_head(boundary, choice.media_type, location)

        def parts() -> Iterator[Piece]:
            yield head
            yield from opened.read(places)
            yield closing(boundary)

        length = related_length(boundary, [(choice.media_type, location, size)])
        media_type = related_type(boundary, choice.media_type)
        return Streamed(beside(request, parts()), media_type, length=length, headers=headers)
    headers["Accept-Ranges"] = "bytes"
    span = wanted_range(request, headers, size) if size else None
    if span is None:
        pieces = beside(request, opened.read(places))
        return Streamed(pieces, choice.media_type, length=size, headers=headers)
    start, stop = span
    headers["Content-Range"] = content_range(start, stop, size)
    part = beside(request, opened.read(_within(places, start, stop)))
    return Streamed(part, choice.media_type, length=stop - start, status=206, headers=headers)


def _within(places: Sequence[tuple[int, int]], start: int, stop: int) -> list[tuple[int, int]]:
    """What the bytes [start, stop) of the places together are."""
    within = []
    for offset, length in places:
        first, last = max(0, start), min(length, stop)
        if first < last:
            within.append((offset + first, last - first))
        start, stop = start - length, stop - length
    return within


_PATH = INSTANCE + "/bulkdata/{path:path}"
routes: list[BaseRoute] = [Route(_PATH, bulkdata, methods=["GET"])]
RULES: tuple[Rule, ...] = (Rule("GET", _PATH, Permission.STUDIES_READ),)
