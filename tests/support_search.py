"""A made-up archive that holds the odd values which searches must get right."""

from __future__ import annotations

from random import Random

from hounsfield.domain.query import Level
from hounsfield.domain.stored import Arrival, Origin
from hounsfield.domain.study import Instance, Location, ObjectKeys, Patient, Series, Study

NAMES = (
    "",
    "Doe",
    "Doe^John",
    "DOE^JANE",
    "Doering^Eva",
    "Müller^Jörg",
    "Mueller^Joerg",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "=山田^花子",
    "Suzuki^Ken==すずき^けん",
    "山田^次郎",
    "Smith^Jon",
    "Schmidt^John",
    "D[o]e^100%",
    "d_e^\\^x".replace("\\", "/"),
    "*?",
    "\U0010ffffx^y",
)
TEXTS = (
    "",
    "A",
    "a",
    "AB",
    "A1",
    "A 1",
    "ABC",
    "A*",
    "A?",
    "A[B]",
    "A%B",
    "A_B",
    "A'B",
    "ÄB",
    "山田",
    "B^C=D",
    '/-"x',
)
DATES = ("", "20240101", "20240102", "20240131", "20240229", "20231231", "2024", "2024.01.01", "x")
TIMES = (
    "",
    "10",
    "1000",
    "100000",
    "100000.5",
    "1030",
    "103000.25",
    "235959.999999",
    "000000",
    "00",
    "10:00",
    "x",
)
NUMBERS = ("", "1", "01", "+1", "-1", "2", "10", "010", "x", "1.5")
MODALITIES = ("CT", "MR", "SR", "C", "CTX", "")
CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3")
SYNTAX = "1.2.840.10008.1.2.1"

Row = dict[str, str]


def build() -> tuple[list[Arrival], dict[Level, list[Row]]]:
    """Arrivals of an archive made by chance, and the rows that each level should have."""
    random = Random(7)
    arrivals: list[Arrival] = []
    rows: dict[Level, list[Row]] = {level: [] for level in Level}
    for p in range(70):
        own = random.choice(TEXTS) and f"{random.choice(TEXTS)}{p % 9 or ''}"
        issuer = f"I{p}" if p % 2 else ""
        if any(row["PatientID"] == own and row["IssuerOfPatientID"] == issuer for row in rows[Level.PATIENT]):
            issuer = f"J{p}"
        patient = Patient(
            own, issuer, random.choice(NAMES), random.choice(DATES), random.choice("MFO") * (p % 3)
        )
        _patient(random, p, patient, arrivals, rows)
    random.shuffle(arrivals)
    return arrivals, rows


def _patient(
    random: Random, p: int, patient: Patient, arrivals: list[Arrival], rows: dict[Level, list[Row]]
) -> None:
    own = {
        "PatientID": patient.patient_id,
        "IssuerOfPatientID": patient.issuer,
        "PatientName": patient.name,
        "PatientBirthDate": patient.birth_date,
        "PatientSex": patient.sex,
    }
    studies = []
    for s in range(random.randrange(1, 4) if patient.patient_id else 1):
        pick = random.choice
        study = Study(
            f"1.2.{p}.{s}", pick(DATES), pick(TIMES), pick(TEXTS), pick(TEXTS), pick(TEXTS), pick(NAMES),
            pick(TEXTS), pick(("", "+0100")),
        )  # fmt: skip
        studies.append(_study(random, patient, own, study, arrivals, rows))
    counts = (len(studies), sum(series for series, _ in studies), sum(instances for _, instances in studies))
    rows[Level.PATIENT].append(own)
    for name, count in zip(("Studies", "Series", "Instances"), counts, strict=True):
        own[f"NumberOfPatientRelated{name}"] = str(count)
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        for row in rows[level]:
            if row["StudyInstanceUID"].startswith(f"1.2.{p}."):
                row.update(own)


