"""What requests for kept objects have in common: their paths, and what they accept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakValueDictionary

from starlette.requests import Request

from hounsfield.domain.errors import DamagedError
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.study import StoredInstance
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.located import Place
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.seeing import see_study
from hounsfield.services.verify import Damage, damage_events
from hounsfield.wire.dicomweb.accept import AcceptError, MediaRange, parse_accept

ROOT = "/dicom-web"
STUDY = ROOT + "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"


def accepted(request: Request) -> Sequence[MediaRange]:
    """The media ranges of the Accept headers and the `accept` parameter. Raises Problem 400."""
    try:
        header = ",".join(request.headers.getlist("accept"))
        return parse_accept(header, request.query_params.get("accept", ""))
    except AcceptError as error:
        raise Problem(400, "The Accept header cannot be read", str(error)) from error


def not_acceptable(why: str) -> Problem:
    return Problem(406, "None of the acceptable types can be given", why)


async def path_uids(request: Request) -> Mapping[str, str]:
    """The UIDs of the path, of a study that may be seen. Raises Problem 400 or 404."""
    uids: Mapping[str, str] = request.path_params
    await see_study(request, uids["study"])
    for name, level in (("series", "Series"), ("instance", "SOP")):
        if name in uids and not is_tolerated_uid(uids[name]):
            raise Problem(
                400, "This is no UID", f"A {level} Instance UID is digits and dots, at most 64 of them"
            )
    return uids


def known_place(web: the_web.Web, uids: Mapping[str, str]) -> Place | None:
    """Where the instance of the path is, if that is known without asking the index."""
    return web.located.get(uids["study"], uids["series"], uids["instance"], web.clock.monotonic())


def find_place(web: the_web.Web, uids: Mapping[str, str]) -> Place:
    """On a thread: where the instance of the path is. Raises Problem 404."""
    now = web.clock.monotonic()
    found = web.located.find(web.database, uids["study"], uids["series"], uids["instance"], now)
    if found is None:
        raise nothing_there()
    return found


def find_instance(web: the_web.Web, uids: Mapping[str, str]) -> StoredInstance:
    """On a thread: the instance of the path. Raises Problem 404."""
    return find_place(web, uids).instance


def nothing_there() -> Problem:
    return Problem(404, "There is no such object", "The study has nothing under this address")


def address_of(request: Request, instance: StoredInstance) -> str:
    """The absolute address of its resource."""
    return f"{series_address(request, instance)}/instances/{instance.sop_instance_uid}"


def series_address(request: Request, instance: StoredInstance) -> str:
    study, series = instance.study_instance_uid, instance.series_instance_uid
    return f"{the_web.base_url(request)}{ROOT}/studies/{study}/series/{series}"


class Turns:
    """To be entered any number of times: each time takes one of one's own turns, then one of those of all."""

    def __init__(self, own: asyncio.Semaphore, of_all: asyncio.Semaphore) -> None:
        self._own = own
        self._of_all = of_all

    async def __aenter__(self) -> None:
        await self._own.acquire()
        try:
            await self._of_all.acquire()
        except BaseException:
            self._own.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._of_all.release()
        self._own.release()


def pixel_turns(request: Request) -> Turns:
    """Those who wait for a pixel process take turns, so that they never hold all threads of the role; and
    nobody takes more than half of them, however many requests they send."""
    state, turns = request.app.state, 2 * (os.cpu_count() or 1) + 2
    if not hasattr(state, "rendering_turns"):
        state.rendering_turns = asyncio.Semaphore(turns)
        state.rendering_turns_of = WeakValueDictionary[str, asyncio.Semaphore]()
    name = the_web.principal(request).name
    own = state.rendering_turns_of.get(name)
    if own is None:
        own = state.rendering_turns_of[name] = asyncio.Semaphore(turns // 2)
    return Turns(own, state.rendering_turns)


def tell_of_damage(web: the_web.Web) -> Callable[[StoredInstance, DamagedError], None]:
    """Into the ledger: kept bytes are not what was received. For any thread."""

    def damaged(instance: StoredInstance, error: DamagedError) -> None:
        at = instance.location
        damage = Damage(instance.sop_instance_uid, instance.study_instance_uid, at.key, at.offset, error.what)
        for event in damage_events([damage], web.clock.now(), "system"):
            web.recorder.note(event)

    return damaged
