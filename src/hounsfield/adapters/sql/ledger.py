"""`ports.ledger.Ledger` over one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hounsfield.adapters.sql import chain
from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.known import SUBJECT_KINDS, Known
from hounsfield.adapters.sql.text import clean_key
from hounsfield.domain.errors import DatabaseUnavailableError
from hounsfield.domain.events import CATALOGUE, Event, Recorded, Subjects
from hounsfield.ports.ledger import ChainReport, LedgerFilter

_COLUMNS = ("writer", "n", "at", "type", "version", *SUBJECT_KINDS, "actor", "cause", "payload", "hash")
_INSERT = (
    f"INSERT INTO ledger ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    " ON CONFLICT (writer, n) DO NOTHING"
)
_SELECT = (
    "SELECT w.name, l.n, l.at, t.value, l.version, "
    + ", ".join(f"{kind}.value" for kind in SUBJECT_KINDS)
    + ", actor.value, l.cause, l.payload, l.hash FROM ledger l JOIN ledger_writer w ON w.id = l.writer"
    " LEFT JOIN term t ON t.id = l.type LEFT JOIN subject actor ON actor.id = l.actor "
    + " ".join(f"LEFT JOIN subject {kind} ON {kind}.id = l.{kind}" for kind in SUBJECT_KINDS)
)
_FIELDS = {name: frozenset(event_type.fields) for name, event_type in CATALOGUE.items()}

_SUBJECT = "(SELECT id FROM subject WHERE kind = ? AND value = ?)"
#: Studies that carry an accession number or Patient ID, by the index and by what the ledger has told of them.
_STUDIES = {
    "accession": "SELECT uid FROM study WHERE accession = ?",
    "patient": "SELECT uid FROM study WHERE patient_id IN (SELECT id FROM patient WHERE patient_id = ?)",
}


class SqlLedger:
    __slots__ = ("connection", "known", "writer")

    def __init__(self, connection: Connection, known: Known, writer: str) -> None:
        self.connection = connection
        self.known = known
        self.writer = writer

    # Appending

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        if not events:
            return []
        payloads = [_checked_payload(event) for event in events]
        for _ in range(100):
            rows, recorded = self._chained(events, payloads)
            # Once the first number is ours nobody else can have the next ones.
            if self.connection.execute(_INSERT, rows[0]).rowcount == 1:
                if len(rows) > 1:
                    self.connection.executemany(_INSERT, rows[1:])
                writer_id = rows[0][0]
                self.known.head = (writer_id, recorded[-1].n, recorded[-1].hash)
                return recorded
            self.known.head = None  # another process appended to our chain: go on from its end
        raise DatabaseUnavailableError(
            f"Other processes keep writing as ledger writer {self.writer}", "Try again"
        )

    def _chained(
        self, events: Sequence[Event], payloads: Sequence[str]
    ) -> tuple[list[tuple[Any, ...]], list[Recorded]]:
        """Rows for the events, continuing the writer's chain."""
        connection, known = self.connection, self.known
        writer_id, n, previous = known.head or self._load_head()
        rows: list[tuple[Any, ...]] = []
        recorded: list[Recorded] = []
        for event, payload in zip(events, payloads, strict=True):
            n += 1
            subjects: dict[str, str] = {}
            ids: list[int | None] = []
            for kind in SUBJECT_KINDS:
                value = getattr(event.subjects, kind)
                if value:
                    value = subjects[kind] = clean_key(value)
                    ids.append(known.subjects.get((kind, value)) or known.subject(connection, kind, value))
                else:
                    ids.append(None)
            actor, cause, version = (
                clean_key(event.actor),
                clean_key(event.cause),
                CATALOGUE[event.type].version,
            )
            canonical = chain.canonical(
                self.writer, n, event.at, event.type, version, subjects, actor, cause, payload
            )
            previous = chain.link(previous, canonical)
            rows.append(
                (
                    *(writer_id, n, event.at, known.term(connection, event.type), version, *ids),
                    *(known.subject(connection, "actor", actor), cause, chain.pack(payload), previous),
                )
            )
            recorded.append(Recorded(self.writer, n, event, version, previous))
        return rows, recorded

    def _load_head(self) -> tuple[int, int, bytes]:
        """Row id of our writer, number and hash of its last event."""
        connection = self.connection
        connection.execute(
            "INSERT INTO ledger_writer (name) VALUES (?) ON CONFLICT (name) DO NOTHING", (self.writer,)
        )
        row = connection.execute("SELECT id FROM ledger_writer WHERE name = ?", (self.writer,)).fetchone()
        last = connection.execute(
            "SELECT n, hash FROM ledger WHERE writer = ? ORDER BY n DESC LIMIT 1", (row[0],)
        ).fetchone()
        self.known.head = (row[0], last[0], bytes(last[1])) if last else (row[0], 0, chain.FIRST)
        return self.known.head

    # Reading

    def head(self) -> int:
        row = self.connection.execute(
            "SELECT max(n) FROM ledger WHERE writer = (SELECT id FROM ledger_writer WHERE name = ?)",
            (self.writer,),
        ).fetchone()
        return int(row[0] or 0)

    def read(self, where: LedgerFilter) -> Iterator[Recorded]:
        conditions: list[str] = []
        values: list[Any] = []
        for kind in SUBJECT_KINDS:
            value = clean_key(getattr(where, kind))
            if not value:
                continue
            condition = f"l.{kind} = {_SUBJECT}"
            values += [kind, value]
            if kind in _STUDIES:
                condition = (
                    f"({condition} OR l.study IN (SELECT id FROM subject WHERE kind = 'study' AND value IN"
                    f" ({_STUDIES[kind]}))"
                    f" OR l.study IN (SELECT study FROM ledger WHERE {kind} = {_SUBJECT}))"
                )
                values += [value, kind, value]
            conditions.append(condition)
        if where.types:
            conditions.append(
                f"l.type IN (SELECT id FROM term WHERE value IN ({self.connection.marks(len(where.types))}))"
            )
            values += where.types
        if where.since:
            conditions.append("l.at >= ?")
            values.append(where.since)
        if where.until:
            conditions.append("l.at <= ?")
            values.append(where.until)
        sql = (
            _SELECT
            + (" WHERE " + " AND ".join(conditions) if conditions else "")
            + " ORDER BY l.at, w.name, l.n"
        )
        if where.limit:
            sql += " LIMIT ?"
            values.append(where.limit)
        for row in self.connection.stream(sql, tuple(values)):
            yield _recorded(row)

    def after(self, cursor: dict[str, int], limit: int) -> list[Recorded]:
        found: list[Recorded] = []
        writers = self.connection.execute("SELECT id, name FROM ledger_writer ORDER BY id").fetchall()
        for writer_id, name in writers:
            if len(found) >= limit:
                break
            rows = self.connection.execute(
                _SELECT + " WHERE l.writer = ? AND l.n > ? ORDER BY l.n LIMIT ?",
                (writer_id, cursor.get(name, 0), limit - len(found)),
            )
            found += map(_recorded, rows)
        return found

    def save_cursor(self, consumer: str, cursor: dict[str, int]) -> None:
        for writer in sorted(cursor):
            self.connection.execute(
                "INSERT INTO cursor (consumer, writer, n) VALUES (?, ?, ?)"
                " ON CONFLICT (consumer, writer) DO UPDATE SET n = excluded.n",
                (consumer, writer, cursor[writer]),
            )

    def load_cursor(self, consumer: str) -> dict[str, int]:
        rows = self.connection.execute("SELECT writer, n FROM cursor WHERE consumer = ?", (consumer,))
        return {writer: n for writer, n in rows}  # noqa: C416 - the drivers' rows have no common type

    def verify(self) -> Iterator[ChainReport]:
        writers = self.connection.execute("SELECT id, name FROM ledger_writer ORDER BY name").fetchall()
        for writer_id, name in writers:
            yield self._verify_chain(writer_id, name)

    def _verify_chain(self, writer_id: int, name: str) -> ChainReport:
        """The first event that is missing or not as it was chained; what follows it cannot be judged."""
        previous, expected, events = chain.FIRST, 0, 0
        broken, why = 0, ""
        for row in self.connection.stream(_SELECT + " WHERE l.writer = ? ORDER BY l.n", (writer_id,)):
            events += 1
            expected += 1
            if broken:
                continue
            if row[1] != expected:
                broken, why = expected, f"event {expected} is missing"
                continue
            previous, why = _relink(previous, row)
            if why:
                broken = expected
        return ChainReport(name, events, broken, why)


