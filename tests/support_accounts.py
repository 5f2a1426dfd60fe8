"""Accounts for tests: a clock that is set, passwords that are hashed quickly, what the ledger tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import argon2
import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.ports.database import Database
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services import accounts, passwords
from hounsfield.services.sign_in import SignIn
from hounsfield.settings import Settings

START = 1_700_000_000_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
#: Parameters with which a test does not wait for argon2.
QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class SetClock:
    """Stands still until it is moved."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / SECOND

    def move(self, microseconds: int) -> None:
        self.at += microseconds


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(passwords, "_HASHER", QUICK)
    passwords._nobody.cache_clear()
    yield
    passwords._nobody.cache_clear()


def told(database: Database, kind: str) -> list[dict[str, object]]:
    """Payloads of the events of a type, oldest first."""
    with database.read() as tx:
        found = tx.ledger.read(LedgerFilter(types=(kind,)))
        return [dict(one.event.payload) for one in found]


HOME, AWAY = "10.0.0.1", "192.0.2.7"
WORD = "correct horse"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def sign_in(database: SqlDatabase, clock: SetClock, quick_passwords: None) -> SignIn:
    """With one user, eva, a radiologist."""
    accounts.add(database, clock, "cli:x", "eva", "radiologist", WORD)
    return SignIn(database, clock, Settings())


@pytest.fixture
def elsewhere(sign_in: SignIn, clock: SetClock, open_another: Callable[[str], SqlDatabase]) -> SignIn:
    """The same in another process."""
    return SignIn(open_another("other"), clock, Settings())
