"""One transaction over index, ledger, jobs and people: what belongs together commits together."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from hounsfield.ports.index import Index
from hounsfield.ports.jobs import Jobs
from hounsfield.ports.ledger import Ledger
from hounsfield.ports.people import Accounts, Devices, LiveSettings, Sessions, SignIns, Tokens


class Transaction(Protocol):
    @property
    def index(self) -> Index: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def jobs(self) -> Jobs: ...
    @property
    def devices(self) -> Devices: ...
    @property
    def accounts(self) -> Accounts: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def sign_ins(self) -> SignIns: ...
    @property
    def settings(self) -> LiveSettings: ...


class Database(Protocol):
    """Thread-safe: each thread has its own connection."""

    def write(self, *, synced: bool = True) -> AbstractContextManager[Transaction]:
        """A writing transaction: commits at the end of the block, rolls back on an exception.

        `synced=False` is for store rounds alone, whose durability is the intake log's: the commit is atomic
        and visible, but may be lost in a power cut, after which replay enters it again. A synced commit also
        makes the unsynced ones of this `Database` before it durable, even if it wrote nothing itself.
        On SQLite it takes the write lock at its beginning (BEGIN IMMEDIATE).
        """
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """A reading transaction: a consistent view, no lock that a writer would wait for."""
        ...

    def migrate(self) -> None:
        """Bring the schema to this version; refuses a database of a newer one."""
        ...

    def describe(self) -> dict[str, str]:
        """Kind, version, schema revision, address without password: for `doctor`."""
        ...

    def close(self) -> None: ...
