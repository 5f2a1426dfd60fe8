"""How fast the index answers C-FIND over a large archive, on SQLite and on PostgreSQL.

    python -m bench.million --database .bench/million.db
    python -m bench.million --database embedded:.bench/million-pg
    python -m bench.find .bench/million.db embedded:.bench/million-pg

The clock runs from the C-FIND-RQ to its final response, over one association. Keys are drawn anew for each
run from what is in the archive. The databases are brought to this release's schema.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from bench import pdus
from bench.million import DAYS, FIRST_DAY, accession, open_bench_database, patient_id, study_uid, url_of
from bench.peers import HOST, ROOT, WORK, free_port
from bench.tables import report, table
from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.attributes import ATTRIBUTES
from hounsfield.services.find import LEVEL

#: What a workstation asks to have returned.
RETURNED = (
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


def day(random: Random, span: int) -> str:
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
        "StudyDate": day(random, 1),
        "ModalitiesInStudy": random.choice(("CT", "MR", "US", "MG")),
    },
    "a week, one modality": lambda random, archive: {
        "StudyDate": day(random, 7),
        "ModalitiesInStudy": random.choice(("PT", "NM", "XA")),
    },
    "name prefix* of a month": lambda random, archive: {
        "StudyDate": day(random, 30),
        "PatientName": _name(random, archive),
    },
}


@contextmanager
def dicom_role(address: str) -> Iterator[int]:
    """`hounsfield dicom` over a database; its port. The database is brought to this release's schema."""
    WORK.mkdir(exist_ok=True)
    port = free_port()
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "HOUNSFIELD_DATA": str(Path(folder, "data")),
            "HOUNSFIELD_DATABASE": address,
            "HOUNSFIELD_DICOM_PORT": str(port),
        }
        command = [sys.executable, "-m", "hounsfield.main", "dicom", "--name", "bench"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_until_up(process, port, Path(folder, "log"))
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((HOST, port), 5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the dicom role did not come up:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def ask(association: pdus.Association, keys: Keys) -> int:
    """One C-FIND of studies; how many matches it had."""
    found = dict.fromkeys(RETURNED, "") | keys
    identifier = [(0x00080005, "CS", "ISO_IR 192"), (LEVEL, "CS", "STUDY")]
    identifier += [(ATTRIBUTES[keyword].tag, ATTRIBUTES[keyword].vr, text) for keyword, text in found.items()]
    request = pdus.query_request(pdus.C_FIND_RQ, 1, pdus.STUDY_ROOT_FIND)
    association.send(1, request, pdus.identifier(sorted(identifier), explicit=True))
    matches = 0
    while (status := int.from_bytes(association.read_command()[0x0900], "little")) in pdus.PENDING:
        matches += 1
    if status:
        raise pdus.PeerError(f"C-FIND was answered {status:04X}")
    return matches


def look(database: SqlDatabase) -> Archive:
    with database.read() as tx:
        counts = tx.index.counts()
        if counts["studies"] < DAYS:
            raise SystemExit(f"{counts['studies']} studies are not enough: fill it with bench.million first")
        connection = tx.connection
        step = max(1, counts["patients"] // 500)
        rows = connection.execute("SELECT name FROM patient WHERE id % ? = 0", (step,)).fetchall()
    return Archive(counts["patients"], counts["studies"], [row[0] for row in rows if "=" not in row[0]])


def measure(association: pdus.Association, archive: Archive, name: str, runs: int) -> Measured:
    random = Random(name)
    times, rows = [], 0
    for _ in range(runs):
        keys = QUERIES[name](random, archive)
        begun = time.perf_counter()
        rows += ask(association, keys)
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    return Measured(name, rows / runs, times[len(times) // 2], times[int(len(times) * 0.99)], times[-1])


def run(address: str, runs: int) -> tuple[str, bool]:
    """The table of one database, and whether the goal is met."""
    url = url_of(address)
    database = open_bench_database(url)
    database.migrate()
    archive, kind = look(database), database.describe()["kind"]
    database.close()
    rows: list[list[object]] = []
    met = True
    with dicom_role(url) as port:
        association = pdus.Association(
            (HOST, port), "HOUNSFIELD", (pdus.Context(1, pdus.STUDY_ROOT_FIND, (pdus.EXPLICIT_LE,)),)
        )
        for name in QUERIES:
            found = measure(association, archive, name, runs)
            met = met and found.p50 < _TARGET[0] and found.p99 < _TARGET[1]
            rows.append([name, *(f"{x:.2f}" for x in (found.rows, found.p50, found.p99, found.longest))])
            print(kind, *rows[-1], flush=True)
        association.release()
    heads = ["query", "matches", "p50 ms", "p99 ms", "longest ms"]
    text = f"{kind}, {archive.studies} studies of {archive.patients} patients\n\n{table(heads, rows)}"
    return text, met


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("database", nargs="+", help="as for bench.million")
    parser.add_argument("--runs", type=int, default=300, help="of each query")
    given = parser.parse_args()
    results = [run(address, given.runs) for address in given.database]
    met = all(each for _, each in results)
    goal = f"p50 < {_TARGET[0]:.0f} ms and p99 < {_TARGET[1]:.0f} ms: {'met' if met else 'missed'}"
    report("C-FIND over a large archive", "\n\n".join([*(text for text, _ in results), goal]))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
