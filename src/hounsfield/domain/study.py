"""What the index knows of a patient, a study, a series and an instance.

All text is decoded, without padding, and '' where the element is absent or empty. Multiple values are
joined by a backslash, as in the data set. Dates and times are as in the data set (DA, TM, PS3.5 6.2).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patient:
    patient_id: str  # (0010,0020)
    issuer: str  # (0010,0021)
    name: str  # (0010,0010), all component groups: alphabetic=ideographic=phonetic
    birth_date: str  # (0010,0030)
    sex: str  # (0010,0040)


@dataclass(frozen=True, slots=True)
class Study:
    study_instance_uid: str  # (0020,000D)
    study_date: str  # (0008,0020)
    study_time: str  # (0008,0030)
    accession_number: str  # (0008,0050)
    study_id: str  # (0020,0010)
    description: str  # (0008,1030)
    referring_physician: str  # (0008,0090)
    institution: str  # (0008,0080)
    timezone: str  # (0008,0201), as "+0100"


@dataclass(frozen=True, slots=True)
class Series:
    series_instance_uid: str  # (0020,000E)
    modality: str  # (0008,0060)
    series_number: str  # (0020,0011)
    description: str  # (0008,103E)
    series_date: str  # (0008,0021)
    series_time: str  # (0008,0031)
    body_part: str  # (0018,0015)
    laterality: str  # (0020,0060)
    station_name: str  # (0008,1010)
    manufacturer: str  # (0008,0070)
    model_name: str  # (0008,1090)
    protocol_name: str  # (0018,1030)
    performed_date: str  # (0040,0244) Performed Procedure Step Start Date
    performed_time: str  # (0040,0245)
    scheduled_step_id: str  # (0040,0009) in the first item of (0040,0275)
    requested_procedure_id: str  # (0040,1001) in the first item of (0040,0275)


@dataclass(frozen=True, slots=True)
class Instance:
    sop_instance_uid: str  # (0008,0018)
    sop_class_uid: str  # (0008,0016)
    instance_number: str  # (0020,0013)
    rows: int  # (0028,0010), 0 where absent
    columns: int  # (0028,0011)
    bits_allocated: int  # (0028,0100)
    frames: int  # (0028,0008); 0 where absent
    content_date: str  # (0008,0023)
    content_time: str  # (0008,0033)


@dataclass(frozen=True, slots=True)
class ObjectKeys:
    """The keys of one SOP instance at all four levels."""

    patient: Patient
    study: Study
    series: Series
    instance: Instance
    #: Whether the fast header scan could not read it and pydicom had to.
    handed_over: bool = False


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of one Part 10 object are.

    `key` names a blob (a log segment, a pack, a large object, a file in place); the object is its bytes
    [offset, offset + length). The first `meta_length` bytes are preamble and file meta group; the rest is
    the data set, byte-exact as received.
    """

    key: str
    offset: int
    length: int
    meta_length: int


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One kept instance as the index gives it back, enough to read, send and verify it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    content_hash: bytes  # BLAKE3 of the data set (without preamble and file meta)
    location: Location
    instance_number: str = ""
    frames: int = 0
