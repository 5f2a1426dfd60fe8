"""Rendered resources and thumbnails of WADO-RS (PS3.18 10.4.1.1.3, 10.4.1.1.4), and the rendering half of
WADO-URI: images, reports as pages, waveforms as drawings, video and documents as they are stored.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.errors import DamagedError, UnreadableError
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import MOVING_TYPES, STILL_TYPES, Rendering
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import accessed
from hounsfield.servers.web.dicomweb import rendered_parameters as parameters
from hounsfield.servers.web.dicomweb.as_stored import DOCUMENT_POLICY, as_stored
from hounsfield.servers.web.dicomweb.asking import (
    INSTANCE,
    ROOT,
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
from hounsfield.servers.web.dicomweb.rendered_kept import kept_renderings
from hounsfield.servers.web.dicomweb.sending import Streamed, entity_tag, not_modified, validators
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.services.datasets import SMALL
from hounsfield.services.frames import Objects
from hounsfield.wire.dicomweb.accept import MediaRange, Offer, negotiate
from hounsfield.wire.dicomweb.multipart import closing, part_head, related_type

log = logging.getLogger(__name__)

#: Types that `Renderer.render` makes; others go as they are stored.
_PAGES = ("text/html", "image/svg+xml")
#: Images of one multipart answer.
_MOST_IMAGES = 10_000


async def rendered(request: Request) -> Response:
    """What an instance looks like: an image, a page, or what is stored where a browser can show that."""
    uids = await path_uids(request)
    how = parameters.rendering(request.query_params)
    return await render_instance(request, await _named(request, uids), how)


async def rendered_frames(request: Request) -> Response:
    """What frames of an instance look like: one image, or one for each."""
    uids = await path_uids(request)
    how = replace(parameters.rendering(request.query_params), frames=parameters.frame_numbers(uids["frames"]))
    web = the_web.of(request)
    instance = await _named(request, uids)
    if len(how.frames) == 1:
        return await render_instance(request, instance, how)
    media_type, multipart = _choose(accepted(request), _still_types(web, instance))
    if media_type in MOVING_TYPES and not multipart:
        return await render_instance(request, instance, how)
    wanted = [
        (instance, replace(how, media_type=media_type, frames=(frame,)), f"/frames/{frame}/rendered")
        for frame in how.frames
    ]
    return _several(request, wanted, media_type, whole=True)


async def rendered_all(request: Request) -> Response:
    """What the instances of a study or of a series look like: a part for each that has an image."""
    uids = await path_uids(request)
    how = parameters.rendering(request.query_params)
    web = the_web.of(request)
    shown = await web.beside_loop(_with_images, web, uids)
    if len(shown) == 1:
        return await render_instance(request, shown[0], how)
    if len(shown) > _MOST_IMAGES:
        raise Problem(413, "These are too many images", f"Ask for the series one by one: {len(shown)} images")
    media_type, _ = _choose(accepted(request), STILL_TYPES)
    how = replace(how, media_type=media_type)
    return _several(request, [(instance, how, "/rendered") for instance in shown], media_type, whole=False)


async def thumbnail(request: Request) -> Response:
    """A small image that stands for a study, a series, an instance or a frame."""
    uids = await path_uids(request)
    how = parameters.thumbnail(request.query_params)
    web = the_web.of(request)
    if "instance" in uids:
        instance = await _named(request, uids)
    else:
        instance = await web.beside_loop(_typical, web, uids)
    if "frames" in uids:
        how = replace(how, frames=parameters.frame_numbers(uids["frames"])[:1])
    media_type, _ = _choose(accepted(request), STILL_TYPES)
    how = replace(how, media_type=media_type)
    if _is_image(web, instance):
        return await _image(request, instance, how, "thumbnail")
    headers = validators(entity_tag(instance.sop_class_uid, _key(how), weak=True), 0, 0)
    if unchanged := not_modified(request, headers):
        return unchanged
    classes = instance.sop_class_uid, instance.transfer_syntax_uid
    body = await web.beside_loop(web.renderer.card, *classes, how)  # nothing of the patient is in it
    return Streamed((body,), media_type, length=len(body), headers=headers)


async def _named(request: Request, uids: Mapping[str, str]) -> StoredInstance:
    """The instance of the path. Raises Problem 404."""
    web = the_web.of(request)
    place = known_place(web, uids)
    if place is None:
        place = await web.beside_loop(find_place, web, uids)
    return place.instance


async def render_instance(
    request: Request, instance: StoredInstance, how: Rendering, ranges: Sequence[MediaRange] | None = None
) -> Response:
    """One instance as what is wanted most of `ranges` (else of the Accept headers). For WADO-URI: with
    `rendered_parameters.uri_rendering` of its query. Raises Problem."""
    web = the_web.of(request)
    offered = web.renderer.media_types(instance.sop_class_uid, instance.transfer_syntax_uid)
    if not offered:
        raise not_acceptable(
            f"Objects of SOP class {instance.sop_class_uid} in transfer syntax "
            f"{instance.transfer_syntax_uid} have nothing to show"
        )
    media_type, _ = _choose(accepted(request) if ranges is None else ranges, offered)
    if media_type not in STILL_TYPES and media_type not in _PAGES:
        return await as_stored(request, instance, media_type)
    return await _image(request, instance, replace(how, media_type=media_type), "rendered")


async def _image(request: Request, instance: StoredInstance, how: Rendering, what: str) -> Response:
    how = _with_links(request, how)
    key = _key(how)
    headers = validators(entity_tag(instance.content_hash.hex()[:32], key, weak=True), 0, 0)
    if unchanged := not_modified(request, headers):
        return unchanged
    if how.media_type in _PAGES:
        headers["Content-Security-Policy"] = DOCUMENT_POLICY
    content_type = how.media_type + ("; charset=utf-8" if how.media_type == "text/html" else "")
    if request.method == "HEAD":
        return Streamed((), content_type, headers=headers)
    kept = kept_renderings(request)
    body = kept.get(instance.content_hash, key)
    if body is None:
        body = await _render(request, instance, how)
        kept.put(instance.content_hash, key, body)
    accessed(request, instance.study_instance_uid, what, 1, len(body))
    return Streamed((body,), content_type, length=len(body), headers=headers)


async def _render(request: Request, instance: StoredInstance, how: Rendering) -> bytes:
    """Raises Problem where it cannot be rendered, DamagedError, NotFoundError."""
    web = the_web.of(request)
    async with pixel_turns(request):
        try:
            view = web.data_sets.view(instance) if instance.location.length <= SMALL else None
            if view is None:
                return await web.beside_loop(_made, web, instance, how)
            try:
                return await web.renderer.render_here(view.piece, instance.transfer_syntax_uid, how)
            finally:
                view.close()
        except UnreadableError as error:
            raise Problem(406, "It cannot be rendered", str(error)) from error
        except DamagedError as error:
            tell_of_damage(web)(instance, error)
            raise


def _made(web: the_web.Web, instance: StoredInstance, how: Rendering) -> bytes:
    """On a thread."""
    if instance.location.length <= SMALL:
        data_set = web.reader.data_set(instance)
        return web.renderer.render(data_set, instance.transfer_syntax_uid, how)
    reading = Objects(web.reader, web.transcoder, web.scratch).reading(instance)
    return web.renderer.render(reading, instance.transfer_syntax_uid, how)


def _several(
    request: Request,
    wanted: Sequence[tuple[StoredInstance, Rendering, str]],
    media_type: str,
    *,
    whole: bool,
) -> Response:
    """A part for each; `whole`: what cannot be rendered ends the answer, else it is left out."""
    boundary = uuid.uuid4().hex
    content_type = related_type(boundary, media_type)
    if request.method == "HEAD":
        return Streamed((), content_type)
    study = wanted[0][0].study_instance_uid

    async def parts() -> AsyncIterator[Piece]:
        sent = 0
        size = 0
        reason: Problem | None = None
        for instance, how, place in wanted:
            try:
                body = await _render(request, instance, how)
            except Problem as problem:
                if whole:
                    raise UnreadableError(problem.detail) from problem
                reason = problem
                continue
            sent, size = sent + 1, size + len(body)
            yield part_head(boundary, media_type, address_of(request, instance) + place)
            yield body
        if not sent and reason is not None:
            raise UnreadableError(reason.detail)
        accessed(request, study, "rendered", sent, size)
        yield closing(boundary)

    return Streamed(parts(), content_type)


def _instances(web: the_web.Web, uids: Mapping[str, str]) -> list[StoredInstance]:
    """On a thread: those of a study or series. Raises Problem 404."""
    series = [uids["series"]] if "series" in uids else []
    with web.database.read() as tx:
        found = list(tx.index.instances(study=uids["study"], series=series))
    if not found:
        raise nothing_there()
    return found


def _with_images(web: the_web.Web, uids: Mapping[str, str]) -> list[StoredInstance]:
    """On a thread: the instances of a study or series that become images. Raises Problem."""
    shown = [instance for instance in _instances(web, uids) if _is_image(web, instance)]
    if not shown:
        raise not_acceptable("Nothing of it is an image: ask for its instances one by one")
    return shown


def _typical(web: the_web.Web, uids: Mapping[str, str]) -> StoredInstance:
    """On a thread: the middle image of the first series that has images; without any the first object. Raises
    Problem 404."""
    found = _instances(web, uids)
    shown = [instance for instance in found if _is_image(web, instance)]
    first = [one for one in shown if one.series_instance_uid == shown[0].series_instance_uid]
    return first[len(first) // 2] if first else found[0]


def _is_image(web: the_web.Web, instance: StoredInstance) -> bool:
    return "image/jpeg" in web.renderer.media_types(instance.sop_class_uid, instance.transfer_syntax_uid)


def _still_types(web: the_web.Web, instance: StoredInstance) -> tuple[str, ...]:
    """Raises Problem 406 for what is no image."""
    offered = web.renderer.media_types(instance.sop_class_uid, instance.transfer_syntax_uid)
    if "image/jpeg" not in offered:
        raise not_acceptable(f"Objects of SOP class {instance.sop_class_uid} are not rendered as images")
    return offered


def _choose(ranges: Sequence[MediaRange], offered: Sequence[str]) -> tuple[str, bool]:
    """Media type, and whether it was asked for as parts. Raises Problem 406."""
    choice = negotiate(ranges, _offers(tuple(offered)))
    if choice is None:
        raise not_acceptable(f"It is rendered as {', '.join(offered)}")
    return choice.media_type, choice.multipart


@lru_cache(maxsize=64)
def _offers(offered: tuple[str, ...]) -> tuple[Offer, ...]:
    return (
        *(Offer(media_type) for media_type in offered),
        *(Offer(media_type, multipart=True) for media_type in offered),
    )


def _with_links(request: Request, how: Rendering) -> Rendering:
    if how.media_type != "text/html":
        return how
    base = the_web.base_url(request) + ROOT
    return replace(how, link=base + "/studies/{study}/series/{series}/instances/{instance}/rendered")


@lru_cache(maxsize=1024)  # images of a series are all wanted alike
def _key(how: Rendering) -> str:
    """The same for the same wishes. (Tags made of it are weak: another release may make other bytes.)"""
    key = blake2b(repr(replace(how, annotation=frozenset())).encode(), digest_size=12)
    key.update(",".join(sorted(how.annotation)).encode())
    return key.hexdigest()


_FRAMES = INSTANCE + "/frames/{frames}"
_HANDLERS = {
    STUDY + "/rendered": rendered_all,
    SERIES + "/rendered": rendered_all,
    INSTANCE + "/rendered": rendered,
    _FRAMES + "/rendered": rendered_frames,
    **{level + "/thumbnail": thumbnail for level in (STUDY, SERIES, INSTANCE, _FRAMES)},
}
routes: list[BaseRoute] = [Route(path, handler, methods=["GET"]) for path, handler in _HANDLERS.items()]
RULES: tuple[Rule, ...] = tuple(Rule("GET", path, Permission.STUDIES_READ) for path in _HANDLERS)
