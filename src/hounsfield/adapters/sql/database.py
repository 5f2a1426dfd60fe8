"""Connections and transactions of `ports.database` over SQLite or PostgreSQL.

Each thread has a connection of its own for each way of use (reading, writing synced, writing unsynced).
One writing transaction of a `Database` runs at a time: the numbers of its ledger writer then become
visible in order, and the threads of a process do not poll SQLite's lock against each other.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from hounsfield.adapters.sql.accounts import SqlAccounts, SqlSessions, SqlSignIns, SqlTokens
from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.index import SqlIndex
from hounsfield.adapters.sql.jobs import SqlJobs
from hounsfield.adapters.sql.known import Known
from hounsfield.adapters.sql.ledger import SqlLedger
from hounsfield.adapters.sql.people import SqlDevices, SqlLiveSettings
from hounsfield.domain.errors import DatabaseUnavailableError, HounsfieldError
from hounsfield.ports.clock import Clock, SystemClock

READ, SYNCED, UNSYNCED = "read", "synced", "unsynced"

#: Seconds that a writer waits for another one before it gives up.
LOCK_TIMEOUT = 30.0

_BARRIER = (
    "INSERT INTO counter (name, value) VALUES (?, 1)"
    " ON CONFLICT (name) DO UPDATE SET value = counter.value + 1"
)


class SqlTransaction:
    """One transaction: what `ports.database.Transaction` names, over one connection."""

    __slots__ = ("clock", "connection", "known", "writer")

    def __init__(self, connection: Connection, known: Known, writer: str, clock: Clock) -> None:
        self.connection = connection
        self.known = known
        self.writer = writer
        self.clock = clock

    @property
    def index(self) -> SqlIndex:
        return SqlIndex(self.connection, self.known)

    @property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self.connection, self.known, self.writer)

    @property
    def jobs(self) -> SqlJobs:
        return SqlJobs(self.connection, self.clock)

    @property
    def devices(self) -> SqlDevices:
        return SqlDevices(self.connection)

    @property
    def accounts(self) -> SqlAccounts:
        return SqlAccounts(self.connection)

    @property
    def sessions(self) -> SqlSessions:
        return SqlSessions(self.connection)

    @property
    def tokens(self) -> SqlTokens:
        return SqlTokens(self.connection)

    @property
    def sign_ins(self) -> SqlSignIns:
        return SqlSignIns(self.connection)

    @property
    def settings(self) -> SqlLiveSettings:
        return SqlLiveSettings(self.connection)


class SqlDatabase(ABC):
    """What both databases share. `writer` names this process's chain of the ledger ("dicom-0", "worker").

    Two processes may use one writer name: they then wait for each other's ledger entries.
    """

    def __init__(self, writer: str, clock: Clock | None = None) -> None:
        self.writer = writer
        self.clock = clock or SystemClock()
        self.known = Known()
        self.lock = threading.Lock()
        #: Whether unsynced commits were made since the last synced one.
        self.unsynced = False
        self._local = threading.local()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._open_lock = threading.Lock()
        self._closed = False

    @abstractmethod
    def connect(self, use: str) -> Connection:
        """A new connection for `use`."""

    @abstractmethod
    def begin(self, connection: Connection, use: str) -> None:
        """Begin a transaction."""

    @abstractmethod
    def explain(self, error: BaseException) -> HounsfieldError | None:
        """The error of `domain.errors` that a driver's error means; None for any other exception."""

    @abstractmethod
    def is_lost(self, connection: Connection, error: BaseException) -> bool:
        """Whether the connection is of no more use after `error`."""

    @abstractmethod
    def in_transaction(self, connection: Connection) -> bool:
        """Whether there is something to roll back."""

    @abstractmethod
    def migrate(self) -> None: ...

    @abstractmethod
    def describe(self) -> dict[str, str]: ...

    def write(self, *, synced: bool = True) -> AbstractContextManager[SqlTransaction]:
        return _Writing(self, SYNCED if synced else UNSYNCED)

    def read(self) -> AbstractContextManager[SqlTransaction]:
        return _Reading(self, READ)

    def close(self) -> None:
        """Close every thread's connections. Transactions that still run fail."""
        self._closed = True
        with self._open_lock:
            still_open = list(self._open)
            self._open.clear()
        for connection in still_open:
            connection.close()

    def connection(self, use: str) -> Connection:
        """This thread's connection for `use`."""
        found: Connection | None = getattr(self._local, use, None)
        if found is None:
            if self._closed:
                raise DatabaseUnavailableError("The database was closed", "Open it again")
            found = self.connect(use)
            setattr(self._local, use, found)
            with self._open_lock:
                self._open.add(found)
        return found

    def drop(self, use: str) -> None:
        """Forget this thread's connection for `use`; the next transaction makes a new one."""
        found: Connection | None = getattr(self._local, use, None)
        if found is not None:
            setattr(self._local, use, None)
            with self._open_lock:
                self._open.discard(found)
            found.close()


