"""Migrations, and what a database says of itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, inspect, text

from hounsfield.adapters.sql import migrate
from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.adapters.sql.schema import metadata
from hounsfield.domain.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
)

Opener = Callable[[str], SqlDatabase]


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
