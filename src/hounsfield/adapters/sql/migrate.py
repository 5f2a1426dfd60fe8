"""Bringing a database to the schema of this version (Alembic, revisions in `migrations/versions`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hounsfield.adapters.sql.connection import POSTGRESQL, Connection
from hounsfield.domain.errors import ConfigurationError

#: The newest revision; a test holds it against the folder of revisions.
REVISION = "0002"

FOLDER = Path(__file__).parent / "migrations"
#: Key of PostgreSQL's advisory lock under which one process migrates.
_LOCK = 0x486F756E  # "Houn"


def revision_of(connection: Connection) -> str:
    """Revision of a database, '' for an empty one."""
    there = (
        "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'alembic_version'"
        if connection.dialect == POSTGRESQL
        else "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
    )
    if not connection.execute(there).fetchone()[0]:
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else ""


def upgrade(dialect: str, connect: Callable[[], Any], address: str) -> None:
    """Upgrade the database that `connect` opens, in one transaction that a second process waits for.

    Alembic and SQLAlchemy are imported here, since most starts have nothing to migrate.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import NullPool, create_engine

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    ours = {found.revision for found in ScriptDirectory.from_config(config).walk_revisions()}
    engine = create_engine(dialect, creator=connect, poolclass=NullPool)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in ours:
            raise ConfigurationError(
                f"The database {address} is of a newer version of Hounsfield (revision {found})",
                "Start that version, or restore a backup made before the upgrade",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
