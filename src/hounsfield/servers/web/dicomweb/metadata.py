"""WADO-RS metadata of a study, a series or an instance (PS3.18 10.4.1.1.2): DICOM JSON, or XML."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission
from hounsfield.domain.errors import UnreadableError
from hounsfield.domain.study import StoredInstance
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.audit import accessed
from hounsfield.servers.web.dicomweb.asking import (
    INSTANCE,
    ROOT,
    SERIES,
    STUDY,
    accepted,
    find_instance,
    not_acceptable,
    nothing_there,
    path_uids,
    tell_of_damage,
)
from hounsfield.servers.web.dicomweb.sending import (
    Streamed,
    accepts_gzip,
    beside,
    entity_tag,
    not_modified,
    validators,
)
from hounsfield.servers.web.guard import Rule
from hounsfield.services.metadata import Metadata, SeriesPlan, compressed
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomweb.accept import METADATA_OFFERS, XML, Choice, negotiate
from hounsfield.wire.dicomweb.multipart import related_type
from hounsfield.wire.dicomweb.xml import json_to_xml, xml_parts


@dataclass(frozen=True, slots=True)
class Found:
    """What the metadata are of: whole series, or one instance of the only one."""

    plans: list[SeriesPlan]
    instance: StoredInstance | None = None

    @property
    def objects(self) -> int:
        return 1 if self.instance else sum(plan.state.instances for plan in self.plans)

    @property
    def changed_at(self) -> int:
        return max(plan.state.changed_at for plan in self.plans)

    def version(self) -> str:
        """Another one where any object has come or gone."""
        if self.instance is not None:
            return self.instance.content_hash.hex()[:32]
        digest = blake2b(digest_size=16)
        for plan in self.plans:
            state = plan.state
            digest.update(f"{state.series_instance_uid} {state.instances} {state.changed_at};".encode())
        return digest.hexdigest()


async def metadata(request: Request) -> Response:
    """All that is known of the objects, without their bulk data, which is named by address."""
    uids = await path_uids(request)
    choice = negotiate(accepted(request), METADATA_OFFERS)
    if choice is None:
        raise not_acceptable(
            "Metadata are given as application/dicom+json, or as "
            'multipart/related; type="application/dicom+xml"'
        )
    web = the_web.of(request)
    source = Metadata(web.database, web.reader, tell_of_damage(web))
    found = await web.beside_loop(_find, web, source, uids)
    base = the_web.base_url(request)
    zipped = accepts_gzip(request)
    kind = "xml" if choice.media_type == XML else "json"
    place = blake2b(base.encode(), digest_size=4).hexdigest()  # addresses in it begin with it
    tag = entity_tag(found.version(), kind, place, weak=True)
    headers = validators(tag, found.changed_at, web.clock.now())
    if unchanged := not_modified(request, headers):
        return unchanged
    study = uids["study"]
    if request.method != "HEAD":
        accessed(request, study, "metadata", found.objects)
    if zipped:
        headers["Content-Encoding"] = "gzip"
    pieces, media_type = _body(
        source, found, choice, lambda uid: f"{base}{ROOT}/studies/{study}/series/{uid}"
    )
    return Streamed(beside(request, compressed(pieces) if zipped else pieces), media_type, headers=headers)


def _find(web: the_web.Web, source: Metadata, uids: Mapping[str, str]) -> Found:
    """On a thread. Raises Problem 404."""
    instance = find_instance(web, uids) if "instance" in uids else None
    plans = source.plan(uids["study"], uids.get("series", ""))
    if not plans:
        raise nothing_there()
    return Found(plans, instance)


def _body(
    source: Metadata, found: Found, choice: Choice, address: Callable[[str], str]
) -> tuple[Iterator[bytes], str]:
    """The pieces, and their media type."""
    if choice.media_type != XML:
        return _json(source, found, address), choice.media_type
    texts = _texts(source, found, address)
    if not choice.multipart:
        if found.objects != 1:
            raise not_acceptable("Several objects as XML need multipart/related")
        return map(json_to_xml, texts), XML
    boundary = uuid.uuid4().hex
    return xml_parts(texts, boundary), related_type(boundary, XML)


def _json(source: Metadata, found: Found, address: Callable[[str], str]) -> Iterator[bytes]:
    if found.instance is None:
        yield from source.array(found.plans, address)
    else:
        yield from (b"[" + text + b"]" for text in _texts(source, found, address))


def _texts(source: Metadata, found: Found, address: Callable[[str], str]) -> Iterator[bytes]:
    if found.instance is None:
        yield from source.objects(found.plans, address)
        return
    try:
        yield source.instance(found.instance, address)
    except MalformedError as error:
        uid = found.instance.sop_instance_uid
        raise UnreadableError(f"The header of object {uid} cannot be read: {error}") from error


_TEMPLATES = tuple(path + "/metadata" for path in (STUDY, SERIES, INSTANCE))
routes: list[BaseRoute] = [Route(path, metadata, methods=["GET"]) for path in _TEMPLATES]
RULES: tuple[Rule, ...] = tuple(Rule("GET", path, Permission.STUDIES_READ) for path in _TEMPLATES)
