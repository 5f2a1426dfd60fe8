"""`ports.index.Index` over one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hounsfield.adapters.sql import held
from hounsfield.adapters.sql.connection import MAX_PARAMETERS, POSTGRESQL, Connection
from hounsfield.adapters.sql.enter import count_blob, enter
from hounsfield.adapters.sql.known import Known
from hounsfield.adapters.sql.search import search
from hounsfield.adapters.sql.search_scope import scope_clause
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.domain.access import Scope
from hounsfield.domain.query import Query
from hounsfield.domain.stored import Arrival
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.index import Entered, Extent, Held, SeriesState

_INSTANCE = """
    SELECT t.uid, s.uid, i.uid, c.value, x.value, i.hash,
        b.key, i."offset", i.length, i.meta_length, i.number, i.frames
    FROM instance i JOIN series s ON s.id = i.series_id JOIN study t ON t.id = s.study_id
    JOIN term c ON c.id = i.class_id JOIN term x ON x.id = i.syntax_id JOIN blob b ON b.id = i.blob_id"""


class SqlIndex:
    __slots__ = ("connection", "known")

    def __init__(self, connection: Connection, known: Known) -> None:
        self.connection = connection
        self.known = known

    def enter(self, arrivals: Sequence[Arrival]) -> list[Entered]:
        return enter(self.connection, self.known, arrivals)

    def search(self, query: Query) -> Iterator[Mapping[str, str]]:
        return search(self.connection, query)

    def study_seen(self, study_instance_uid: str, scope: Scope) -> bool:
        within = scope_clause(scope, self.connection.dialect)
        row = self.connection.execute(
            f"SELECT 1 FROM study s WHERE s.uid = ? AND {within.sql}",
            (clean_key(study_instance_uid), *within.parameters),
        ).fetchone()
        return row is not None

    # Instances

    def known_hashes(self, sop_instance_uids: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
        found: dict[str, tuple[bytes, ...]] = {}
        for part in _parts(sop_instance_uids):
            as_given = {clean_key(uid): uid for uid in part}
            for table in ("instance", "quarantine"):
                for uid, content in self.connection.execute(
                    f"SELECT uid, hash FROM {table} WHERE uid IN ({self.connection.marks(len(as_given))})",
                    tuple(as_given),
                ):
                    uid = as_given[uid]
                    found[uid] = (*found.get(uid, ()), bytes(content))
        return found

    def instances(
        self,
        *,
        study: str = "",
        series: Sequence[str] = (),
        sop: Sequence[str] = (),
        patient: str | None = None,
        after: int = 0,
        limit: int = 0,
    ) -> Iterator[StoredInstance]:
        conditions: list[str] = []
        values: list[Any] = []
        if study:
            conditions.append("t.uid = ?")
            values.append(clean_key(study))
        for column, uids in (("s.uid", series), ("i.uid", sop)):
            if uids:
                condition, more = self._one_of(column, uids)
                conditions.append(condition)
                values += more
        if patient is not None:
            conditions.append("t.patient_id IN (SELECT id FROM patient WHERE patient_id = ?)")
            values.append(clean(patient))
        where = " WHERE " + " AND ".join(conditions) if conditions else ""
        order = f" ORDER BY {self._number('s.number')}, s.uid, {self._number('i.number')}, i.uid"
        page = ""
        if limit or after:
            page = " LIMIT ? OFFSET ?"
            values += [limit or 0x7FFFFFFFFFFFFFFF, after]
        for row in self.connection.stream(_INSTANCE + where + order + page, tuple(values)):
            yield _stored(row)

    def _one_of(self, column: str, uids: Sequence[str]) -> tuple[str, list[Any]]:
        """A condition for a list of UIDs of any length, and its parameters."""
        cleaned = [clean_key(uid) for uid in uids]
        if self.connection.dialect == POSTGRESQL:
            return f"{column} = ANY(?)", [cleaned]
        if len(cleaned) <= MAX_PARAMETERS:
            return f"{column} IN ({self.connection.marks(len(cleaned))})", [*cleaned]

        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(cleaned)]

    def _number(self, column: str) -> str:
        """An IS value as a number to order by; what is none comes last."""
        if self.connection.dialect == POSTGRESQL:
            is_number, number = f"{column} ~ '^ *[+-]{{0,1}}[0-9]{{1,12}} *$'", f"trim({column})::bigint"
        else:
            is_number, number = f"{column} GLOB '*[0-9]*'", f"CAST({column} AS INTEGER)"
        return f"CASE WHEN {is_number} THEN {number} ELSE 9223372036854775807 END"

    def locate(self, sop_instance_uid: str) -> StoredInstance | None:
        row = self.connection.execute(
            f"{_INSTANCE} WHERE i.uid = ?", (clean_key(sop_instance_uid),)
        ).fetchone()
        return None if row is None else _stored(row)

    def kept(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        classes: dict[str, str] = {}
        for part in _parts([uid for _, uid in pairs]):
            classes.update(
                self.connection.execute(
                    "SELECT i.uid, c.value FROM instance i JOIN term c ON c.id = i.class_id"
                    f" WHERE i.uid IN ({self.connection.marks(len(part))})",
                    tuple(map(clean_key, part)),
                ).fetchall()
            )
        answers = []
        for sop_class, uid in pairs:
            there = classes.get(clean_key(uid))
            answers.append("missing" if there is None else "" if there == clean_key(sop_class) else "class")
        return answers

    # Quarantine

    def quarantine(self, *, device: str = "", reason: str = "", study: str = "") -> Iterator[Held]:
        return held.search(self.connection, device, reason, study)

    def release(self, ids: Sequence[int]) -> list[Entered]:
        taken = self._take(ids)
        arrivals = [replace(one.arrival, quarantine=None) for one in taken]
        return enter(self.connection, self.known, arrivals, {at: one.id for at, one in enumerate(taken)})

    def drop_held(self, ids: Sequence[int]) -> list[Location]:
        return [one.arrival.location for one in self._take(ids)]

    def _take(self, ids: Sequence[int]) -> list[Held]:
        taken = held.take(self.connection, ids)
        for one in sorted(taken, key=lambda one: one.arrival.location.key):
            location = one.arrival.location
            count_blob(self.connection, self.known, location.key, -1, -location.length, 0)
        return taken

    # Series

    def series_state(self, series_instance_uid: str) -> SeriesState | None:
        row = self.connection.execute(
            "SELECT t.uid, s.uid, s.modality, s.n_instances, s.changed_at, s.generation,"
            " s.n_instances - s.packed FROM series s JOIN study t ON t.id = s.study_id WHERE s.uid = ?",
            (clean_key(series_instance_uid),),
        ).fetchone()
        return None if row is None else SeriesState(*row)

    def relocate(
        self,
        series_instance_uid: str,
        generation: int,
        moves: Mapping[str, tuple[Location, Location]],
        metadata: Location | None,
    ) -> int:
        connection = self.connection
        lock = " FOR NO KEY UPDATE" if connection.dialect == POSTGRESQL else ""
        row = connection.execute(
            "SELECT s.id, b.key FROM series s LEFT JOIN blob b ON b.id = s.metadata_blob WHERE s.uid = ?"
            + (lock and lock + " OF s"),
            (clean_key(series_instance_uid),),
        ).fetchone()
        if row is None:
            return 0
        series_id, old_metadata = row
        changes: dict[str, list[int]] = {}  # blob -> live, bytes
        if metadata is not None:
            _add(changes, metadata.key, 1, 0)
            if old_metadata is not None:
                _add(changes, old_metadata, -1, 0)
        ids = {
            key: count_blob(connection, self.known, key, 0, 0, 0)
            for key in sorted(set(changes).union(*({old.key, new.key} for old, new in moves.values())))
        }
        moved = 0
        for uid, (old, new) in moves.items():
            found = connection.execute(
                'UPDATE instance SET blob_id = ?, "offset" = ?, length = ?, meta_length = ?'
                ' WHERE uid = ? AND series_id = ? AND blob_id = ? AND "offset" = ?',
                (
                    *(ids[new.key], new.offset, new.length, new.meta_length),
                    *(clean_key(uid), series_id, ids[old.key], old.offset),
                ),
            ).rowcount
            if found:
                moved += 1
                _add(changes, old.key, -1, -old.length)
                _add(changes, new.key, 1, new.length)
        for key in sorted(changes):
            live, size = changes[key]
            count_blob(connection, self.known, key, live, size, 0)
        packs = {ids[new.key] for _, new in moves.values()}
        packed = "packed"
        values: tuple[Any, ...] = ()
        if packs:
            marks = connection.marks(len(packs))
            packed = f"(SELECT count(*) FROM instance WHERE series_id = ? AND blob_id IN ({marks}))"
            values = (series_id, *packs)
        connection.execute(
            f"UPDATE series SET generation = ?, packed = {packed} WHERE id = ?",
            (generation, *values, series_id),
        )
        if metadata is not None:
            connection.execute(
                "UPDATE series SET metadata_blob = ?, metadata_offset = ?, metadata_length = ? WHERE id = ?",
                (ids[metadata.key], metadata.offset, metadata.length, series_id),
            )
        return moved

    def metadata(self, series_instance_uid: str) -> Location | None:
        row = self.connection.execute(
            "SELECT b.key, s.metadata_offset, s.metadata_length"
            " FROM series s JOIN blob b ON b.id = s.metadata_blob"
            " WHERE s.uid = ? AND s.packed = s.n_instances",
            (clean_key(series_instance_uid),),
        ).fetchone()
        return None if row is None else Location(row[0], row[1], row[2], 0)

    # Blobs

    def unused_blobs(self, prefix: str) -> list[str]:
        rows = self.connection.execute(
            "SELECT key FROM blob WHERE live <= 0 AND substr(key, 1, ?) = ? ORDER BY key",
            (len(prefix), prefix),
        )
        return [row[0] for row in rows]

    def forget_blob(self, key: str) -> None:
        self.connection.execute("DELETE FROM blob WHERE key = ? AND live <= 0", (clean_key(key),))
        self.known.blobs.pop(clean_key(key), None)

    def blobs_after(self, key: str, limit: int) -> list[str]:
        rows = self.connection.execute(
            "SELECT key FROM blob WHERE key > ? ORDER BY key LIMIT ?", (key, limit)
        )
        return [row[0] for row in rows]

    def extents(self, keys: Sequence[str]) -> dict[str, Extent]:
        found: dict[str, Extent] = {}
        for part in _parts(keys):
            marks = self.connection.marks(len(part))
            rows = self.connection.execute(f"SELECT id, key FROM blob WHERE key IN ({marks})", tuple(part))
            names = dict(rows.fetchall())
            found |= dict.fromkeys(names.values(), Extent())
            for table in ("instance", "quarantine") if names else ():
                for blob, count, end in self.connection.execute(
                    f'SELECT blob_id, count(*), max("offset" + length) FROM {table}'
                    f" WHERE blob_id IN ({self.connection.marks(len(names))}) GROUP BY blob_id",
                    tuple(names),
                ):
                    before = found[names[blob]]
                    found[names[blob]] = Extent(before.objects + count, max(before.end, end))
        return found

    def beyond(self, key: str, end: int, limit: int) -> tuple[int, list[str]]:
        count, uids = 0, []
        for table in ("instance", "quarantine"):
            where = f'{table} WHERE blob_id = (SELECT id FROM blob WHERE key = ?) AND "offset" + length > ?'
            count += self.connection.execute(f"SELECT count(*) FROM {where}", (key, end)).fetchone()[0]
            rows = self.connection.execute(
                f'SELECT uid FROM {where} ORDER BY "offset" LIMIT ?', (key, end, limit)
            )
            uids += [row[0] for row in rows]
        return count, uids[:limit]

    def knows_location(self, key: str, offset: int) -> bool:
        at = "(SELECT id FROM blob WHERE key = ?)"
        row = self.connection.execute(
            f'SELECT 1 FROM instance WHERE blob_id = {at} AND "offset" = ?'
            f' UNION ALL SELECT 1 FROM quarantine WHERE blob_id = {at} AND "offset" = ?',
            (clean_key(key), offset, clean_key(key), offset),
        ).fetchone()
        return row is not None

    def counts(self) -> Mapping[str, int]:
        row = self.connection.execute(
            "SELECT (SELECT count(*) FROM patient), (SELECT count(*) FROM study),"
            " (SELECT count(*) FROM series), (SELECT sum(n_instances) FROM study),"
            " (SELECT count(*) FROM quarantine), (SELECT sum(bytes) FROM blob)"
        ).fetchone()
        names = ("patients", "studies", "series", "instances", "quarantine", "bytes")
        return {name: int(value or 0) for name, value in zip(names, row, strict=True)}


def _stored(row: tuple[Any, ...]) -> StoredInstance:
    study, series, uid, sop_class, syntax, content, key, offset, length, meta_length, number, frames = row
    location = Location(key, offset, length, meta_length)
    return StoredInstance(study, series, uid, sop_class, syntax, bytes(content), location, number, frames)


def _parts(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(uids), MAX_PARAMETERS):
        yield uids[at : at + MAX_PARAMETERS]


def _add(changes: dict[str, list[int]], key: str, live: int, size: int) -> None:
    entry = changes.setdefault(key, [0, 0])
    entry[0] += live
    entry[1] += size
