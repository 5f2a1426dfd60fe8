"""WADO-RS retrieve of a study, a series or an instance (PS3.18 10.4), as application/dicom."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.errors import UnreadableError
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import accessed
from hounsfield.servers.web.dicomweb.asking import (
    INSTANCE,
    SERIES,
    STUDY,
    accepted,
    address_of,
    find_place,
    known_place,
    not_acceptable,
    nothing_there,
    path_uids,
    pixel_turns,
    tell_of_damage,
)
from hounsfield.servers.web.dicomweb.sending import (
    Streamed,
    entity_tag,
    not_modified,
    range_counts,
    validators,
)
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.services.outgoing import Form, Opened, Outgoing, form_of, length_of
from hounsfield.wire.dicomweb.accept import DICOM, INSTANCE_OFFERS, negotiate
from hounsfield.wire.dicomweb.multipart import closing, part_head, related_length, related_type
from hounsfield.wire.dicomweb.ranges import RangeError, content_range, parse_range

Objects = Sequence[tuple[StoredInstance, Form]]

#: From here on a part of an object is read from where it begins, not from the object's beginning.
_FAR = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Instances in order, and when their series last changed, microseconds since 1970."""

    instances: list[StoredInstance]
    changed_at: int


async def retrieve(request: Request) -> Response:
    """All instances of a study or of a series, or the one."""
    uids = await path_uids(request)
    choice = negotiate(accepted(request), INSTANCE_OFFERS)
    if choice is None:
        raise not_acceptable('Objects are given as multipart/related; type="application/dicom"')
    if not choice.multipart and "instance" not in uids:
        raise not_acceptable("Several objects need multipart/related")
    web = the_web.of(request)
    place = known_place(web, uids) if "instance" in uids else None
    if place is not None:
        found = Found([place.instance], place.changed_at)
    else:
        found = await web.beside_loop(_find, web, uids)
    objects = with_forms(web, found.instances, choice.transfer_syntaxes)
    return await answer(request, objects, found.changed_at, multipart=choice.multipart)


def _find(web: the_web.Web, uids: Mapping[str, str]) -> Found:
    """On a thread. Raises Problem 404."""
    if "instance" in uids:
        place = find_place(web, uids)
        return Found([place.instance], place.changed_at)
    series = [uids["series"]] if "series" in uids else []
    with web.database.read() as tx:
        instances = list(tx.index.instances(study=uids["study"], series=series))
    if not instances:
        raise nothing_there()
    with web.database.read() as tx:
        states = map(tx.index.series_state, {i.series_instance_uid for i in instances})
        return Found(instances, max(state.changed_at if state else 0 for state in states))


def with_forms(web: the_web.Web, instances: Sequence[StoredInstance], wanted: Sequence[str]) -> Objects:
    """Each with the form that it goes in. Raises Problem 406 where there is none for one."""
    forms: dict[str, Form] = {}
    for stored in {instance.transfer_syntax_uid for instance in instances}:
        form = form_of(stored, wanted, web.transcoder.targets(stored))
        if form is None:
            raise not_acceptable(
                f"Objects stored in transfer syntax {stored} are not converted to any that is asked for; "
                "transfer-syntax=* takes them as they are stored"
            )
        forms[stored] = form
    return [(instance, forms[instance.transfer_syntax_uid]) for instance in instances]


async def answer(request: Request, objects: Objects, changed_at: int, *, multipart: bool) -> Response:
    """The objects, or the 304 for a client that has them."""
    web = the_web.of(request)
    headers = validators(_tag(objects, multipart), changed_at, web.clock.now())
    if unchanged := not_modified(request, headers):
        return unchanged
    if request.method != "HEAD":
        first, _ = objects[0]
        size = sum(instance.location.length for instance, _ in objects)
        accessed(request, first.study_instance_uid, "instance", len(objects), size)
    outgoing = Outgoing(web.data_sets, web.transcoder, tell_of_damage(web), pixel_turns(request), web.scratch)
    if not multipart:
        return await _single(request, outgoing, *objects[0], headers)
    boundary = uuid.uuid4().hex
    lengths = [length_of(*one) for one in objects]
    length = None
    if None not in lengths:
        length = related_length(
            boundary,
            (
                (_media_type(form.transfer_syntax), address_of(request, instance), size or 0)
                for (instance, form), size in zip(objects, lengths, strict=True)
            ),
        )
    pieces = _parts(request, outgoing, objects, boundary)
    return Streamed(pieces, related_type(boundary, DICOM), length=length, headers=headers)


