"""Passwords as argon2id hashes."""

from __future__ import annotations

import functools
import secrets

import argon2

from hounsfield.domain.errors import RefusedError
from hounsfield.ports.people import Account

SHORTEST, LONGEST = 8, 1024
#: RFC 9106 section 4, second recommended option (64 MiB), which is also the library's default.
_HASHER = argon2.PasswordHasher()


def hash_password(password: str) -> str:
    """An argon2id hash, salted, with its parameters."""
    return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def check_password(account: Account | None, password: str) -> bool:
    """Whether the password is the account's. An account that is not there, or has no password, takes as long
    as one that has."""
    stored = account.password_hash if account is not None and account.password_hash else _nobody()
    given = password if len(password) <= LONGEST else ""
    try:
        right = _HASHER.verify(stored, given.encode("utf-8", "surrogatepass"))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return right and account is not None and not account.disabled


def needs_rehash(account: Account) -> bool:
    """Whether its hash was made with other parameters than one that is made now."""
    return _HASHER.check_needs_rehash(account.password_hash)


def check_length(password: str) -> None:
    """Raises RefusedError."""
    if len(password) < SHORTEST:
        raise RefusedError(
            "The password is too short", f"Use {SHORTEST} characters or more, a few words for instance"
        )
    if len(password) > LONGEST:
        raise RefusedError("The password is too long", f"Use {LONGEST} characters or fewer")


@functools.cache
def _nobody() -> str:
    return hash_password(secrets.token_urlsafe(15))
