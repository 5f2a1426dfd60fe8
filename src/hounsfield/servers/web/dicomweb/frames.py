"""WADO-RS retrieve of frames (PS3.18 10.4.1.1.6): as they are stored, decoded, or in a compression that is
asked for by transfer syntax or media type."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import nullcontext
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
from hounsfield.servers.web.dicomweb.asking import (
    INSTANCE,
    accepted,
    address_of,
    find_instance,
    known_place,
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
from hounsfield.servers.web.dicomweb.wado import cut, wanted_range
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.services.frames import BATCH, Frame, Frames, Objects, OpenObject
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, transfer_syntax
from hounsfield.wire.dicomweb.accept import (
    BULK_MEDIA_TYPE_OF,
    BULK_MEDIA_TYPES,
    OCTET_STREAM,
    MediaRange,
)
from hounsfield.wire.dicomweb.multipart import closing, part_head, related_length, related_type
from hounsfield.wire.dicomweb.ranges import content_range

#: Frames of one request.
MOST_FRAMES = 100_000
_LIST = re.compile(r"[1-9][0-9]{0,9}(?:,[1-9][0-9]{0,9})*\Z")
#: Types that a range may name for octets.
_OCTETS = frozenset({"*/*", "application/*", OCTET_STREAM})
_VIDEO = "video/"
_PLAIN = frozenset({EXPLICIT_LE, IMPLICIT_LE})
#: Frames of an answer that is made on the event loop, at most.
_FEW = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """How frames go: the media type of each, its transfer syntax, and whether they are parts of one body."""

    media_type: str
    transfer_syntax: str
    multipart: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"

    def is_stored(self, instance: StoredInstance) -> bool:
        """Whether nothing has to be decoded or converted, so far as transfer syntaxes tell."""
        stored = instance.transfer_syntax_uid
        return self.transfer_syntax == stored or {self.transfer_syntax, stored} <= _PLAIN


@dataclass(frozen=True, slots=True)
class Prepared:
    """Frames that can be sent: `ready` when all bytes are in memory, else read or made on the way."""

    frames: Frames
    numbers: Sequence[int]
    wanted: Wanted
    boundary: str
    address: str
    length: int | None
    listed: Sequence[Frame] | None
    ready: Sequence[Piece] | None

    @property
    def plain(self) -> bool:
        """Whether frames one after the other are still told apart, since they are native."""
        return self.wanted.transfer_syntax == EXPLICIT_LE


async def frames(request: Request) -> Response:
    """The frames of the list in the path, in its order."""
    uids = await path_uids(request)
    numbers = frame_list(uids["frames"])
    ranges = accepted(request)
    web = the_web.of(request)
    place = known_place(web, uids)
    instance = place.instance if place is not None else await web.beside_loop(find_instance, web, uids)
    wanted = choose(web, instance, ranges)
    if len(numbers) > 1 and not wanted.multipart:
        raise not_acceptable("Several frames need multipart/related")
    changed = wanted.multipart or wanted.transfer_syntax != instance.transfer_syntax_uid
    headers = validators(
        entity_tag(instance.content_hash.hex()[:32], wanted.transfer_syntax, weak=changed), 0, 0
    )
    if unchanged := not_modified(request, headers):
        return unchanged
    if request.method == "HEAD":
        return Streamed((), wanted.content_type, headers=headers)
    opened = None
    if len(numbers) <= _FEW and wanted.is_stored(instance):
        opened = Objects(web.reader, web.transcoder, web.scratch).at_once(instance)
    if opened is not None:
        prepared = prepare(request, web, instance, numbers, wanted, opened)
    else:
        async with pixel_turns(request) if not wanted.is_stored(instance) else nullcontext():
            prepared = await web.beside_loop(prepare, request, web, instance, numbers, wanted)
    return respond(request, instance, prepared, headers)


def frame_list(text: str) -> list[int]:
    """Raises Problem 400."""
    if _LIST.match(text) is None or text.count(",") >= MOST_FRAMES:
        raise Problem(
            400,
            "The list of frames cannot be read",
            f"Frames are numbers from 1 with commas between them, at most {MOST_FRAMES}",
        )
    return [int(number) for number in text.split(",")]


def choose(web: the_web.Web, instance: StoredInstance, ranges: Sequence[MediaRange]) -> Wanted:
    """The first media range in which the frames can be given. Raises Problem 406."""
    stored = instance.transfer_syntax_uid
    targets = web.transcoder.targets(stored)
    for media_range in ranges:
        if not media_range.q:
            continue
        multipart = media_range.type == "multipart"
        pattern = media_range.media_type
        if multipart:
            if media_range.subtype not in ("related", "*"):
                continue
            pattern = media_range.parameters.get("type", "").strip().lower() or "*/*"
        found = _fit(pattern, media_range.parameters.get("transfer-syntax"), stored, targets)
        if found is not None:
            return Wanted(*found, multipart or pattern == "*/*")
    raise not_acceptable(
        f"The frames are stored in transfer syntax {stored}. They can be given in it (transfer-syntax=*), "
        f"and in {', '.join(targets) or 'no other'}"
    )


def _fit(pattern: str, syntax: str | None, stored: str, targets: Sequence[str]) -> tuple[str, str] | None:
    """Media type and transfer syntax for a media range, None where it cannot be had."""
    as_it_is = stored if transfer_syntax(stored).encapsulated else EXPLICIT_LE
    if pattern in _OCTETS:
        if syntax is None:
            decoded = as_it_is == EXPLICIT_LE or EXPLICIT_LE in targets
            return OCTET_STREAM, EXPLICIT_LE if decoded else as_it_is
        return _given(OCTET_STREAM, syntax, stored, as_it_is, targets)
    stored_type = BULK_MEDIA_TYPE_OF.get(stored, "")
    if pattern.endswith("/*"):
        fits = stored_type.startswith(pattern[:-1]) and syntax in (None, "*", stored)
        return (stored_type, stored) if fits and stored_type else None
    if pattern not in BULK_MEDIA_TYPES:
        return None
    if syntax is None or syntax == "*":
        if stored_type == pattern:
            return pattern, stored
        syntax = BULK_MEDIA_TYPES[pattern][0]
    if syntax not in BULK_MEDIA_TYPES[pattern]:
        return None
    return _given(pattern, syntax, stored, as_it_is, targets)


def _given(
    media_type: str, syntax: str, stored: str, as_it_is: str, targets: Sequence[str]
) -> tuple[str, str] | None:
    if syntax in ("*", stored):
        return media_type, as_it_is
    if syntax in (EXPLICIT_LE, IMPLICIT_LE) and as_it_is == EXPLICIT_LE:
        return media_type, EXPLICIT_LE
    if syntax in targets and (syntax == EXPLICIT_LE or transfer_syntax(syntax).encapsulated):
        return media_type, syntax
    return None


def prepare(
    request: Request,
    web: the_web.Web,
    instance: StoredInstance,
    numbers: Sequence[int] | None,
    wanted: Wanted,
    opened: OpenObject | None = None,
) -> Prepared:
    """On a thread; `numbers` None for all of them. Raises Problem 406, NotFoundError, DamagedError."""
    try:
        opened = opened or Objects(web.reader, web.transcoder, web.scratch).open(instance)
        some = Frames(opened, web.renderer, wanted.transfer_syntax)
        numbers = range(1, some.map.frames + 1) if numbers is None else numbers
        some.check(numbers)
        listed: Sequence[Frame] | None = None
        if BULK_MEDIA_TYPE_OF.get(wanted.transfer_syntax, "").startswith(_VIDEO):
            listed, numbers = [some.video()], [1]
        elif some.in_place or len(numbers) * some.frame_bytes <= BATCH:
            listed = list(some(numbers))
    except UnreadableError as error:
        raise Problem(406, "It cannot be given in that form", str(error)) from error
    except DamagedError as error:
        tell_of_damage(web)(instance, error)
        raise
    boundary = uuid.uuid4().hex if wanted.multipart else ""
    address = address_of(request, instance) + "/frames/"
    length = None
    if listed is not None:
        length = sum(frame.length for frame in listed)
        if boundary:
            parts = [(wanted.content_type, address + str(frame.number), frame.length) for frame in listed]
            length = related_length(boundary, parts)
    prepared = Prepared(some, numbers, wanted, boundary, address, length, listed, None)
    small = sum(frame.length for frame in listed or ()) <= BATCH  # a frame may be named a thousand times
    if listed is not None and small and (opened.in_memory or not some.in_place):
        return Prepared(some, numbers, wanted, boundary, address, length, listed, list(_body(prepared)))
    return prepared


def _body(prepared: Prepared) -> Iterator[Piece]:
    """Of frames that are listed."""
    for frame in prepared.listed or ():
        yield from _part(prepared, frame)
    if prepared.boundary:
        yield closing(prepared.boundary)


def _part(prepared: Prepared, frame: Frame) -> Iterator[Piece]:
    if prepared.boundary:
        location = prepared.address + str(frame.number)
        yield part_head(prepared.boundary, prepared.wanted.content_type, location)
    yield from prepared.frames.pieces(frame)


async def _made_on_the_way(request: Request, prepared: Prepared) -> AsyncIterator[Piece]:
    """Of frames that are decoded or compressed, some at a time."""
    web, some = the_web.of(request), prepared.frames
    for at in range(0, len(prepared.numbers), some.together):
        numbers = prepared.numbers[at : at + some.together]
        async with pixel_turns(request):
            made = await web.beside_loop(some.listed, numbers)
        for frame in made:
            for piece in _part(prepared, frame):
                yield piece
    if prepared.boundary:
        yield closing(prepared.boundary)


def respond(
    request: Request, instance: StoredInstance, prepared: Prepared, headers: Mapping[str, str]
) -> Response:
    accessed(request, instance.study_instance_uid, "frames", len(prepared.numbers), prepared.length or 0)
    wanted, length = prepared.wanted, prepared.length
    pieces: Sequence[Piece] | AsyncIterator[Piece]
    if prepared.ready is not None:
        pieces = prepared.ready
    elif prepared.listed is not None:
        pieces = beside(request, _body(prepared))
    else:
        pieces = _made_on_the_way(request, prepared)
    if prepared.boundary:
        media_type = related_type(prepared.boundary, wanted.media_type, wanted.transfer_syntax)
        return Streamed(pieces, media_type, length=length, headers=headers)
    if length is None:
        return Streamed(pieces, wanted.content_type, headers=headers)
    ranged = dict(headers) | {"Accept-Ranges": "bytes"}
    span = wanted_range(request, headers, length) if length else None
    if span is None:
        return Streamed(pieces, wanted.content_type, length=length, headers=ranged)
    start, stop = span
    ranged["Content-Range"] = content_range(start, stop, length)
    part = cut(beside(request, iter(pieces)) if isinstance(pieces, Sequence) else pieces, start, stop)
    return Streamed(part, wanted.content_type, length=stop - start, status=206, headers=ranged)


_PATH = INSTANCE + "/frames/{frames}"
routes: list[BaseRoute] = [Route(_PATH, frames, methods=["GET"])]
RULES: tuple[Rule, ...] = (Rule("GET", _PATH, Permission.STUDIES_READ),)
