"""Who read patient data: gathered for a few seconds, then in the ledger.

A viewer asks for a study in thousands of requests; the ledger tells of it once per person, study, kind of
data and address, with the counts. Called on the event loop only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from hounsfield.domain.events import Event, Subjects
from hounsfield.ports.clock import Clock
from hounsfield.servers.web import web as the_web
from hounsfield.services.recorder import Recorder

#: How long the first of a kind waits for others.
GATHER_SECONDS = 3.0
#: Kinds gathered at one time; past it they are written at once.
MOST_GATHERED = 5000


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is counted together."""

    event: str
    actor: str
    how: str
    address: str
    study: str
    what: str


@dataclass(slots=True)
class _Sum:
    at: int  # of the first, microseconds
    requests: int = 0
    objects: int = 0
    size: int = 0


class Audit:
    """One for each process."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self.recorder = recorder
        self.clock = clock
        self._sums: dict[_Kind, _Sum] = {}
        self._timer: asyncio.TimerHandle | None = None

    def count(
        self, request: Request, event: str, study: str, what: str, objects: int = 0, size: int = 0
    ) -> None:
        """Add one request to its kind."""
        who = the_web.principal(request)
        kind = _Kind(event, who.actor, who.how, the_web.address(request), study, what)
        if (so_far := self._sums.get(kind)) is None:
            if len(self._sums) >= MOST_GATHERED:
                self.flush()
            so_far = self._sums[kind] = _Sum(self.clock.now())
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        so_far.requests += 1
        so_far.objects += objects
        so_far.size += size

    def unseen(self, request: Request, study: str) -> None:
        """A study was asked for that is not there, or not for this principal."""
        self.count(request, "access.refused", study, "study")

    def flush(self) -> None:
        """Hand all that was gathered to the recorder."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gathered, self._sums = self._sums, {}
        for kind, one in gathered.items():
            self.recorder.note(_event(kind, one))


def accessed(request: Request, study_uid: str, what: str, objects: int = 1, size: int = 0) -> None:
    """Patient data of a study was given out. `what` is a word: "instance", "frames", "metadata", "rendered",
    "bulk data"; `size` in bytes."""
    the_web.of(request).audit.count(request, "study.accessed", study_uid, what, objects, size)


def searched(request: Request, what: str, matches: int) -> None:
    """A search was answered. `what` names the level: "studies", "series", "instances", "ledger"."""
    the_web.of(request).audit.count(request, "search.answered", "", what, matches)


def _event(kind: _Kind, one: _Sum) -> Event:
    payload: dict[str, object] = {
        "what": kind.what,
        "address": kind.address,
        "how": kind.how,
        "requests": one.requests,
    }
    if kind.event == "search.answered":
        payload["matches"] = one.objects
    elif kind.event == "study.accessed":
        payload |= {"objects": one.objects, "bytes": one.size}
    return Event(kind.event, one.at, Subjects(study=kind.study), kind.actor, payload=payload)
