"""SQLite: one file in WAL mode, one writer at a time, readers never waiting."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hounsfield.adapters.sql import migrate
from hounsfield.adapters.sql.connection import Connection, SqliteConnection
from hounsfield.adapters.sql.database import LOCK_TIMEOUT, READ, UNSYNCED, SqlDatabase
from hounsfield.domain.errors import (
    ConfigurationError,
    DamagedError,
    DatabaseUnavailableError,
    HounsfieldError,
    StorageFullError,
)
from hounsfield.ports.clock import Clock

#: Pages in the WAL before they are copied into the database file: 32 MiB, so that the pages that every
#: round touches are copied (and synced) seldom.
_CHECKPOINT_PAGES = 8000
_CACHE_KIB = 32 * 1024

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked",
    sqlite3.SQLITE_IOERR: "cannot be read or written (input/output error)",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
}
_LOST = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: BaseException) -> int:
    """Primary result code of SQLite, 0 where the error has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SqliteDatabase(SqlDatabase):
    def __init__(
        self, path: Path, writer: str, clock: Clock | None = None, lock_timeout: float = LOCK_TIMEOUT
    ) -> None:
        super().__init__(writer, clock)
        self.path = path
        self.lock_timeout = lock_timeout

    def raw(self) -> sqlite3.Connection:
        """A connection without our settings but the lock's timeout and foreign keys."""
        try:
            raw = sqlite3.connect(
                self.path,
                timeout=self.lock_timeout,
                isolation_level=None,
                check_same_thread=False,  # one thread uses it, but `close` may be another's
                cached_statements=512,
            )
            raw.execute("PRAGMA foreign_keys = ON")
            raw.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.Error as error:
            meaning = self.explain(error)
            if meaning is not None:
                raise meaning from error
            raise
        return raw

    def connect(self, use: str) -> Connection:
        raw = self.raw()
        if use == READ:
            raw.execute("PRAGMA query_only = ON")
        else:
            raw.execute("PRAGMA synchronous = " + ("NORMAL" if use == UNSYNCED else "FULL"))
            raw.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}").fetchone()
            raw.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        raw.execute("PRAGMA temp_store = MEMORY")
        return SqliteConnection(raw)

    def begin(self, connection: Connection, use: str) -> None:
        connection.execute("BEGIN" if use == READ else "BEGIN IMMEDIATE")

    def in_transaction(self, connection: Connection) -> bool:
        assert isinstance(connection, SqliteConnection)
        return connection.raw.in_transaction

    def is_lost(self, connection: Connection, error: BaseException) -> bool:
        return _code(error) in _LOST

    def explain(self, error: BaseException) -> HounsfieldError | None:
        if not isinstance(error, sqlite3.Error):
            return None
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            return StorageFullError(f"No room for the database {self.path}", "Make room on its disk")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return DamagedError(f"The database {self.path} is damaged ({error})", "Restore it from a backup")
        if code in _UNAVAILABLE:
            return DatabaseUnavailableError(
                f"The database {self.path} {_UNAVAILABLE[code]}", "Nothing was changed; try again"
            )
        if "no such table" in str(error):
            return ConfigurationError(f"The database {self.path} has no tables yet", "Migrate it first")
        return None

    def migrate(self) -> None:
        raw = self.raw()
        try:
            found = migrate.revision_of(SqliteConnection(raw))
        finally:
            raw.close()
        if found != migrate.REVISION:
            migrate.upgrade("sqlite://", self.raw, str(self.path))

    def describe(self) -> dict[str, str]:
        raw = self.raw()
        try:
            return {
                "kind": "SQLite",
                "version": sqlite3.sqlite_version,
                "revision": migrate.revision_of(SqliteConnection(raw)),
                "address": str(self.path),
            }
        finally:
            raw.close()
