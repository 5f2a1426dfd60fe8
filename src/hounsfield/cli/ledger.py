"""ledger, ledger verify."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Annotated

import typer

from hounsfield.cli.output import brief, moment, shown, to_json
from hounsfield.cli.session import Session, command
from hounsfield.cli.times import microseconds
from hounsfield.domain.errors import DamagedError
from hounsfield.domain.events import CATALOGUE, Event, Recorded
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.archive import Archive

app = typer.Typer()

POLL_SECONDS = 1.0
#: A transaction may become visible this much later than its events say (microseconds).
LATE = 30_000_000
COLUMNS = ["at", "type", "device", "patient", "accession", "study", "actor", "what"]


@command(app, "ledger", group=True)
def show(
    session: Session,
    accession: Annotated[str, typer.Option(help="Accession number.", show_default=False)] = "",
    patient: Annotated[str, typer.Option(help="Patient ID.", show_default=False)] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID.", show_default=False)] = "",
    series: Annotated[str, typer.Option(help="Series Instance UID.", show_default=False)] = "",
    device: Annotated[str, typer.Option(help="Device name, or AE title.", show_default=False)] = "",
    association: Annotated[str, typer.Option(help="Association.", show_default=False)] = "",
    event: Annotated[
        list[str] | None, typer.Option("--type", help="Event type; may be repeated.", show_default=False)
    ] = None,
    since: Annotated[str, typer.Option(help="2026-01-31, 2026-01-31T08:30, or 2h ago.")] = "",
    until: Annotated[str, typer.Option(help="As --since.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many events; 0: all.", min=0)] = 0,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on with what happens; JSON is then one a line."),
    ] = False,
) -> None:
    """What happened, and why: the events of a study, patient, accession number, device or association."""
    if unknown := [name for name in event or () if name not in CATALOGUE]:
        raise typer.BadParameter(f"{unknown[0]} is no event type; see docs/reference/events.md")
    with session.archive() as archive:
        now = archive.clock.now()
        where = LedgerFilter(
            accession=accession,
            patient=patient,
            study=study,
            series=series,
            device=device,
            association=association,
            types=tuple(event or ()),
            since=microseconds(since, now),
            until=microseconds(until, now),
            limit=limit,
        )
        if follow:
            _follow(session, archive, where)
            return
        with archive.database.read() as tx:
            found = map(row if session.out.as_json else _readable, tx.ledger.read(where))
            session.out.rows(COLUMNS, found, empty="Nothing is known of it.")


@command(app, "verify")
def verify(session: Session) -> None:
    """Recompute the hash chain of every writer; exit code 7 where one is broken."""
    with session.archive() as archive:
        with archive.database.read() as tx:
            reports = list(tx.ledger.verify())
        broken = [[r.writer, r.broken_at, r.why] for r in reports if r.broken_at]
        payload: dict[str, object] = {
            "chains": len(reports),
            "events": sum(r.events for r in reports),
            "broken": broken,
        }
        with archive.database.write() as tx:
            tx.ledger.append(
                [Event("ledger.verified", archive.clock.now(), actor=session.actor, payload=payload)]
            )
    rows = [dataclasses.asdict(report) | {"whole": not report.broken_at} for report in reports]
    session.out.rows(["writer", "events", "whole", "broken_at", "why"], rows)
    if broken:
        raise DamagedError(
            f"{len(broken)} of {len(reports)} chains of the ledger are broken",
            "Compare with a backup: from the named event on, something was changed or is missing",
        )


def row(recorded: Recorded) -> dict[str, object]:
    event = recorded.event
    subjects = event.subjects
    return {
        "at": moment(event.at),
        "writer": recorded.writer,
        "n": recorded.n,
        "type": event.type,
        "version": recorded.version,
        "accession": subjects.accession,
        "patient": subjects.patient,
        "study": subjects.study,
        "series": subjects.series,
        "device": subjects.device,
        "association": subjects.association,
        "actor": event.actor,
        "cause": event.cause,
        "payload": dict(event.payload),
        "hash": recorded.hash.hex(),
    }


def _readable(recorded: Recorded) -> dict[str, object]:
    """A row for people: the payload in short; --json has all of it."""
    return row(recorded) | {"what": brief(recorded.event.payload)}


def _follow(session: Session, archive: Archive, where: LedgerFilter) -> None:
    """Until Ctrl-C. Asks again from a little before the last event, since some become visible late."""
    for recorded in _grow(archive, where):
        if session.out.as_json:
            session.out.line(to_json(row(recorded)))
        else:
            values = _readable(recorded)
            session.out.line("  ".join(shown(values[name]) for name in COLUMNS if values[name]))
        session.out.flush()


def _grow(archive: Archive, where: LedgerFilter) -> Iterator[Recorded]:
    seen: OrderedDict[tuple[str, int], int] = OrderedDict()
    newest = 0
    while True:
        with archive.database.read() as tx:
            found = list(tx.ledger.read(where))
        for recorded in found:
            key = (recorded.writer, recorded.n)
            if key in seen:
                continue
            seen[key] = recorded.event.at
            newest = max(newest, recorded.event.at)
            yield recorded
        if newest:
            where = dataclasses.replace(where, since=max(where.since, newest - LATE), limit=0)
            for key in [key for key, at in seen.items() if at < where.since]:
                del seen[key]
        if where.until and archive.clock.now() > where.until + LATE:
            return
        time.sleep(POLL_SECONDS)
