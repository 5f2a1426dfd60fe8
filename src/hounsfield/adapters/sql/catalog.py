"""Patients, studies and series: looked up and made. What was first received of them stays (the identity of a
patient or study is never changed by what comes later)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.known import Known, KnownSeries, KnownStudy, StaleError
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.domain.names import group_keys, name_key, name_sounds
from hounsfield.domain.stored import Arrival, Origin
from hounsfield.domain.study import Patient

_STUDY = """
    SELECT t.id, t.uid, t.patient_id, p.patient_id, p.issuer, t.modalities, t.sop_classes,
        t.sites
    FROM study t JOIN patient p ON p.id = t.patient_id WHERE t.uid = ?"""
_SERIES = "SELECT s.id, s.uid, t.uid FROM series s JOIN study t ON t.id = s.study_id WHERE s.uid = ?"

_PATIENT_COLUMNS = (
    *("key", "patient_id", "issuer", "name", "name_key", "ideographic_key", "phonetic_key", "sounds"),
    *("birth_date", "sex"),
)
_STUDY_COLUMNS = (
    *("patient_id", "uid", "study_date", "study_time", "accession", "study_id", "description", "referring"),
    *("referring_key", "institution", "timezone", "created_at", "changed_at"),
)
_SERIES_COLUMNS = (
    *("study_id", "uid", "modality", "number", "description", "series_date", "series_time", "body_part"),
    *("laterality", "station", "manufacturer", "model", "protocol", "performed_date", "performed_time"),
    *("sps_id", "rp_id", "created_at", "changed_at"),
)


def find_study(connection: Connection, known: Known, uid: str) -> KnownStudy | None:
    """The study that is kept under `uid`, remembered from now on."""
    study = known.studies.get(uid)
    if study is None:
        row = connection.execute(_STUDY, (clean_key(uid),)).fetchone()
        if row is None:
            return None
        study = known.studies[uid] = KnownStudy(row)
    return study


def find_series(connection: Connection, known: Known, uid: str) -> KnownSeries | None:
    """The series that is kept under `uid`, remembered from now on."""
    row = connection.execute(_SERIES, (clean_key(uid),)).fetchone()
    if row is None:
        return None
    study = find_study(connection, known, row[2])
    if study is None:
        raise StaleError
    series = known.series[uid] = KnownSeries(row[0], row[1], study)
    return series


def make_study(connection: Connection, known: Known, arrival: Arrival) -> bool:
    """Make the study of `arrival` and its patient, and remember it. False if another process was faster."""
    study, patient = arrival.keys.study, arrival.keys.patient
    values = (
        _patient_row(connection, patient, study.study_instance_uid),
        clean_key(study.study_instance_uid),
        clean(study.study_date),
        clean(study.study_time),
        clean(study.accession_number),
        clean(study.study_id),
        clean(study.description),
        clean(study.referring_physician),
        name_key(clean(study.referring_physician)),
        clean(study.institution),
        clean(study.timezone),
        arrival.at,
        arrival.at,
    )
    made = _insert(connection, "study", _STUDY_COLUMNS, values, "uid")
    if find_study(connection, known, study.study_instance_uid) is None:
        raise StaleError
    return made is not None


def make_series(connection: Connection, known: Known, arrival: Arrival) -> None:
    """Make the series of `arrival` and remember it. StaleError if another process was faster."""
    series = arrival.keys.series
    uid = series.series_instance_uid
    study = known.studies[arrival.keys.study.study_instance_uid]
    values = (
        study.id,
        clean_key(uid),
        clean(series.modality),
        clean(series.series_number),
        clean(series.description),
        clean(series.series_date),
        clean(series.series_time),
        clean(series.body_part),
        clean(series.laterality),
        clean(series.station_name),
        clean(series.manufacturer),
        clean(series.model_name),
        clean(series.protocol_name),
        clean(series.performed_date),
        clean(series.performed_time),
        clean(series.scheduled_step_id),
        clean(series.requested_procedure_id),
        arrival.at,
        arrival.at,
    )
    row_id = _insert(connection, "series", _SERIES_COLUMNS, values, "uid")
    if row_id is None:
        raise StaleError
    known.series[uid] = KnownSeries(row_id, clean_key(uid), study)


def note_kinds(connection: Connection, study: KnownStudy, arrivals: Sequence[Arrival]) -> None:
    """Add to Modalities in Study and SOP Classes in Study what they do not show yet. The row is locked by
    this transaction: it has just counted there."""
    row = connection.execute("SELECT modalities, sop_classes FROM study WHERE id = ?", (study.id,)).fetchone()
    modalities, classes = (dict.fromkeys(filter(None, text.split("\\"))) for text in row)
    for arrival in arrivals:
        modality, sop_class = arrival.keys.series.modality, arrival.keys.instance.sop_class_uid
        modalities.update(dict.fromkeys(filter(None, clean(modality).split("\\"))))
        classes.update(dict.fromkeys(filter(None, (clean_key(sop_class),))))
        study.modalities.add(modality)
        study.classes.add(sop_class)
    connection.execute(
        "UPDATE study SET modalities = ?, sop_classes = ? WHERE id = ?",
        ("\\".join(modalities), "\\".join(classes), study.id),
    )
    study.modalities.update(modalities)
    study.classes.update(classes)


def note_sites(connection: Connection, study: KnownStudy, sites: Set[str]) -> None:
    """Add to the sites of a study; its row is locked, as in `note_kinds`."""
    row = connection.execute("SELECT sites FROM study WHERE id = ?", (study.id,)).fetchone()
    kept = dict.fromkeys(filter(None, (*row[0].split("\\"), *sorted(sites))))
    connection.execute("UPDATE study SET sites = ? WHERE id = ?", ("\\".join(kept), study.id))
    study.sites.update(kept)


def site_of(connection: Connection, device_sites: dict[str, str], origin: Origin) -> str:
    """Where a series was made: at the site of the device that sent its first object, as the device's record
    says now; where it has none, at that of the sender. '' for none. `device_sites` remembers for a round."""
    if origin.source == "stow":  # its device is a user: one who is called like a device is none
        return clean(origin.site).replace("\\", "/")
    site = device_sites.get(origin.device)
    if site is None:
        row = (
            origin.device
            and connection.execute(
                "SELECT site FROM device WHERE name = ?", (clean_key(origin.device),)
            ).fetchone()
        )
        site = device_sites[origin.device] = row[0] if row else ""
    # a backslash stands between sites: one name never becomes two
    return (site or clean(origin.site)).replace("\\", "/")


def _patient_row(connection: Connection, patient: Patient, study_uid: str) -> int:
    patient_id, issuer = clean(patient.patient_id), clean(patient.issuer)
    # Objects without a Patient ID are not of one patient: each study then has a patient of its own.
    key = clean_key(f"{patient_id}\\{issuer}" if patient_id else f"study:{study_uid}")
    select = "SELECT id FROM patient WHERE key = ?"
    row = connection.execute(select, (key,)).fetchone()
    if row is None:
        name = clean(patient.name)
        values = (
            *(key, patient_id, issuer, name, *group_keys(name), name_sounds(name)),
            *(clean(patient.birth_date), clean(patient.sex)),
        )
        row_id = _insert(connection, "patient", _PATIENT_COLUMNS, values, "key")
        if row_id is not None:
            return row_id
        row = connection.execute(select, (key,)).fetchone()
        if row is None:
            raise StaleError
    return int(row[0])


def _insert(
    connection: Connection, table: str, columns: tuple[str, ...], values: tuple[Any, ...], unique: str
) -> int | None:
    """Row id, or None where a row with the same `unique` is there already."""
    row = connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({connection.marks(len(columns))})"
        f" ON CONFLICT ({unique}) DO NOTHING RETURNING id",
        values,
    ).fetchone()
    return None if row is None else int(row[0])
