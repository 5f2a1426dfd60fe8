"""What a `Database` remembers of rows it has seen, so that a store round asks only for what is new.

Used by one writing transaction at a time (`database.py` holds a lock for it). Forgotten as a whole when a
transaction rolls back or a connection is lost; rows that another process may remove or change (series,
study, blob) are checked again by the row count of the UPDATE that uses them.
"""

from __future__ import annotations

from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.text import clean_key

#: Subjects of an event, each a column of the ledger; in the order in which canonical JSON sorts them.
SUBJECT_KINDS = ("accession", "association", "device", "patient", "series", "study")

_LIMIT = 8192


class StaleError(Exception):
    """A row is not as it is remembered: another process changed it. The round is decided again."""


class KnownStudy:
    __slots__ = ("classes", "id", "issuer", "modalities", "patient_id", "patient_row", "sites", "uid")

    def __init__(self, row: tuple[int, str, int, str, str, str, str, str]) -> None:
        self.id, self.uid, self.patient_row, self.patient_id, self.issuer, *sets = row
        self.modalities, self.classes, self.sites = (set(values.split("\\")) for values in sets)


class KnownSeries:
    __slots__ = ("id", "study", "uid")

    def __init__(self, row_id: int, uid: str, study: KnownStudy) -> None:
        self.id = row_id
        self.uid = uid
        self.study = study


class Known:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.studies: dict[str, KnownStudy] = {}
        self.series: dict[str, KnownSeries] = {}
        self.blobs: dict[str, int] = {}
        self.terms: dict[str, int] = {}
        self.subjects: dict[tuple[str, str], int] = {}
        #: Row id of our ledger_writer, number and hash of its last event.
        self.head: tuple[int, int, bytes] | None = None

    def forget_places(self) -> None:
        """Studies and series have changed under us."""
        self.studies.clear()
        self.series.clear()

    def trim(self) -> None:
        """Keep every table bounded: what has grown past the limit begins anew."""
        if len(self.series) > _LIMIT or len(self.studies) > _LIMIT:
            self.series.clear()
            self.studies.clear()
        for table in (self.blobs, self.terms, self.subjects):
            if len(table) > _LIMIT:
                table.clear()

    def term(self, connection: Connection, value: str) -> int:
        """Row id of a term, made where it is new."""
        found = self.terms.get(value)
        if found is None:
            found = self.terms[value] = _intern(connection, "term", ("value",), (clean_key(value),))
        return found

    def subject(self, connection: Connection, kind: str, value: str) -> int:
        """Row id of a subject, made where it is new."""
        key = (kind, value)
        found = self.subjects.get(key)
        if found is None:
            found = self.subjects[key] = _intern(
                connection, "subject", ("kind", "value"), (kind, clean_key(value))
            )
        return found


def _intern(connection: Connection, table: str, columns: tuple[str, ...], values: tuple[str, ...]) -> int:
    # Committed at once: were it done in the transaction, others that meet the same new value would wait for
    # its end, or for each other.
    connection = connection.aside()
    names = ", ".join(columns)
    where = " AND ".join(f"{column} = ?" for column in columns)
    select = f"SELECT id FROM {table} WHERE {where}"
    insert = (
        f"INSERT INTO {table} ({names}) VALUES ({connection.marks(len(columns))})"
        f" ON CONFLICT ({names}) DO NOTHING RETURNING id"
    )
    row = (
        connection.execute(select, values).fetchone()
        or connection.execute(insert, values).fetchone()
        or connection.execute(select, values).fetchone()  # another transaction was faster
    )
    return int(row[0])