def _study(
    random: Random,
    patient: Patient,
    above: Row,
    study: Study,
    arrivals: list[Arrival],
    rows: dict[Level, list[Row]],
) -> tuple[int, int]:
    own = above | {
        "StudyInstanceUID": study.study_instance_uid,
        "StudyDate": study.study_date,
        "StudyTime": study.study_time,
        "AccessionNumber": study.accession_number,
        "StudyID": study.study_id,
        "StudyDescription": study.description,
        "ReferringPhysicianName": study.referring_physician,
        "InstitutionName": study.institution,
        "TimezoneOffsetFromUTC": study.timezone,
    }
    of_study: list[Row] = []
    below: list[Row] = []
    for e in range(random.randrange(1, 4)):
        pick = random.choice
        series = Series(
            f"{study.study_instance_uid}.{e}", pick(MODALITIES), pick(NUMBERS), pick(TEXTS), pick(DATES),
            pick(TIMES), *(pick(TEXTS) for _ in range(6)), pick(DATES), pick(TIMES), pick(TEXTS), pick(TEXTS),
        )  # fmt: skip
        row = own | {
            "SeriesInstanceUID": series.series_instance_uid,
            "Modality": series.modality,
            "SeriesNumber": series.series_number,
            "SeriesDescription": series.description,
            "SeriesDate": series.series_date,
            "SeriesTime": series.series_time,
            "BodyPartExamined": series.body_part,
            "Laterality": series.laterality,
            "StationName": series.station_name,
            "Manufacturer": series.manufacturer,
            "ManufacturerModelName": series.model_name,
            "ProtocolName": series.protocol_name,
            "PerformedProcedureStepStartDate": series.performed_date,
            "PerformedProcedureStepStartTime": series.performed_time,
            "ScheduledProcedureStepID": series.scheduled_step_id,
            "RequestedProcedureID": series.requested_procedure_id,
        }
        n = random.randrange(1, 4)
        row["NumberOfSeriesRelatedInstances"] = str(n)
        of_study.append(row)
        for i in range(n):
            instance = Instance(
                f"{series.series_instance_uid}.{i}", pick(CLASSES), pick(NUMBERS), pick((0, 512)),
                pick((0, 512, 65535)), pick((0, 8, 16)), pick((0, 1, 30)), pick(DATES), pick(TIMES),
            )  # fmt: skip
            below.append(
                row
                | {
                    "SOPInstanceUID": instance.sop_instance_uid,
                    "SOPClassUID": instance.sop_class_uid,
                    "AvailableTransferSyntaxUID": SYNTAX,
                    "InstanceNumber": instance.instance_number,
                    "Rows": str(instance.rows or ""),
                    "Columns": str(instance.columns or ""),
                    "BitsAllocated": str(instance.bits_allocated or ""),
                    "NumberOfFrames": str(instance.frames or ""),
                    "ContentDate": instance.content_date,
                    "ContentTime": instance.content_time,
                }
            )
            keys = ObjectKeys(patient, study, series, instance)
            location = Location("intake/1", len(arrivals) * 1000, 1000, 100)
            digest = len(arrivals).to_bytes(32, "big")
            arrivals.append(Arrival(keys, SYNTAX, digest, location, Origin("dimse", "CT1", "a", "h"), 1))
    rows[Level.STUDY].append(own)
    rows[Level.SERIES] += of_study
    rows[Level.IMAGE] += below
    of_whole_study = {
        "NumberOfStudyRelatedSeries": str(len(of_study)),
        "NumberOfStudyRelatedInstances": str(len(below)),
        "ModalitiesInStudy": "\\".join(sorted({row["Modality"] for row in of_study} - {""})),
        "SOPClassesInStudy": "\\".join(sorted({row["SOPClassUID"] for row in below})),
    }
    for row in (own, *of_study, *below):
        row.update(of_whole_study)
    return len(of_study), len(below)


ARRIVALS, ROWS = build()
