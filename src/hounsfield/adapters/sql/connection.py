"""One connection of either database behind the same few calls; all statements of this room go through it.

Statements are written once, in the SQL that SQLite 3.35+ and PostgreSQL share, with `?` for each parameter
(never a literal question mark in a statement; a literal percent sign is escaped for PostgreSQL here).
`offset` is a reserved word: write it in double quotes. Where the two differ, ask `connection.dialect`,
which is "sqlite" or "postgresql".

    connection.execute(sql, parameters) -> cursor: iterable of tuples, fetchone(), fetchall(), rowcount
    connection.executemany(sql, rows)   -> cursor
    connection.stream(sql, parameters)  -> iterator of tuples that never holds the whole result in memory
    connection.marks(n)                 -> "?,?,?" for an IN list; keep lists under MAX_PARAMETERS long
    connection.aside()                  -> a connection that commits each statement at once, for rows that all
                                           transactions share and none takes back (SQLite: the same one)

Errors of the driver pass through; `database.py` turns them into those of `domain.errors`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import psycopg

SQLITE = "sqlite"
POSTGRESQL = "postgresql"

#: Most parameters in one statement: IN lists longer than this are asked for in parts.
MAX_PARAMETERS = 500

Row = tuple[Any, ...]


class Cursor(Protocol):
    """What both drivers' cursors have in common."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """See the top of this file."""

    @property
    def dialect(self) -> str: ...
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor: ...
    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor: ...
    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]: ...
    def marks(self, count: int) -> str: ...
    def aside(self) -> Connection: ...
    def close(self) -> None: ...


def marks(count: int) -> str:
    return ",".join("?" * count)


class SqliteConnection:
    """The driver's own methods, without a layer between: this is the hot path."""

    dialect = SQLITE

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.execute = raw.execute
        self.executemany = raw.executemany
        self.close = raw.close

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        return self.raw.execute(sql, parameters)

    def marks(self, count: int) -> str:
        return marks(count)

    def aside(self) -> Connection:
        return self


_names = itertools.count(1)
_translated: dict[str, bytes] = {}


def _translate(sql: str) -> bytes:
    known = _translated.get(sql)
    if known is None:
        if len(_translated) > 4096:  # statements made of IN lists of every length
            _translated.clear()
        known = _translated[sql] = sql.replace("%", "%%").replace("?", "%s").encode()
    return known


class PostgresConnection:
    dialect = POSTGRESQL

    def __init__(
        self, raw: psycopg.Connection[Row], connect: Callable[[], psycopg.Connection[Row]] | None = None
    ) -> None:
        """`connect` makes the connection for `aside`."""
        self.raw = raw
        self._connect = connect
        self._aside: PostgresConnection | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        return self.raw.execute(_translate(sql), parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> Cursor:
        cursor = self.raw.cursor()
        cursor.executemany(_translate(sql), rows)
        return cursor

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[Row]:
        with self.raw.cursor(name=f"stream_{next(_names)}") as cursor:
            cursor.itersize = 1000
            cursor.execute(_translate(sql), parameters)
            yield from cursor

    def marks(self, count: int) -> str:
        return marks(count)

    def aside(self) -> Connection:
        if self._aside is None or self._aside.raw.closed:
            assert self._connect is not None, "this connection is not for writing"
            self._aside = PostgresConnection(self._connect())
            # Synced with whatever is synced after it.
            self._aside.execute("SET synchronous_commit = off")
        return self._aside

    def close(self) -> None:
        self.raw.close()
        if self._aside is not None:
            self._aside.close()
