"""Whether who asks may see a study: the one place where objects are authorised."""

from __future__ import annotations

from starlette.requests import Request

from hounsfield.domain.access import Scope
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.problems import Problem

#: A study that was seen is not looked up again for so long: a viewer asks for hundreds of its frames.
REMEMBERED_SECONDS = 2.0
MOST_REMEMBERED = 10_000


async def see_study(request: Request, study_uid: str) -> None:
    """Every handler that names a study calls this first.

    Raises Problem 400 where `study_uid` is no UID; 404 where there is no such study, and in the same words
    where the principal may not see it.
    """
    if not is_tolerated_uid(study_uid):
        raise Problem(400, "This is no UID", "A Study Instance UID is digits and dots, at most 64 of them")
    web = the_web.of(request)
    scope = the_web.principal(request).scope
    seen = web.seen
    now = web.clock.monotonic()
    if seen.get((scope, study_uid), 0.0) > now:
        return
    if not await web.beside_loop(_seen, web, study_uid, scope):
        web.audit.unseen(request, study_uid)
        raise Problem(404, "There is no such study", "It is not kept here, or is not for you to see")
    if len(seen) >= MOST_REMEMBERED:
        seen.clear()
    seen[scope, study_uid] = now + REMEMBERED_SECONDS


def _seen(web: the_web.Web, study_uid: str, scope: Scope) -> bool:
    with web.database.read() as tx:
        return tx.index.study_seen(study_uid, scope)