def _checked_payload(event: Event) -> str:
    """Canonical JSON of a payload whose fields the catalogue knows."""
    fields = _FIELDS.get(event.type)
    if fields is None:
        raise ValueError(f"no event type {event.type!r} in the catalogue")
    if not fields.issuperset(event.payload):
        unknown = ", ".join(sorted(set(event.payload) - fields))
        raise ValueError(f"event type {event.type} has no payload field {unknown}")
    return chain.encode(event.payload)


def _relink(previous: bytes, row: tuple[Any, ...]) -> tuple[bytes, str]:
    """The chained hash of a row as it is kept, and what is wrong with it ('' for nothing)."""
    writer, n, at, type_name, version, *rest = row
    *values, actor, cause, kept, kept_hash = rest
    try:
        payload = chain.unpack(bytes(kept))
    except ValueError as error:
        return previous, str(error)
    if type_name is None or actor is None:
        return previous, "its type or actor is missing"
    subjects = {kind: value for kind, value in zip(SUBJECT_KINDS, values, strict=True) if value}
    computed = chain.link(
        previous, chain.canonical(writer, n, at, type_name, version, subjects, actor, cause, payload)
    )
    return computed, "" if computed == bytes(kept_hash) else "its content does not match its chained hash"


def _recorded(row: tuple[Any, ...]) -> Recorded:
    writer, n, at, type_name, version, *rest = row
    *values, actor, cause, kept, content_hash = rest
    subjects = Subjects(**{kind: value or "" for kind, value in zip(SUBJECT_KINDS, values, strict=True)})
    event = Event(type_name, at, subjects, actor, cause, json.loads(chain.unpack(bytes(kept))))
    return Recorded(writer, n, event, version, bytes(content_hash))
