"""How fast the index answers C-FIND over a large archive, on SQLite and on PostgreSQL.

    python -m bench.million --database .bench/million.db
    python -m bench.million --database embedded:.bench/million-pg
    python -m bench.find .bench/million.db embedded:.bench/million-pg

A query here is all but the network: identifier read, statement run, every match an encoded identifier. Keys
are drawn anew for each run from what is in the archive.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random

from bench.million import DAYS, FIRST_DAY, accession, open_bench_database, patient_id, study_uid
from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.attributes import ATTRIBUTES
from hounsfield.services.find import LEVEL, FindRequest, understand
from hounsfield.wire.dicomfile.elements import Element, encode

#: What a workstation asks to have returned.
_RETURNED = (
    *(
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
    ),
    *("StudyDescription", "ModalitiesInStudy", "ReferringPhysicianName", "NumberOfStudyRelatedSeries"),
    "NumberOfStudyRelatedInstances",
)
_TARGET = (10.0, 100.0)  # milliseconds: p50, p99


@dataclass(frozen=True, slots=True)
class Archive:
    """What keys can be drawn from."""

    patients: int
    studies: int
    names: Sequence[str]  # some names that are in it, family^given


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    rows: float
    p50: float
    p99: float
    longest: float


Keys = dict[str, str]


def _day(random: Random, span: int) -> str:
    first = FIRST_DAY + timedelta(days=random.randrange(DAYS - span))
    return f"{first:%Y%m%d}-{first + timedelta(days=span - 1):%Y%m%d}"


def _name(random: Random, archive: Archive) -> str:
    family, _, given = random.choice(archive.names).partition("^")
    return f"{family}^{given[:2]}*"


#: The queries that are asked for, and what makes the keys of one.
QUERIES: dict[str, Callable[[Random, Archive], Keys]] = {
    "patient id": lambda random, archive: {
        "PatientID": patient_id(random.randrange(1, archive.patients + 1))
    },
    "accession": lambda random, archive: {
        "AccessionNumber": accession(random.randrange(1, archive.studies + 1))
    },
    "study uid": lambda random, archive: {
        "StudyInstanceUID": study_uid(random.randrange(1, archive.studies + 1))
    },
    "name prefix*": lambda random, archive: {"PatientName": _name(random, archive)},
    "a day, one modality": lambda random, archive: {
        "StudyDate": _day(random, 1),
        "ModalitiesInStudy": random.choice(("CT", "MR", "US", "MG")),
    },
    "a week, one modality": lambda random, archive: {
        "StudyDate": _day(random, 7),
        "ModalitiesInStudy": random.choice(("PT", "NM", "XA")),
    },
    "name prefix* of a month": lambda random, archive: {
        "StudyDate": _day(random, 30),
        "PatientName": _name(random, archive),
    },
}


def ask(database: SqlDatabase, keys: Keys) -> int:
    """One C-FIND of studies; how many matches it had."""
    identifier = {ATTRIBUTES[keyword].tag: Element(ATTRIBUTES[keyword].vr, b"") for keyword in _RETURNED}
    for keyword, value in keys.items():
        identifier[ATTRIBUTES[keyword].tag] = Element(ATTRIBUTES[keyword].vr, value.encode())
    identifier[LEVEL] = Element("CS", b"STUDY")
    request = FindRequest("study", identifier, character_set="ISO_IR 192")
    with database.read() as tx:
        return sum(
            1 for items in understand(request, "HOUNSFIELD").answers(tx.index) if encode(items, explicit=True)
        )


def look(database: SqlDatabase) -> Archive:
    with database.read() as tx:
        counts = tx.index.counts()
        connection = tx.connection
        step = max(1, counts["patients"] // 500)
        rows = connection.execute("SELECT name FROM patient WHERE id % ? = 0", (step,)).fetchall()
    return Archive(counts["patients"], counts["studies"], [row[0] for row in rows if "=" not in row[0]])


def measure(database: SqlDatabase, archive: Archive, name: str, runs: int) -> Measured:
    random = Random(name)
    times, rows = [], 0
    for _ in range(runs):
        keys = QUERIES[name](random, archive)
        begun = time.perf_counter()
        rows += ask(database, keys)
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    return Measured(name, rows / runs, times[len(times) // 2], times[int(len(times) * 0.99)], times[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("database", nargs="+", help="as for bench.million")
    parser.add_argument("--runs", type=int, default=300, help="of each query")
    given = parser.parse_args()
    met = True
    for address in given.database:
        database = open_bench_database(address)
        archive = look(database)
        print(f"\n{database.describe()['kind']}, {archive.studies} studies of {archive.patients} patients\n")
        print("| query | matches | p50 ms | p99 ms | longest ms |\n|---|---:|---:|---:|---:|")
        for name in QUERIES:
            found = measure(database, archive, name, given.runs)
            met = met and found.p50 < _TARGET[0] and found.p99 < _TARGET[1]
            cells = f"{found.rows:.1f} | {found.p50:.2f} | {found.p99:.2f} | {found.longest:.2f}"
            print(f"| {name} | {cells} |", flush=True)
        database.close()
    print(f"\np50 < {_TARGET[0]:.0f} ms and p99 < {_TARGET[1]:.0f} ms: {'met' if met else 'missed'}")
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
