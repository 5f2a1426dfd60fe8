"""Studies: what is kept, down to the instance; verification against the hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Query as Asked
from pydantic import Field

from hounsfield.domain.access import Permission, Scope
from hounsfield.domain.errors import NotFoundError
from hounsfield.domain.query import Criterion, Level, Name, Query, Range, Single, Wildcard
from hounsfield.servers.web import audit
from hounsfield.servers.web.api.shapes import MOST_ROWS, Limit, Offset, Shape, TheWeb, Who, problems
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.seeing import see_study
from hounsfield.servers.web.web import Web
from hounsfield.services.verify import Verifier

router = APIRouter(tags=["studies"])

_TEXT = Annotated[str, Field(max_length=64)]
_DATE = r"^(\d{8}|\d{8}-|-\d{8}|\d{8}-\d{8}|)$"

_STUDY = {
    "StudyInstanceUID": "study",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "birth_date",
    "StudyDate": "date",
    "StudyTime": "time",
    "AccessionNumber": "accession",
    "ModalitiesInStudy": "modalities",
    "StudyDescription": "description",
    "NumberOfStudyRelatedSeries": "series",
    "NumberOfStudyRelatedInstances": "instances",
}
_SERIES = {
    "SeriesInstanceUID": "series",
    "SeriesNumber": "number",
    "Modality": "modality",
    "SeriesDescription": "description",
    "BodyPartExamined": "body_part",
    "StationName": "station",
    "NumberOfSeriesRelatedInstances": "instances",
}
_INSTANCE = {
    "SOPInstanceUID": "sop",
    "SOPClassUID": "sop_class",
    "InstanceNumber": "number",
    "NumberOfFrames": "frames",
    "Rows": "rows",
    "Columns": "columns",
}
_COUNTS = {"NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"}


class Study(Shape):
    study: str = Field(description="Study Instance UID.")
    patient_id: str
    patient_name: str
    birth_date: str
    date: str
    time: str
    accession: str
    modalities: str = Field(description="Separated by backslashes.")
    description: str
    series: int
    instances: int


class Series(Shape):
    series: str = Field(description="Series Instance UID.")
    number: str
    modality: str
    description: str
    body_part: str
    station: str
    instances: int


class Instance(Shape):
    sop: str = Field(description="SOP Instance UID.")
    sop_class: str
    number: str
    frames: str
    rows: str
    columns: str


class Studies(Shape):
    studies: list[Study]
    next_offset: int | None = Field(description="Where the next page begins; null at the end.")


class SeriesOfStudy(Shape):
    series: list[Series]


class Instances(Shape):
    instances: list[Instance]
    next_offset: int | None


class Wanted(Shape):
    """What is looked for; in the body, since addresses are written into logs on the way."""

    patient_id: _TEXT = Field(default="", description="* and ? match.")
    patient_name: Annotated[str, Field(max_length=324, description="* and ? match.")] = ""
    accession: _TEXT = Field(default="", description="* and ? match.")
    date: Annotated[str, Field(pattern=_DATE, description="20240131, or 20240101-20240131, -20240131.")] = ""
    modality: Annotated[str, Field(max_length=16)] = ""
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 100
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class DamagedObject(Shape):
    sop: str
    key: str
    offset: int
    why: str


class Verification(Shape):
    objects: int
    bytes: int
    damaged: list[DamagedObject]


@router.get("/studies", responses=problems())
async def list_studies(
    request: Request,
    web: TheWeb,
    who: Who,
    date: Annotated[str, Asked(pattern=_DATE, description="20240131, or 20240101-20240131.")] = "",
    modality: Annotated[str, Asked(max_length=16)] = "",
    limit: Limit = 100,
    offset: Offset = 0,
) -> Studies:
    """The studies, newest first. By what names a patient, they are searched for with POST."""
    wanted = Wanted(date=date, modality=modality, limit=limit, offset=offset)
    return await _found(request, web, who.scope, wanted)


@router.post("/studies/search", responses=problems())
async def search_studies(request: Request, web: TheWeb, who: Who, wanted: Wanted) -> Studies:
    """Studies by patient, accession number, date, modality."""
    return await _found(request, web, who.scope, wanted)


@router.get("/studies/{study}", responses=problems(404))
async def show_study(request: Request, web: TheWeb, who: Who, study: str) -> Study:
    """One study."""
    await see_study(request, study)
    rows = await web.beside_loop(_rows, web, Level.STUDY, {"StudyInstanceUID": study}, _STUDY, who.scope)
    if not rows:  # it went in this moment
        raise NotFoundError(f"No study {study} is kept", "See /api/studies")
    audit.accessed(request, study, "study", 0)
    return Study.model_validate(rows[0])


@router.get("/studies/{study}/series", responses=problems(404))
async def list_series(request: Request, web: TheWeb, who: Who, study: str) -> SeriesOfStudy:
    """The series of a study."""
    await see_study(request, study)
    rows = await web.beside_loop(_rows, web, Level.SERIES, {"StudyInstanceUID": study}, _SERIES, who.scope)
    audit.accessed(request, study, "series", 0)
    return SeriesOfStudy(series=[Series.model_validate(row) for row in rows])


@router.get("/studies/{study}/series/{series}/instances", responses=problems(404))
async def list_instances(
    request: Request, web: TheWeb, who: Who, study: str, series: str, limit: Limit = 1000, offset: Offset = 0
) -> Instances:
    """The instances of a series, by instance number."""
    await see_study(request, study)
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    rows = await web.beside_loop(
        _rows, web, Level.IMAGE, named, _INSTANCE, who.scope, limit=limit + 1, offset=offset
    )
    audit.accessed(request, study, "instances", 0)
    more = offset + limit if len(rows) > limit else None
    return Instances(instances=[Instance.model_validate(row) for row in rows[:limit]], next_offset=more)


@router.post("/studies/{study}/verify", responses=problems(404))
async def verify_study(request: Request, web: TheWeb, who: Who, study: str) -> Verification:
    """Read every object of a study and compare it with its hash."""
    await see_study(request, study)
    verifier = Verifier(web.database, web.blobs, web.clock, actor=who.actor)
    verified = await web.beside_loop(verifier.study, study)
    damaged = [
        DamagedObject(sop=d.sop_instance_uid, key=d.key, offset=d.offset, why=d.why) for d in verified.damaged
    ]
    return Verification(objects=verified.objects, bytes=verified.bytes, damaged=damaged)


async def _found(request: Request, web: Web, scope: Scope, wanted: Wanted) -> Studies:
    criteria: dict[str, Criterion] = {}
    for keyword, value in (("PatientID", wanted.patient_id), ("AccessionNumber", wanted.accession)):
        if value:
            criteria[keyword] = Wildcard(value) if "*" in value or "?" in value else Single(value)
    if wanted.patient_name:
        criteria["PatientName"] = Name(wanted.patient_name)
    if wanted.date:
        low, dash, high = wanted.date.partition("-")
        criteria["StudyDate"] = Range(low, high) if dash else Single(low)
    if wanted.modality:
        criteria["ModalitiesInStudy"] = Single(wanted.modality.upper())
    rows = await web.beside_loop(
        _search, web, Level.STUDY, criteria, _STUDY, scope, limit=wanted.limit + 1, offset=wanted.offset
    )
    audit.searched(request, "studies", min(len(rows), wanted.limit))
    more = wanted.offset + wanted.limit if len(rows) > wanted.limit else None
    return Studies(studies=[Study.model_validate(row) for row in rows[: wanted.limit]], next_offset=more)


def _rows(
    web: Web,
    level: Level,
    uids: Mapping[str, str],
    columns: Mapping[str, str],
    scope: Scope,
    *,
    limit: int = 0,
    offset: int = 0,
) -> list[dict[str, object]]:
    criteria: dict[str, Criterion] = {keyword: Single(uid) for keyword, uid in uids.items()}
    return _search(web, level, criteria, columns, scope, limit=limit, offset=offset)


def _search(
    web: Web,
    level: Level,
    criteria: Mapping[str, Criterion],
    columns: Mapping[str, str],
    scope: Scope,
    *,
    limit: int = 0,
    offset: int = 0,
) -> list[dict[str, object]]:
    query = Query(level, criteria, frozenset(columns), limit=limit, offset=offset, scope=scope)
    with web.database.read() as tx:
        return [_named(row, columns) for row in tx.index.search(query)]


def _named(row: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, object]:
    return {
        name: int(row.get(keyword) or 0) if keyword in _COUNTS else row.get(keyword, "")
        for keyword, name in columns.items()
    }


RULES = (
    Rule("GET", "/api/studies", Permission.STUDIES_READ),
    Rule("POST", "/api/studies/search", Permission.STUDIES_READ),
    Rule("GET", "/api/studies/{study}", Permission.STUDIES_READ),
    Rule("GET", "/api/studies/{study}/series", Permission.STUDIES_READ),
    Rule("GET", "/api/studies/{study}/series/{series}/instances", Permission.STUDIES_READ),
    Rule("POST", "/api/studies/{study}/verify", Permission.STUDIES_CHANGE),
)
