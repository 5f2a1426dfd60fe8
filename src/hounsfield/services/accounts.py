"""User accounts: passwords as argon2id, the first administrator, every change in the ledger."""

from __future__ import annotations

import functools
import re
import secrets
from dataclasses import replace

import argon2

from hounsfield.domain.errors import ConflictError, NotFoundError, RefusedError
from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account

ADMIN = "admin"
#: What each role may do; the first holds all rights.
ROLES = {"admin": "everything", "user": "look at studies and at the ledger"}
SHORTEST_PASSWORD = 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
#: RFC 9106 section 4, second recommended option (64 MiB), which is also the library's default.
_HASHER = argon2.PasswordHasher()


def hash_password(password: str) -> str:
    """An argon2id hash, salted, with its parameters."""
    return _HASHER.hash(password)


def check_password(account: Account | None, password: str) -> bool:
    """Whether the password is the account's. An account that is not there takes as long as one that is."""
    stored = account.password_hash if account is not None else _nobody()
    try:
        right = _HASHER.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return right and account is not None and not account.disabled


@functools.cache
def _nobody() -> str:
    return hash_password(secrets.token_urlsafe(15))


def first_admin(database: Database, clock: Clock, password: str = "") -> str | None:
    """Make the account `admin` where there is no account yet.

    Returns the random password when `password` is empty and the account was made: show it once, it is kept
    nowhere. None in every other case.
    """
    with database.read() as tx:
        if tx.accounts.all():
            return None
    made = "" if password else secrets.token_urlsafe(15)
    hashed = hash_password(password or made)
    with database.write() as tx:
        if tx.accounts.all():
            return None
        tx.accounts.save(Account(ADMIN, hashed, "admin", clock.now()))
        _record(tx, clock, "system", ADMIN, "added at first start")
    return made or None


def add(database: Database, clock: Clock, actor: str, name: str, role: str, password: str) -> Account:
    """Add an account. Raises ConflictError where the name is taken, RefusedError for a bad value."""
    if not _NAME.match(name):
        raise RefusedError(
            f"{name!r} cannot be a user name", "Use up to 64 letters, digits, dots, dashes, underscores or @"
        )
    if role not in ROLES:
        raise RefusedError(f"{role!r} is not a role", f"Roles are {', '.join(ROLES)}")
    _check_length(password)
    account = Account(name, hash_password(password), role, clock.now())
    with database.write() as tx:
        if tx.accounts.get(name) is not None:
            raise ConflictError(
                f"There is a user {name} already", f"Choose another name, or: user password {name}"
            )
        tx.accounts.save(account)
        _record(tx, clock, actor, name, f"added as {role}")
    return account


def set_password(database: Database, clock: Clock, actor: str, name: str, password: str) -> None:
    """Raises NotFoundError, RefusedError."""
    _check_length(password)
    hashed = hash_password(password)
    with database.write() as tx:
        tx.accounts.save(replace(_get(tx, name), password_hash=hashed))
        _record(tx, clock, actor, name, "password set")


def remove(database: Database, clock: Clock, actor: str, name: str) -> None:
    """Raises NotFoundError; RefusedError for the last administrator."""
    with database.write() as tx:
        account = _get(tx, name)
        others = [a for a in tx.accounts.all() if a.name != name and a.role == "admin" and not a.disabled]
        if account.role == "admin" and not others:
            raise RefusedError(f"{name} is the last administrator", "Add another administrator first")
        tx.accounts.remove(name)
        _record(tx, clock, actor, name, "removed")


def _check_length(password: str) -> None:
    if len(password) < SHORTEST_PASSWORD:
        raise RefusedError(
            "The password is too short",
            f"Use {SHORTEST_PASSWORD} characters or more, a few words for instance",
        )


def _get(tx: Transaction, name: str) -> Account:
    account = tx.accounts.get(name)
    if account is None:
        raise NotFoundError(f"There is no user {name}", "See `hounsfield user list`")
    return account


def _record(tx: Transaction, clock: Clock, actor: str, name: str, change: str) -> None:
    tx.ledger.append(
        [Event("user.changed", clock.now(), actor=actor, payload={"user": name, "change": change})]
    )
