"""Arrivals and events for tests of the database."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.stored import Arrival, Origin, QuarantineReason
from hounsfield.domain.study import Instance, Location, ObjectKeys, Patient, Series, Study

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
SEGMENT = "log/test/00000001.seg"
NOW = 1_700_000_000_000_000

_offsets = itertools.count(0, 1000)


def arrival(
    sop: str,
    content: str = "",
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.4",
    patient: str = "P1",
    issuer: str = "",
    name: str = "Doe^Jane",
    modality: str = "CT",
    sop_class: str = CT,
    accession: str = "A1",
    number: str = "1",
    series_number: str = "1",
    key: str = SEGMENT,
    at: int = NOW,
    device: str = "CT01",
    quarantine: QuarantineReason | None = None,
    rows: int = 512,
) -> Arrival:
    """One object; objects with the same `sop` and `content` are identical, each has a place of its own."""
    return Arrival(
        ObjectKeys(
            Patient(patient, issuer, name, "19700101", "F"),
            Study(study, "20240102", "101112", accession, "7", "Thorax", "Ref^Doc", "Hospital", "+0100"),
            Series(
                *(series, modality, series_number, "Lung", "20240102", "101113", "CHEST", "L", "ST1"),
                *("Maker", "Model", "Protocol", "20240102", "101100", "SPS1", "RP1"),
            ),
            Instance(sop, sop_class, number, rows, 256, 16, 3, "20240102", "101114"),
        ),
        EXPLICIT_LE,
        digest(sop, content),
        Location(key, next(_offsets), 900, 300),
        Origin("dimse", device, "assoc-1", "10.0.0.1"),
        at,
        quarantine,
    )


def digest(sop: str, content: str = "") -> bytes:
    return hashlib.sha256(f"{sop} {content}".encode("utf-8", "surrogatepass")).digest()


def stored(sop: str, at: int = NOW, **subjects: str) -> Event:
    """A ledger event."""
    return Event(
        "instance.stored",
        at,
        Subjects(**subjects),
        actor="device:CT01",
        payload={"objects": [[sop, CT, digest(sop).hex(), 600]], "source": "dimse"},
    )


def rows(database: Any, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a statement finds, past the ports."""
    with database.read() as tx:
        return [tuple(row) for row in tx.connection.execute(sql, parameters).fetchall()]
