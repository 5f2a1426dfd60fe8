"""The attributes that the index matches on and returns: one table for C-FIND, and later QIDO-RS.

`kind` says how a key of it matches (PS3.4 C.2.2.2). Attributes that are not here are answered from the
stored objects where a level has one object to ask, else returned empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hounsfield.domain.query import Level


class Kind(StrEnum):
    UID = "uid"  # single value or list of UIDs
    TEXT = "text"  # single value or wild card, case-sensitive
    NAME = "name"  # person name
    DATE = "date"
    TIME = "time"
    NUMBER = "number"  # IS or US: single value, compared as a number
    COUNT = "count"  # computed, returned only
    SET = "set"  # matches when any value of the level below matches (Modalities in Study)


@dataclass(frozen=True, slots=True)
class Attribute:
    keyword: str
    tag: int
    vr: str
    level: Level
    kind: Kind


def _table(*rows: tuple[str, int, str, Level, Kind]) -> Mapping[str, Attribute]:
    return {row[0]: Attribute(*row) for row in rows}


_P, _S, _E, _I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE

ATTRIBUTES: Mapping[str, Attribute] = _table(
    ("PatientName", 0x00100010, "PN", _P, Kind.NAME),
    ("PatientID", 0x00100020, "LO", _P, Kind.TEXT),
    ("IssuerOfPatientID", 0x00100021, "LO", _P, Kind.TEXT),
    ("PatientBirthDate", 0x00100030, "DA", _P, Kind.DATE),
    ("PatientSex", 0x00100040, "CS", _P, Kind.TEXT),
    ("NumberOfPatientRelatedStudies", 0x00201200, "IS", _P, Kind.COUNT),
    ("NumberOfPatientRelatedSeries", 0x00201202, "IS", _P, Kind.COUNT),
    ("NumberOfPatientRelatedInstances", 0x00201204, "IS", _P, Kind.COUNT),
    ("StudyInstanceUID", 0x0020000D, "UI", _S, Kind.UID),
    ("StudyDate", 0x00080020, "DA", _S, Kind.DATE),
    ("StudyTime", 0x00080030, "TM", _S, Kind.TIME),
    ("AccessionNumber", 0x00080050, "SH", _S, Kind.TEXT),
    ("StudyID", 0x00200010, "SH", _S, Kind.TEXT),
    ("StudyDescription", 0x00081030, "LO", _S, Kind.TEXT),
    ("ReferringPhysicianName", 0x00080090, "PN", _S, Kind.NAME),
    ("InstitutionName", 0x00080080, "LO", _S, Kind.TEXT),
    ("TimezoneOffsetFromUTC", 0x00080201, "SH", _S, Kind.TEXT),
    ("ModalitiesInStudy", 0x00080061, "CS", _S, Kind.SET),
    ("SOPClassesInStudy", 0x00080062, "UI", _S, Kind.SET),
    ("NumberOfStudyRelatedSeries", 0x00201206, "IS", _S, Kind.COUNT),
    ("NumberOfStudyRelatedInstances", 0x00201208, "IS", _S, Kind.COUNT),
    ("SeriesInstanceUID", 0x0020000E, "UI", _E, Kind.UID),
    ("Modality", 0x00080060, "CS", _E, Kind.TEXT),
    ("SeriesNumber", 0x00200011, "IS", _E, Kind.NUMBER),
    ("SeriesDescription", 0x0008103E, "LO", _E, Kind.TEXT),
    ("SeriesDate", 0x00080021, "DA", _E, Kind.DATE),
    ("SeriesTime", 0x00080031, "TM", _E, Kind.TIME),
    ("BodyPartExamined", 0x00180015, "CS", _E, Kind.TEXT),
    ("Laterality", 0x00200060, "CS", _E, Kind.TEXT),
    ("StationName", 0x00081010, "SH", _E, Kind.TEXT),
    ("Manufacturer", 0x00080070, "LO", _E, Kind.TEXT),
    ("ManufacturerModelName", 0x00081090, "LO", _E, Kind.TEXT),
    ("ProtocolName", 0x00181030, "LO", _E, Kind.TEXT),
    ("PerformedProcedureStepStartDate", 0x00400244, "DA", _E, Kind.DATE),
    ("PerformedProcedureStepStartTime", 0x00400245, "TM", _E, Kind.TIME),
    # of the first item of Request Attributes Sequence (0040,0275), where a query names them
    ("ScheduledProcedureStepID", 0x00400009, "SH", _E, Kind.TEXT),
    ("RequestedProcedureID", 0x00401001, "SH", _E, Kind.TEXT),
    ("NumberOfSeriesRelatedInstances", 0x00201209, "IS", _E, Kind.COUNT),
    ("SOPInstanceUID", 0x00080018, "UI", _I, Kind.UID),
    ("SOPClassUID", 0x00080016, "UI", _I, Kind.UID),
    ("InstanceNumber", 0x00200013, "IS", _I, Kind.NUMBER),
    ("Rows", 0x00280010, "US", _I, Kind.NUMBER),
    ("Columns", 0x00280011, "US", _I, Kind.NUMBER),
    ("BitsAllocated", 0x00280100, "US", _I, Kind.NUMBER),
    ("NumberOfFrames", 0x00280008, "IS", _I, Kind.NUMBER),
    ("ContentDate", 0x00080023, "DA", _I, Kind.DATE),
    ("ContentTime", 0x00080033, "TM", _I, Kind.TIME),
    ("AvailableTransferSyntaxUID", 0x00083002, "UI", _I, Kind.UID),
)

#: Dates and the times that go with them: together a moment (PS3.4 C.2.2.2.5.4).
DATE_AND_TIME = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
    ("ContentDate", "ContentTime"),
)

#: Unique key of each level.
UNIQUE_KEY: Mapping[Level, str] = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