def _tag(objects: Objects, multipart: bool) -> str:
    """Strong for one object as it is stored: of others, boundaries and compressed streams may differ."""
    if not multipart:
        instance, form = objects[0]
        as_stored = form.transfer_syntax == instance.transfer_syntax_uid
        return entity_tag(instance.content_hash.hex()[:32], form.transfer_syntax, weak=not as_stored)
    whole = blake2b(digest_size=16)
    for instance, form in objects:
        whole.update(instance.content_hash + form.transfer_syntax.encode())
    return entity_tag(whole.hexdigest(), weak=True)


def _media_type(syntax: str) -> str:
    # what was kept before such were refused may have one that is none
    return f"{DICOM}; transfer-syntax={syntax}" if is_tolerated_uid(syntax) else DICOM


async def _parts(
    request: Request, outgoing: Outgoing, objects: Objects, boundary: str
) -> AsyncIterator[Piece]:
    async with aclosing(outgoing.all(objects)) as all_opened:
        async for opened in all_opened:
            location = address_of(request, opened.instance)
            yield part_head(boundary, _media_type(opened.transfer_syntax), location)
            async for piece in _pieces(opened):
                yield piece
    yield closing(boundary)


async def _single(
    request: Request, outgoing: Outgoing, instance: StoredInstance, form: Form, headers: dict[str, str]
) -> Response:
    """One object as the whole body, or the range of it that is asked for."""
    size = length_of(instance, form)
    opened = None
    if size is None:
        if request.method == "HEAD":
            return Streamed((), _media_type(form.transfer_syntax), headers=headers)
        opened = await _open(outgoing, instance, form)
        size = opened.length
    media_type = _media_type(opened.transfer_syntax if opened else form.transfer_syntax)
    if size is None:
        assert opened is not None
        return Streamed(_pieces(opened), media_type, headers=headers)
    headers["Accept-Ranges"] = "bytes"
    span = wanted_range(request, headers, size)
    if span is None:
        return Streamed(_whole(outgoing, instance, form, opened), media_type, length=size, headers=headers)
    start, stop = span
    headers["Content-Range"] = content_range(start, stop, size)
    if opened is None and start >= _FAR:
        pieces: AsyncIterator[Piece] = outgoing.data_sets.part10_pieces(instance, start)
        part = cut(pieces, 0, stop - start)
    else:
        part = cut(_whole(outgoing, instance, form, opened), start, stop)
    return Streamed(part, media_type, length=stop - start, status=206, headers=headers)


async def _open(outgoing: Outgoing, instance: StoredInstance, form: Form) -> Opened:
    """Raises Problem 406 where it cannot be converted."""

    try:
        return await outgoing.open(instance, form)
    except UnreadableError as error:
        raise Problem(406, "It cannot be given in that form", str(error)) from error


async def _whole(
    outgoing: Outgoing, instance: StoredInstance, form: Form, opened: Opened | None
) -> AsyncIterator[Piece]:
    async for piece in _pieces(opened or await outgoing.open(instance, form)):
        yield piece


async def _pieces(opened: Opened) -> AsyncIterator[Piece]:
    for piece in opened.first:
        yield piece
    if opened.rest is not None:
        async for piece in opened.rest:
            yield piece


def wanted_range(request: Request, headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """The bytes [start, stop) that a Range header asks for, None for all. Raises Problem 416."""
    if not range_counts(request, headers):
        return None
    try:
        return parse_range(request.headers.get("range", ""), size)
    except RangeError as error:
        raise Problem(
            416, "There are no such bytes", str(error), {"Content-Range": error.content_range}
        ) from error


async def cut(pieces: AsyncIterator[Piece], start: int, stop: int) -> AsyncIterator[Piece]:
    """The bytes [start, stop) of them."""
    position = 0
    async for piece in pieces:
        view = memoryview(piece)[max(0, start - position) : max(0, stop - position)]
        position += len(piece)
        if len(view):
            yield view
        if position >= stop:
            return


_TEMPLATES = (STUDY, SERIES, INSTANCE)
routes: list[BaseRoute] = [Route(path, retrieve, methods=["GET"]) for path in _TEMPLATES]
RULES: tuple[Rule, ...] = tuple(Rule("GET", path, Permission.STUDIES_READ) for path in _TEMPLATES)
