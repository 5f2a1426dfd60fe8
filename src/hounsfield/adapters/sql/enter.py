"""Entering one store round: the hot path of the archive.

A round usually carries new instances of series that are known already: then it is one question for the
hashes kept under its UIDs, one UPDATE each of study, series and blob, and one INSERT. Everything else is
looked up or made on the way.

Rows are locked in one order (studies, series, blobs, instances, each sorted), so that two processes on
PostgreSQL do not wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from hounsfield.adapters.sql import held
from hounsfield.adapters.sql.catalog import (
    find_series,
    find_study,
    make_series,
    make_study,
    note_kinds,
    note_sites,
    site_of,
)
from hounsfield.adapters.sql.connection import MAX_PARAMETERS, SQLITE, Connection
from hounsfield.adapters.sql.known import Known, KnownSeries, KnownStudy, StaleError
from hounsfield.adapters.sql.text import bounded, clean, clean_key
from hounsfield.domain.errors import DatabaseUnavailableError
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Patient
from hounsfield.ports.index import Entered

_KEPT = """
    SELECT uid, hash, 1 FROM instance WHERE uid = ?
    UNION ALL SELECT uid, hash, 0 FROM quarantine WHERE uid = ?"""
_COUNT_STUDY = """
    UPDATE study SET n_series = n_series + ?, n_instances = n_instances + ?,
        changed_at = CASE WHEN changed_at < ? THEN ? ELSE changed_at END
    WHERE id = ? AND uid = ? AND patient_id = ?"""
_COUNT_SERIES = """
    UPDATE series SET n_instances = n_instances + ?,
        changed_at = CASE WHEN changed_at < ? THEN ? ELSE changed_at END
    WHERE id = ? AND uid = ? AND study_id = ?"""
_COUNT_BLOB = "UPDATE blob SET live = live + ?, bytes = bytes + ? WHERE id = ? AND key = ?"
_MAKE_BLOB = """
    INSERT INTO blob (key, live, bytes, created_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET live = blob.live + excluded.live, bytes = blob.bytes + excluded.bytes
    RETURNING id"""
_INSERT = """
    INSERT INTO instance (series_id, uid, class_id, syntax_id, number, rows, columns, bits, frames,
        content_date, content_time, hash, blob_id, "offset", length, meta_length, stored_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uid) DO NOTHING"""

_STORED = Entered(Outcome.STORED)
_DUPLICATE = Entered(Outcome.DUPLICATE)
_by_id = attrgetter("id")


def enter(
    connection: Connection,
    known: Known,
    arrivals: Sequence[Arrival],
    held_ids: Mapping[int, int] | None = None,
) -> list[Entered]:
    """As `ports.index.Index.enter`. `held_ids` gives positions of `arrivals` the quarantine id they had."""
    made: set[str] = set()
    for _ in range(3):
        try:
            return _Round(connection, known, arrivals, held_ids or {}, made).enter()
        except StaleError:  # another process removed or changed what we remembered: ask again
            known.forget_places()
    raise DatabaseUnavailableError("Other processes keep changing the studies of this round", "Try again")


def count_blob(connection: Connection, known: Known, key: str, live: int, size: int, at: int) -> int:
    """Add to what lives in a blob, making its row where it is new. Returns its row id."""
    row_id = known.blobs.get(key)
    if row_id is None or connection.execute(_COUNT_BLOB, (live, size, row_id, key)).rowcount != 1:
        row = connection.execute(_MAKE_BLOB, (key, live, size, at)).fetchone()
        row_id = known.blobs[key] = int(row[0])
    return row_id


class _Round:
    def __init__(
        self,
        connection: Connection,
        known: Known,
        arrivals: Sequence[Arrival],
        held_ids: Mapping[int, int],
        made: set[str],
    ) -> None:
        self.connection = connection
        self.known = known
        self.arrivals = arrivals
        self.held_ids = held_ids
        self.uids = [clean_key(a.keys.instance.sop_instance_uid) for a in arrivals]
        self.result: list[Entered] = [_DUPLICATE] * len(arrivals)
        self.stored: list[int] = []
        self.to_hold: list[tuple[int, Outcome, str, bytes]] = []
        #: Studies and series of this round that are not there yet, by UID, with their first arrival.
        self.new_studies: dict[str, Arrival] = {}
        self.new_series: dict[str, Arrival] = {}
        #: UIDs of the studies and series that this transaction made, also before the round was decided again.
        self.made = made
        #: Where devices stand, by name, for the new series.
        self.device_sites: dict[str, str] = {}

    def enter(self) -> list[Entered]:
        self._decide()
        if self.new_studies or self.new_series:
            self._make_places()
        blobs = self._count()
        if self.stored:
            self._insert(blobs)
        for position, outcome, reason, current in self.to_hold:
            self._hold(position, outcome, reason, current, blobs)
        return self.result

    # What becomes of each

    def _decide(self) -> None:
        current, in_quarantine = self._kept()
        stored, uids = self.stored, self.uids
        for position, arrival in enumerate(self.arrivals):
            uid = uids[position]
            content = arrival.content_hash
            there = current.get(uid)
            if there == content or (in_quarantine and content in in_quarantine.get(uid, ())):
                continue  # a duplicate
            if arrival.quarantine is not None:
                self.to_hold.append((position, Outcome.QUARANTINED, arrival.quarantine.value, b""))
            elif there is not None:
                self.to_hold.append((position, Outcome.CONFLICT, QuarantineReason.CONFLICT.value, there))
            elif self._belongs(arrival):
                stored.append(position)
                current[uid] = content
                continue
            else:
                self.to_hold.append((position, Outcome.QUARANTINED, QuarantineReason.OTHER_STUDY.value, b""))
            in_quarantine.setdefault(uid, set()).add(content)

    def _kept(self) -> tuple[dict[str, bytes], dict[str, set[bytes]]]:
        """Hashes kept under the round's UIDs: the current one, and those in quarantine."""
        current: dict[str, bytes] = {}
        in_quarantine: dict[str, set[bytes]] = {}
        for at in range(0, len(self.uids), MAX_PARAMETERS // 2):
            uids = self.uids[at : at + MAX_PARAMETERS // 2]
            sql = _KEPT
            if len(uids) > 1:
                sql = sql.replace("= ?", f"IN ({self.connection.marks(len(uids))})")
            for uid, content, is_current in self.connection.execute(sql, (*uids, *uids)):
                if is_current:
                    current[uid] = content
                else:
                    in_quarantine.setdefault(uid, set()).add(content)
        return current, in_quarantine

    def _belongs(self, arrival: Arrival) -> bool:
        """Whether its series, study and patient are those that are known, or new: planned then."""
        keys = arrival.keys
        series_uid, study_uid = keys.series.series_instance_uid, keys.study.study_instance_uid
        series = self.known.series.get(series_uid)
        if series is None and series_uid not in self.new_series:
            series = find_series(self.connection, self.known, series_uid)
        if series is not None:
            study = series.study
            return study.uid == study_uid and not _is_other_patient(
                study.patient_id, study.issuer, keys.patient
            )
        planned = self.new_series.get(series_uid)
        if planned is not None and planned.keys.study.study_instance_uid != study_uid:
            return False
        first = self.new_studies.get(study_uid)
        if first is None:
            found = find_study(self.connection, self.known, study_uid)
            if found is None:
                self.new_studies[study_uid] = arrival
            elif _is_other_patient(found.patient_id, found.issuer, keys.patient):
                return False
        elif _is_other_patient(
            clean(first.keys.patient.patient_id), clean(first.keys.patient.issuer), keys.patient
        ):
            return False
        if planned is None:
            self.new_series[series_uid] = arrival
        return True

    def _make_places(self) -> None:
        for uid in sorted(self.new_studies):
            arrival = self.new_studies[uid]
            if make_study(self.connection, self.known, arrival):
                self.made.add(uid)
            study = self.known.studies[uid]
            if _is_other_patient(study.patient_id, study.issuer, arrival.keys.patient):
                raise StaleError  # another process made it a moment ago, for another patient
        for uid in sorted(self.new_series):
            make_series(self.connection, self.known, self.new_series[uid])
            self.made.add(uid)

    # Writing

    def _count(self) -> dict[str, int]:
        """Bring the counts of studies, series and blobs to what is going to be inserted.

        Returns the row ids of the blobs."""
        if self.stored:
            self._count_places(self.stored, 1)
        sums: dict[str, list[int]] = {}
        for position in (
            [*self.stored, *[entry[0] for entry in self.to_hold]] if self.to_hold else self.stored
        ):
            location = self.arrivals[position].location
            entry = sums.get(location.key)
            if entry is None:
                sums[location.key] = [1, location.length]
            else:
                entry[0] += 1
                entry[1] += location.length
        if len(self.stored) + len(self.to_hold) < len(self.arrivals):
            # A segment of the log that holds nothing but repeats is named as well: else none would sweep it.
            for arrival in self.arrivals:
                if arrival.location.key.startswith("log/"):
                    sums.setdefault(arrival.location.key, [0, 0])
        now = self.arrivals[0].at if self.arrivals else 0
        return {
            key: count_blob(self.connection, self.known, clean_key(key), live, size, now)
            for key, (live, size) in (sums.items() if len(sums) == 1 else sorted(sums.items()))
        }

    def _count_places(self, positions: Sequence[int], sign: int) -> None:
        by_series: dict[KnownSeries, list[int]] = {}
        other_kinds: dict[KnownStudy, list[Arrival]] = {}
        new_sites: dict[KnownStudy, set[str]] = {}
        for position in positions:
            arrival = self.arrivals[position]
            keys = arrival.keys
            series = self.known.series[keys.series.series_instance_uid]
            entry = by_series.get(series)
            study = series.study
            if entry is None:
                by_series[series] = [sign, arrival.at]
                if sign > 0 and series.uid in self.made:
                    site = site_of(self.connection, self.device_sites, arrival.origin)
                    if site not in study.sites:
                        new_sites.setdefault(study, set()).add(site)
            else:
                entry[0] += sign
                entry[1] = max(entry[1], arrival.at)
            if (
                keys.instance.sop_class_uid not in study.classes
                or keys.series.modality not in study.modalities
            ):
                other_kinds.setdefault(study, []).append(arrival)
        by_study: dict[KnownStudy, list[int]] = {}
        for series, (count, at) in by_series.items():
            entry = by_study.setdefault(series.study, [0, 0, 0])
            entry[0] += sign > 0 and series.uid in self.made
            entry[1] += count
            entry[2] = max(entry[2], at)
        undo: list[tuple[str, tuple[Any, ...]]] = []
        for study in sorted(by_study, key=_by_id):
            new, count, at = by_study[study]
            where = (at, at, study.id, study.uid, study.patient_row)
            self._update(_COUNT_STUDY, (new, count, *where), (-new, -count, *where), undo)
            if study in other_kinds:
                note_kinds(self.connection, study, other_kinds[study])
            if study in new_sites:
                note_sites(self.connection, study, new_sites[study])
        for series in sorted(by_series, key=_by_id):
            count, at = by_series[series]
            where = (at, at, series.id, series.uid, series.study.id)
            self._update(_COUNT_SERIES, (count, *where), (-count, *where), undo)

    def _update(
        self,
        sql: str,
        values: tuple[Any, ...],
        inverse: tuple[Any, ...],
        undo: list[tuple[str, tuple[Any, ...]]],
    ) -> None:
        """One UPDATE that has to find its row: else what was counted in this round is taken back."""
        if self.connection.execute(sql, values).rowcount != 1:
            for statement, back in undo:
                self.connection.execute(statement, back)
            raise StaleError
        undo.append((sql, inverse))

    def _insert(self, blobs: Mapping[str, int]) -> None:
        rows = [self._row(position, blobs) for position in self.stored]
        if len(rows) == 1:
            written = self.connection.execute(_INSERT, rows[0]).rowcount
        else:
            if self.connection.dialect != SQLITE:
                rows.sort(key=lambda row: row[1])
            written = self.connection.executemany(_INSERT, rows).rowcount
        made = set(self.made)
        for position in self.stored:
            self.result[position] = _first_of(self.arrivals[position], made) if made else _STORED
        if written != len(rows):
            self._lost_race()

    def _row(self, position: int, blobs: Mapping[str, int]) -> tuple[Any, ...]:
        arrival = self.arrivals[position]
        known, connection = self.known, self.connection
        instance, location = arrival.keys.instance, arrival.location
        return (
            known.series[arrival.keys.series.series_instance_uid].id,
            self.uids[position],
            known.terms.get(instance.sop_class_uid) or known.term(connection, instance.sop_class_uid),
            known.terms.get(arrival.transfer_syntax_uid)
            or known.term(connection, arrival.transfer_syntax_uid),
            clean(instance.instance_number),
            bounded(instance.rows),
            bounded(instance.columns),
            bounded(instance.bits_allocated),
            bounded(instance.frames),
            clean(instance.content_date),
            clean(instance.content_time),
            arrival.content_hash,
            blobs[location.key],
            location.offset,
            location.length,
            location.meta_length,
            arrival.at,
        )

    def _lost_race(self) -> None:
        """Another process entered some of these UIDs between our question and our INSERT (PostgreSQL only):
        take those out of the counts and decide them again, against what is kept now."""
        lost = []
        for position in self.stored:
            arrival = self.arrivals[position]
            ours = self.connection.execute(
                "SELECT 1 FROM instance i JOIN blob b ON b.id = i.blob_id"
                ' WHERE i.uid = ? AND b.key = ? AND i."offset" = ?',
                (self.uids[position], clean_key(arrival.location.key), arrival.location.offset),
            ).fetchone()
            if ours is None:
                lost.append(position)
        self._count_places(lost, -1)
        for position in lost:
            location = self.arrivals[position].location
            count_blob(self.connection, self.known, clean_key(location.key), -1, -location.length, 0)
        again = enter(self.connection, self.known, [self.arrivals[position] for position in lost])
        for position, entered in zip(lost, again, strict=True):
            self.result[position] = entered

    def _hold(
        self, position: int, outcome: Outcome, reason: str, current: bytes, blobs: Mapping[str, int]
    ) -> None:
        arrival = self.arrivals[position]
        location = arrival.location
        row_id = held.insert(
            self.connection, arrival, reason, blobs[location.key], self.held_ids.get(position)
        )
        if row_id:
            self.result[position] = Entered(outcome, row_id, current, reason=reason)
        else:  # another process held the same a moment ago: a duplicate
            count_blob(self.connection, self.known, clean_key(location.key), -1, -location.length, 0)


def _first_of(arrival: Arrival, made: set[str]) -> Entered:
    """STORED, and whether it is the first object of a study or series that was made; takes those out of
    `made`."""
    series_uid, study_uid = arrival.keys.series.series_instance_uid, arrival.keys.study.study_instance_uid
    if series_uid not in made:
        return _STORED
    entered = Entered(Outcome.STORED, new_study=study_uid in made, new_series=True)
    made -= {series_uid, study_uid}
    return entered


def _is_other_patient(patient_id: str, issuer: str, patient: Patient) -> bool:
    """Whether a study's known Patient ID and issuer contradict those that came. What is absent contradicts
    nothing."""
    if patient_id == patient.patient_id and issuer == patient.issuer:
        return False
    came = clean(patient.patient_id)
    if not patient_id or not came:
        return False
    return patient_id != came or bool(issuer and patient.issuer and issuer != clean(patient.issuer))
