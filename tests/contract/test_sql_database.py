"""`ports.database` on both databases: transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.errors import (
    HounsfieldError,
)
from support_sql import arrival, rows, stored

Opener = Callable[[str], SqlDatabase]


def test_all_of_a_transaction_or_nothing(database: SqlDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        tx.index.enter([arrival("1.1")])
        tx.ledger.append([stored("1.1")])
        tx.settings.set("a", 1)
        raise ZeroDivisionError
    # Subjects and terms may stay: shared names of things, which nothing then refers to.
    for table in ("instance", "ledger", "setting", "blob"):
        assert rows(database, f"SELECT count(*) FROM {table}") == [(0,)], table
    with database.write() as tx:
        tx.settings.set("a", 1)
    assert rows(database, "SELECT count(*) FROM setting") == [(1,)]


def test_a_reader_sees_one_moment_and_holds_nobody_up(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.index.enter([arrival("1.1")])
    with database.read() as reader:
        before = reader.index.counts()
        with database.write() as tx:
            tx.index.enter([arrival("1.2")])
        assert reader.index.counts() == before
        assert reader.index.locate("1.2") is None
    with database.read() as reader:
        assert reader.index.locate("1.2") is not None


def test_a_reader_streams_while_a_writer_writes(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.index.enter([arrival(f"1.{n}", number=str(n)) for n in range(3000)])
    with database.read() as reader:
        found = reader.index.instances()
        assert next(found).sop_instance_uid == "1.0"
        with database.write(synced=False) as tx:
            tx.index.enter([arrival("2.1"), arrival("2.2", study="2", series="2.1")])
        assert sum(1 for _ in found) == 2999


def test_reading_does_not_write(database: SqlDatabase) -> None:
    with pytest.raises((HounsfieldError, sqlite3.OperationalError)), database.read() as tx:
        tx.connection.execute("INSERT INTO setting (key, value) VALUES ('a', '1')")
    with database.read() as tx:
        assert tx.settings.all() == {}


def test_one_within_another_is_a_mistake(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.settings.set("a", 1)
        with pytest.raises(RuntimeError, match="within another"), database.write(synced=False):
            pass
    with database.read(), pytest.raises(RuntimeError, match="within another"), database.read():
        pass
    with database.read() as tx:
        assert tx.settings.all() == {"a": 1}


def test_a_synced_commit_also_syncs_the_unsynced_before_it(database: SqlDatabase) -> None:
    """Even one that writes nothing leaves a mark, since a commit without one would not reach the disk."""

    def marks() -> list[tuple[object, ...]]:
        return rows(database, "SELECT name, value FROM counter")

    with database.write(synced=False) as tx:
        tx.settings.set("a", 1)
    assert marks() == []
    with database.write():
        pass
    assert marks() == [("synced:test", 1)]
    with database.write():
        pass
    assert marks() == [("synced:test", 1)]


def test_the_ways_of_committing(database: SqlDatabase) -> None:
    """Store rounds alone go without the database's own sync."""
    sqlite = database.describe()["kind"] == "SQLite"
    asked = "PRAGMA synchronous" if sqlite else "SHOW synchronous_commit"
    for synced, expected in ((True, 2 if sqlite else "on"), (False, 1 if sqlite else "off")):
        with database.write(synced=synced) as tx:
            assert tx.connection.execute(asked).fetchone()[0] == expected
    with database.write() as tx:  # the next synced one is synced again
        assert tx.connection.execute(asked).fetchone()[0] == (2 if sqlite else "on")
