"""The second factor: one-time codes by time (RFC 6238: 6 digits, 30 seconds, SHA-1, as all apps know them).

The secret is kept in the database as it is, since every code is computed from it: who can read the database
can make codes. Recovery codes are kept as hashes; each works once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import replace

import pyotp

from hounsfield.domain.errors import ConflictError, NotFoundError, RefusedError
from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account

ISSUER = "Hounsfield"
STEP = 30_000_000  # microseconds
#: Steps before and after the present one whose codes are taken: clocks differ.
WINDOW = 1
RECOVERY_CODES = 10


def enrol(database: Database, clock: Clock, actor: str, name: str) -> tuple[str, str]:
    """Begin: a fresh secret (base32) and its otpauth URI, to show as a QR code. Nothing is asked of the user
    before `confirm`. Raises NotFoundError, RefusedError, ConflictError where there is one already."""
    secret = pyotp.random_base32(32)
    with database.write() as tx:
        account = _get(tx, name)
        if account.totp_secret:
            raise ConflictError(f"{name} has a second factor already", "Take it away first")
        if not account.password_hash:
            raise RefusedError(f"{name} has no password", "Its provider asks for the second factor")
        tx.accounts.save(replace(account, totp_pending=secret))
        _record(tx, clock, actor, name, "begun")
    return secret, pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def confirm(database: Database, clock: Clock, actor: str, name: str, code: str) -> list[str]:
    """Finish with a first code: from now on the user is asked for one. Returns the recovery codes, which are
    shown this once. Raises NotFoundError, RefusedError."""
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    with database.write() as tx:
        account = _get(tx, name)
        if not account.totp_pending:
            raise RefusedError(f"No second factor is being set up for {name}", "Begin anew")
        if not _use_code(tx, name, account.totp_pending, code, clock.now()):
            raise RefusedError(
                "The code is wrong", "Check the time of the device that made it, and try again"
            )
        hashes = tuple(map(_hash, codes))
        tx.accounts.save(replace(account, totp_secret=account.totp_pending, totp_pending="", recovery=hashes))
        _record(tx, clock, actor, name, "set up")
    return codes


def remove(database: Database, clock: Clock, actor: str, name: str) -> None:
    """Take it away, also one that is not confirmed yet. Raises NotFoundError."""
    with database.write() as tx:
        account = _get(tx, name)
        if not account.totp_secret and not account.totp_pending:
            raise NotFoundError(f"{name} has no second factor", "Nothing is to be done")
        tx.accounts.save(replace(account, totp_secret="", totp_pending="", recovery=()))
        _record(tx, clock, actor, name, "taken away")


def use(tx: Transaction, clock: Clock, account: Account, code: str) -> str:
    """Use up a code in a writing transaction: "totp", "recovery", or '' where it is wrong or was used."""
    if _use_code(tx, account.name, account.totp_secret, code, clock.now()):
        return "totp"
    if tx.accounts.use_recovery(account.name, _hash(code)):
        _record(tx, clock, f"user:{account.name}", account.name, "recovery code used")
        return "recovery"
    return ""


def _use_code(tx: Transaction, name: str, secret: str, code: str, now: int) -> bool:
    given = "".join(code.split()).encode("utf-8", "surrogatepass")
    totp, step = pyotp.TOTP(secret), now // STEP
    fitting = [
        near
        for near in range(step - WINDOW, step + WINDOW + 1)
        if hmac.compare_digest(totp.generate_otp(near).encode(), given)
    ]
    return any(tx.accounts.use_totp_step(name, near) for near in fitting)


def _recovery_code() -> str:
    """80 bits as four groups of four letters and digits."""
    text = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, 16, 4))


def _hash(code: str) -> str:
    plain = "".join(c for c in code.lower() if c.isalnum())
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def _get(tx: Transaction, name: str) -> Account:
    account = tx.accounts.get(name)
    if account is None:
        raise NotFoundError(f"There is no user {name}", "See `hounsfield user list`")
    return account


def _record(tx: Transaction, clock: Clock, actor: str, name: str, change: str) -> None:
    payload = {"user": name, "change": change}
    tx.ledger.append([Event("totp.changed", clock.now(), actor=actor, payload=payload)])
