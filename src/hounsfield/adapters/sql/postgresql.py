"""PostgreSQL through psycopg 3."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from hounsfield.adapters.sql import migrate
from hounsfield.adapters.sql.connection import Connection, PostgresConnection, Row
from hounsfield.adapters.sql.database import LOCK_TIMEOUT, READ, UNSYNCED, SqlDatabase
from hounsfield.domain.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    HounsfieldError,
    StorageFullError,
)
from hounsfield.ports.clock import Clock

_CONNECT_SECONDS = 10


class PostgresDatabase(SqlDatabase):
    def __init__(self, url: str, writer: str, clock: Clock | None = None) -> None:
        super().__init__(writer, clock)
        try:
            self._parameters: dict[str, Any] = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ConfigurationError(
                "The database URL is not one of PostgreSQL", "Write postgresql://user@host/database"
            ) from error
        self._parameters.setdefault("connect_timeout", _CONNECT_SECONDS)
        self._parameters.setdefault("application_name", f"hounsfield {writer}")
        self._parameters["options"] = (
            f"{self._parameters.get('options', '')} -c lock_timeout={int(LOCK_TIMEOUT * 1000)}"
            " -c client_encoding=UTF8 -c standard_conforming_strings=on"
        ).strip()

    @property
    def address(self) -> str:
        """Where it is, without the password."""
        given = self._parameters
        host = given.get("host") or given.get("hostaddr") or "localhost"
        return f"{host}:{given.get('port', 5432)}/{given.get('dbname') or given.get('user', '')}"

    def raw(self) -> psycopg.Connection[Row]:
        try:
            return psycopg.connect(**self._parameters, autocommit=True)
        except psycopg.Error as error:
            meaning = self.explain(error)
            if meaning is not None:
                raise meaning from error
            raise

    def connect(self, use: str) -> Connection:
        if use != READ:
            # The server may have restarted and lost unsynced commits: what is remembered is asked again.
            self.known.forget()
        return PostgresConnection(self.raw(), self.raw)

    def begin(self, connection: Connection, use: str) -> None:
        assert isinstance(connection, PostgresConnection)
        if use == READ:
            connection.raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", prepare=False)
        elif use == UNSYNCED:
            connection.raw.execute("BEGIN; SET LOCAL synchronous_commit = off", prepare=False)
        else:
            connection.raw.execute("BEGIN", prepare=False)

    def in_transaction(self, connection: Connection) -> bool:
        assert isinstance(connection, PostgresConnection)
        return connection.raw.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def is_lost(self, connection: Connection, error: BaseException) -> bool:
        assert isinstance(connection, PostgresConnection)
        return connection.raw.closed or connection.raw.broken

    def explain(self, error: BaseException) -> HounsfieldError | None:
        if not isinstance(error, psycopg.Error):
            return None
        if isinstance(error, psycopg.errors.DiskFull):
            return StorageFullError(f"No room for the database at {self.address}", "Make room on its disk")
        if isinstance(error, psycopg.errors.UndefinedTable):
            return ConfigurationError(f"The database at {self.address} has no tables yet", "Migrate it first")
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            return DatabaseUnavailableError(
                f"The database at {self.address} is read-only", "Point the address at the primary server"
            )
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            why = " ".join(str(error).split())
            return DatabaseUnavailableError(
                f"The database at {self.address} does not serve us: {why}", "Nothing was changed; try again"
            )
        return None

    def migrate(self) -> None:
        with self.raw() as raw:
            found = migrate.revision_of(PostgresConnection(raw))
        if found != migrate.REVISION:
            migrate.upgrade("postgresql+psycopg://", self.raw, self.address)

    def describe(self) -> dict[str, str]:
        with self.raw() as raw:
            return {
                "kind": "PostgreSQL",
                "version": str(raw.info.server_version // 10000) + "." + str(raw.info.server_version % 10000),
                "revision": migrate.revision_of(PostgresConnection(raw)),
                "address": self.address,
            }
