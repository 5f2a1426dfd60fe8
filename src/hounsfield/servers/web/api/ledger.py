"""The ledger: what happened, page by page, and whether its chains are whole."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from hounsfield.domain.access import Permission
from hounsfield.domain.events import CATALOGUE, Event, Recorded
from hounsfield.ports.ledger import ChainReport, LedgerFilter
from hounsfield.servers.web import audit
from hounsfield.servers.web.api.shapes import MOST_ROWS, Shape, TheWeb, Who, microseconds, moment, problems
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import Problem
from hounsfield.servers.web.web import Web

router = APIRouter(tags=["ledger"])

_TEXT = Annotated[str, Field(max_length=256)]
_UID = Annotated[str, Field(max_length=64)]


class Entry(Shape):
    at: datetime | None
    writer: str = Field(description="Which chain.")
    n: int = Field(description="Its number there.")
    type: str
    version: int
    accession: str
    patient: str
    study: str
    series: str
    device: str
    association: str
    actor: str
    cause: str
    payload: dict[str, Any]
    hash: str


class Entries(Shape):
    entries: list[Entry]
    next: str | None = Field(description="Cursor of the next page; null at the end.")


class LedgerQuery(Shape):
    """Which events. What names a patient is in the body, since addresses are written into logs on the way."""

    accession: _TEXT = ""
    patient: _TEXT = Field(default="", description="Patient ID.")
    study: _UID = Field(default="", description="Study Instance UID.")
    series: _UID = Field(default="", description="Series Instance UID.")
    device: _TEXT = Field(default="", description="Device name, or AE title.")
    association: _TEXT = ""
    types: Annotated[list[_TEXT], Field(max_length=50)] = Field(default=[], description="None: all.")
    since: datetime | None = None
    until: datetime | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100
    cursor: Annotated[str, Field(max_length=1000, description="`next` of the page before.")] = ""


class Chain(Shape):
    writer: str
    events: int
    broken_at: int = Field(description="Number of the first event that does not fit; 0 where all do.")
    why: str


class Chains(Shape):
    chains: list[Chain]
    whole: bool


@router.get("/ledger", responses=problems())
async def list_ledger(
    request: Request,
    web: TheWeb,
    study: Annotated[str, Query(max_length=64)] = "",
    device: Annotated[str, Query(max_length=256)] = "",
    type: Annotated[list[str] | None, Query(max_length=50)] = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    cursor: Annotated[str, Query(max_length=1000)] = "",
) -> Entries:
    """Events in order of time. By patient or accession number they are searched for with POST."""
    wanted = LedgerQuery(
        study=study, device=device, types=type or [], since=since, until=until, limit=limit, cursor=cursor
    )
    return await _page(request, web, wanted)


@router.post("/ledger/search", responses=problems())
async def search_ledger(request: Request, web: TheWeb, wanted: LedgerQuery) -> Entries:
    """Events by patient, accession number, study, series, device, association, type, time."""
    return await _page(request, web, wanted)


@router.post("/ledger/verify", responses=problems())
async def verify_ledger(web: TheWeb, who: Who) -> Chains:
    """Recompute the hash chain of every writer."""
    reports = await web.beside_loop(_verify, web, who.actor)
    chains = [Chain(writer=r.writer, events=r.events, broken_at=r.broken_at, why=r.why) for r in reports]
    return Chains(chains=chains, whole=not any(chain.broken_at for chain in chains))


async def _page(request: Request, web: Web, wanted: LedgerQuery) -> Entries:
    if unknown := [name for name in wanted.types if name not in CATALOGUE]:
        raise Problem(422, "A value that cannot be", f"{unknown[0][:100]!r} is no type of event")
    after = _decode(wanted.cursor) if wanted.cursor else None
    where = LedgerFilter(
        accession=wanted.accession,
        patient=wanted.patient,
        study=wanted.study,
        series=wanted.series,
        device=wanted.device,
        association=wanted.association,
        types=tuple(wanted.types),
        since=max(microseconds(wanted.since), after[0] if after else 0),
        until=microseconds(wanted.until),
    )
    found, more = await web.beside_loop(_read, web, where, after, wanted.limit)
    audit.searched(request, "ledger", len(found))
    following = _encode(found[-1]) if more else None
    return Entries(entries=[_entry(recorded) for recorded in found], next=following)


def _read(
    web: Web, where: LedgerFilter, after: tuple[int, str, int] | None, limit: int
) -> tuple[list[Recorded], bool]:
    """Past the cursor; whether there are more."""
    found: list[Recorded] = []
    with web.database.read() as tx:
        for recorded in tx.ledger.read(where):
            if after is not None and _place(recorded) <= after:
                continue
            if len(found) == limit:
                return found, True
            found.append(recorded)
    return found, False


def _verify(web: Web, actor: str) -> list[ChainReport]:
    with web.database.read() as tx:
        reports = list(tx.ledger.verify())
    payload: dict[str, object] = {
        "chains": len(reports),
        "events": sum(r.events for r in reports),
        "broken": [[r.writer, r.broken_at, r.why] for r in reports if r.broken_at],
    }
    with web.database.write() as tx:
        tx.ledger.append([Event("ledger.verified", web.clock.now(), actor=actor, payload=payload)])
    return reports


def _place(recorded: Recorded) -> tuple[int, str, int]:
    """By what the ledger is ordered."""
    return recorded.event.at, recorded.writer, recorded.n


def _encode(recorded: Recorded) -> str:
    return base64.urlsafe_b64encode(json.dumps(_place(recorded)).encode()).decode()


def _decode(cursor: str) -> tuple[int, str, int]:
    try:
        at, writer, n = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise Problem(422, "A value that cannot be", "This cursor is none of ours") from None
    if not (type(at) is type(n) is int and isinstance(writer, str) and 0 <= at < 2**63):
        raise Problem(422, "A value that cannot be", "This cursor is none of ours")
    return at, writer, n


def _entry(recorded: Recorded) -> Entry:
    event, subjects = recorded.event, recorded.event.subjects
    return Entry(
        at=moment(event.at),
        writer=recorded.writer,
        n=recorded.n,
        type=event.type,
        version=recorded.version,
        accession=subjects.accession,
        patient=subjects.patient,
        study=subjects.study,
        series=subjects.series,
        device=subjects.device,
        association=subjects.association,
        actor=event.actor,
        cause=event.cause,
        payload=dict(event.payload),
        hash=recorded.hash.hex(),
    )


RULES = (
    Rule("GET", "/api/ledger", Permission.LEDGER_READ),
    Rule("POST", "/api/ledger/search", Permission.LEDGER_READ),
    Rule("POST", "/api/ledger/verify", Permission.LEDGER_READ),
)
