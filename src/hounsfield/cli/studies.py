"""study list, show, verify, extract."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from hounsfield.cli.session import Session, command
from hounsfield.domain.errors import DamagedError, NotFoundError
from hounsfield.domain.query import Criterion, Level, Name, Query, Range, Single, Wildcard
from hounsfield.domain.study import StoredInstance
from hounsfield.services.archive import Archive
from hounsfield.services.extract import Extraction
from hounsfield.services.verify import Verifier

app = typer.Typer(help="What is kept.", no_args_is_help=True)

StudyUid = Annotated[str, typer.Argument(help="Study Instance UID.", show_default=False)]
COLUMNS = {
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
    "StudyInstanceUID": "study",
}
SERIES_COLUMNS = {
    "SeriesNumber": "number",
    "Modality": "modality",
    "SeriesDescription": "description",
    "BodyPartExamined": "body_part",
    "StationName": "station",
    "NumberOfSeriesRelatedInstances": "instances",
    "SeriesInstanceUID": "series",
}
_NUMBERS = {"series", "instances"}


@command(app, "list")
def list_studies(
    session: Session,
    patient: Annotated[str, typer.Option(help="Patient ID; * and ? match.", show_default=False)] = "",
    name: Annotated[str, typer.Option(help="Patient's name; * and ? match.", show_default=False)] = "",
    accession: Annotated[str, typer.Option(help="Accession number; * and ? match.", show_default=False)] = "",
    date: Annotated[
        str, typer.Option(help="20240131, or a range such as 20240101-20240131 or 20240101-.")
    ] = "",
    modality: Annotated[str, typer.Option(help="A modality in the study.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(help="At most so many; 0: all.", min=0)] = 0,
) -> None:
    """List the studies, by patient name and newest first."""
    criteria: dict[str, Criterion] = {}
    if patient:
        criteria["PatientID"] = _text(patient)
    if name:
        criteria["PatientName"] = Name(name)
    if accession:
        criteria["AccessionNumber"] = _text(accession)
    if date:
        criteria["StudyDate"] = _dates(date)
    if modality:
        criteria["ModalitiesInStudy"] = Single(modality.upper())
    query = Query(Level.STUDY, criteria, frozenset(COLUMNS), limit=limit)
    with session.archive() as archive, archive.database.read() as tx:
        rows = (named(row, COLUMNS) for row in tx.index.search(query))
        session.out.rows(list(COLUMNS.values()), rows, empty="No study matches.")


@command(app, "show")
def show(session: Session, study: StudyUid) -> None:
    """Show a study, its series, and where its bytes are."""
    with session.archive() as archive:
        session.out.record(_study(archive, study))


@command(app, "verify")
def verify(
    session: Session,
    study: Annotated[str, typer.Argument(help="Study Instance UID.", show_default=False)] = "",
    everything: Annotated[bool, typer.Option("--all", help="All that is kept.")] = False,
) -> None:
    """Read every object of a study and compare it with its hash; exit code 7 where one is damaged."""
    if not study and not everything:
        raise typer.BadParameter("name a study, or give --all")
    with session.archive() as archive:
        verifier = Verifier(archive.database, archive.blobs, archive.clock, actor=session.actor)
        verified = verifier.everything() if everything else verifier.study(study)
    damaged = [
        {
            "sop": d.sop_instance_uid,
            "study": d.study_instance_uid,
            "key": d.key,
            "offset": d.offset,
            "why": d.why,
        }
        for d in verified.damaged
    ]
    session.out.record(
        {
            "studies": verified.studies,
            "objects": verified.objects,
            "bytes": verified.bytes,
            "damaged": damaged,
        }
    )
    if damaged:
        raise DamagedError(
            f"{len(damaged)} of {verified.objects} objects are not what was received",
            "Bring the named files back from a backup, or ask the sender for them again",
        )


@command(app, "extract")
def extract(
    session: Session,
    study: StudyUid,
    to: Annotated[
        Path, typer.Argument(help="A folder, or a file that ends in .zip.", show_default=False)
    ] = Path(),
    series: Annotated[str, typer.Option(help="Only this series.", show_default=False)] = "",
) -> None:
    """Give a study out as files, byte-exact as received."""
    with session.archive() as archive:
        extraction = Extraction(archive.database, archive.blobs)
        chosen = extraction.select(study=study, series=series)
        zipped = to.suffix.lower() == ".zip"
        done = extraction.to_zip(chosen, to) if zipped else extraction.to_folder(chosen, to)
    values: dict[str, object] = {
        "to": str(to),
        "objects": done.objects,
        "already": done.already,
        "bytes": done.bytes,
        "neutralised": [{"sop": sop, "was": was} for sop, was in done.neutralised],
        "failed": [{"sop": sop, "why": why} for sop, why in done.failed],
    }
    session.out.record(values)
    if done.failed:
        raise DamagedError(
            f"{len(done.failed)} objects could not be given out", "Run `hounsfield study verify` on the study"
        )


def named(row: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, object]:
    """A row of the index with the names of our output, counts as numbers."""
    values: dict[str, object] = {}
    for keyword, name in columns.items():
        text = row.get(keyword, "")
        values[name] = int(text) if name in _NUMBERS and text.isdecimal() else text
    return values


def _study(archive: Archive, uid: str) -> dict[str, object]:
    one: dict[str, Criterion] = {"StudyInstanceUID": Single(uid)}
    with archive.database.read() as tx:
        found = list(tx.index.search(Query(Level.STUDY, one, frozenset(COLUMNS))))
        if not found:
            raise NotFoundError(f"No study {uid} is kept", "See `hounsfield study list`")
        wanted = frozenset(SERIES_COLUMNS)
        series = [named(row, SERIES_COLUMNS) for row in tx.index.search(Query(Level.SERIES, one, wanted))]
        places = _places(tx.index.instances(study=uid))
    for row in series:
        row |= places.get(str(row["series"]), {})
    return named(found[0], COLUMNS) | {"series": series}


def _places(instances: Iterator[StoredInstance]) -> dict[str, dict[str, object]]:
    """For each series: how many bytes it has, its transfer syntaxes, and the blobs that hold it."""
    found: dict[str, dict[str, object]] = {}
    for uid, group in itertools.groupby(instances, lambda instance: instance.series_instance_uid):
        kept = list(group)
        found[uid] = {
            "bytes": sum(instance.location.length for instance in kept),
            "transfer_syntaxes": sorted({instance.transfer_syntax_uid for instance in kept}),
            "blobs": sorted({instance.location.key for instance in kept}),
        }
    return found


def _text(value: str) -> Criterion:
    return Wildcard(value) if "*" in value or "?" in value else Single(value)


def _dates(text: str) -> Criterion:
    low, dash, high = text.partition("-")
    parts = [part for part in (low, high) if part]
    if not parts or any(len(part) != 8 or not part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is no date: write 20240131, 20240101-20240131, or 20240101-")
    return Range(low, high) if dash else Single(low)
