"""Rows of the quarantine: objects that are kept, but not current."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

from hounsfield.adapters.sql.connection import MAX_PARAMETERS, Connection
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.domain.stored import Arrival, Origin, QuarantineReason
from hounsfield.domain.study import Instance, Location, ObjectKeys, Patient, Series, Study
from hounsfield.ports.index import Held

_COLUMNS = (
    "uid, study_uid, device, reason, policy, hash, keys, syntax, blob_id,"
    ' "offset", length, meta_length, origin, at'
)
_SELECT = """
    SELECT q.id, q.reason, q.policy, q.hash, q.keys, q.syntax,
        b.key, q."offset", q.length, q.meta_length, q.origin, q.at
    FROM quarantine q JOIN blob b ON b.id = q.blob_id"""


def insert(connection: Connection, arrival: Arrival, reason: str, blob_id: int, row_id: int | None) -> int:
    """Hold one object, under `row_id` where it had one. Returns its id, 0 where the same is held already."""
    location = arrival.location
    columns, values = (
        _COLUMNS,
        (
            clean_key(arrival.keys.instance.sop_instance_uid),
            clean_key(arrival.keys.study.study_instance_uid),
            clean(arrival.origin.device),
            reason,
            "" if arrival.quarantine is None else arrival.quarantine.value,
            arrival.content_hash,
            json.dumps(astuple(arrival.keys)),
            clean_key(arrival.transfer_syntax_uid),
            blob_id,
            location.offset,
            location.length,
            location.meta_length,
            json.dumps(astuple(arrival.origin)),
            arrival.at,
        ),
    )
    if row_id is not None:
        columns, values = "id, " + columns, (row_id, *values)  # type: ignore[assignment]
    row = connection.execute(
        f"INSERT INTO quarantine ({columns}) VALUES ({connection.marks(len(values))})"
        " ON CONFLICT (uid, hash) DO NOTHING RETURNING id",
        values,
    ).fetchone()
    return 0 if row is None else int(row[0])


def search(connection: Connection, device: str, reason: str, study: str) -> Iterator[Held]:
    """What is held, oldest first."""
    conditions = {"q.device": clean(device), "q.reason": reason, "q.study_uid": clean_key(study)}
    given = {column: value for column, value in conditions.items() if value}
    where = " WHERE " + " AND ".join(f"{column} = ?" for column in given) if given else ""
    for row in connection.stream(f"{_SELECT}{where} ORDER BY q.id", tuple(given.values())):
        yield _held(row)


def take(connection: Connection, ids: Sequence[int]) -> list[Held]:
    """Remove rows and return what they held, by id; ids that are not there are left out."""
    taken: list[Held] = []
    for at in range(0, len(ids), MAX_PARAMETERS):
        part = tuple(ids[at : at + MAX_PARAMETERS])
        marks = connection.marks(len(part))
        lock = "" if connection.dialect == "sqlite" else " FOR UPDATE OF q"
        rows = connection.execute(f"{_SELECT} WHERE q.id IN ({marks}) ORDER BY q.id{lock}", part).fetchall()
        connection.execute(f"DELETE FROM quarantine WHERE id IN ({marks})", part)
        taken.extend(map(_held, rows))
    return sorted(taken, key=lambda held: held.id)


def _held(row: tuple[Any, ...]) -> Held:
    row_id, reason, policy, content, keys, syntax, key, offset, length, meta_length, origin, at = row
    patient, study, series, instance, handed_over = json.loads(keys)
    return Held(
        row_id,
        Arrival(
            ObjectKeys(Patient(*patient), Study(*study), Series(*series), Instance(*instance), handed_over),
            syntax,
            bytes(content),
            Location(key, offset, length, meta_length),
            Origin(*json.loads(origin)),
            at,
            QuarantineReason(policy) if policy else None,
        ),
        reason,
    )