class _Reading:
    """One transaction as a context manager; a class, since it is entered once for each store round."""

    __slots__ = ("connection", "database", "use")

    def __init__(self, database: SqlDatabase, use: str) -> None:
        self.database = database
        self.use = use

    def __enter__(self) -> SqlTransaction:
        database = self.database
        if getattr(database._local, "busy_" + self.use, False):
            raise RuntimeError(f"a {self.use} transaction within another one of the same thread")
        try:
            self.connection = self._begin()
        except Exception as error:
            self._failed(error, None)
            raise
        setattr(database._local, "busy_" + self.use, True)
        return SqlTransaction(self.connection, database.known, database.writer, database.clock)

    def _begin(self) -> Connection:
        """A connection with a transaction begun. One that died while it lay idle is replaced, once."""
        database = self.database
        connection = database.connection(self.use)
        try:
            database.begin(connection, self.use)
        except Exception as error:
            if not database.is_lost(connection, error):
                raise
            database.drop(self.use)
            self._forget()
            connection = database.connection(self.use)
            database.begin(connection, self.use)
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        setattr(self.database._local, "busy_" + self.use, False)
        if error is None:
            try:
                self._commit()
            except Exception as failure:
                self._failed(failure, self.connection)
                raise
        else:
            self._failed(error, self.connection)

    def _commit(self) -> None:
        self.connection.execute("COMMIT")

    def _failed(self, error: BaseException, connection: Connection | None) -> None:
        """Roll back and raise what the error means; returns where it is not the database's."""
        database = self.database
        self._forget()
        if connection is not None:
            try:
                if database.in_transaction(connection):
                    connection.execute("ROLLBACK")
            except Exception:
                # The server rolls back what a lost connection left; a new one is made.
                database.drop(self.use)
            else:
                if database.is_lost(connection, error):
                    database.drop(self.use)
        meaning = database.explain(error)
        if meaning is not None:
            raise meaning from error

    def _forget(self) -> None:
        """A reader knows nothing that has to be forgotten."""


class _Writing(_Reading):
    __slots__ = ()

    def __enter__(self) -> SqlTransaction:
        database = self.database
        if getattr(database._local, "busy_" + SYNCED, False) or getattr(
            database._local, "busy_" + UNSYNCED, False
        ):
            raise RuntimeError("a writing transaction within another one of the same thread")
        if not database.lock.acquire(timeout=2 * LOCK_TIMEOUT):
            raise DatabaseUnavailableError(
                "Another thread of this process has been writing to the database for too long",
                "Look for a database that answers slowly",
            )
        try:
            transaction = super().__enter__()
            database.known.trim()
        except BaseException:
            database.lock.release()
            raise
        return transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        database = self.database
        try:
            super().__exit__(kind, error, trace)
            if error is None:
                database.unsynced = self.use == UNSYNCED
        finally:
            database.lock.release()

    def _commit(self) -> None:
        # A transaction that wrote nothing would not be synced, nor what was committed unsynced before it.
        if self.use == SYNCED and self.database.unsynced:
            self.connection.execute(_BARRIER, (f"synced:{self.database.writer}",))
        super()._commit()

    def _forget(self) -> None:
        self.database.known.forget()


def open_database(url: str, writer: str, clock: Clock | None = None) -> SqlDatabase:
    """The database at `url`: "postgresql://...", "sqlite:///<path>", or a path. Connects at first use."""
    if url.startswith(("postgresql://", "postgres://")):
        from hounsfield.adapters.sql.postgresql import PostgresDatabase

        return PostgresDatabase(url, writer, clock)
    from hounsfield.adapters.sql.sqlite import SqliteDatabase

    return SqliteDatabase(Path(url.removeprefix("sqlite:///")), writer, clock)


__all__ = ["LOCK_TIMEOUT", "SqlDatabase", "SqlTransaction", "open_database"]
