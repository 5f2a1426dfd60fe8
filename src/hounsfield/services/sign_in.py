"""Signing in: who is it that asks? Passwords, sessions, tokens, HTTP Basic, OpenID Connect.

`recall_...` answer from memory, in microseconds, and never wait: call them on the event loop. None means "not
known now": ask the method without `recall_` beside the loop, it may read or write the database. What was
revoked, disabled or changed in any process is seen by all within `REFRESH_SECONDS`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from hounsfield.domain import access
from hounsfield.domain.access import Permission, Principal, Role, by_token
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.events import Event
from hounsfield.domain.external import parse_rules
from hounsfield.domain.lockout import DAY, HOUR, MINUTE
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account, WebSession
from hounsfield.services import provider_login, tokens, totp
from hounsfield.services.accounts import role_of
from hounsfield.services.lockout import Attempt, WaitError
from hounsfield.services.passwords import check_password, hash_password, needs_rehash
from hounsfield.services.principals import REFRESH_SECONDS, Principals, Remembered
from hounsfield.settings import Settings

#: Passwords that are checked at one time: each takes its 64 MiB and its processor on purpose.
AT_ONCE = max(2, os.cpu_count() or 1)
#: Seconds that an attempt waits for its turn.
TURN_SECONDS = 10.0
#: For so long a password that was right is not asked of argon2 again (HTTP Basic).
BASIC_FOR = MINUTE
_LONGEST_NAME = 64

WRONG = ("The name, the password or the code is wrong", "Try again")


class CodeNeededError(RefusedError):
    """The password is right; a one-time code is needed as well (ask again with `otp`)."""


@dataclass(frozen=True, slots=True)
class _Answer:
    account: Account | None
    reason: str  # '' where it is who it claims to be
    factor: str = ""


class SignIn:
    """Thread-safe. One for a process."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self.database = database
        self.clock = clock
        self.idle = settings.session_idle_minutes * MINUTE
        self.longest = settings.session_hours * HOUR
        self.rules = parse_rules(settings.oidc_roles)
        self.principals = Principals(database, clock)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._basic_key = secrets.token_bytes(32)
        self._keys: dict[str, bytes] = {}
        self._master = b""

    # Blocking: beside the loop

    def password(self, name: str, password: str, address: str, otp: str = "") -> Principal:
        """Principal with how="password". Raises WaitError, CodeNeededError, RefusedError (the same words for
        a wrong name and a wrong password)."""
        return _principal(self._by_password("password", name, password, address, otp), "password")

    def confirm(self, name: str, password: str, address: str) -> None:
        """Ask who is signed in for the password once more, before what matters. Raises as `password`, and
        does not ask for a code."""
        try:
            self._by_password("password", name, password, address, "")
        except CodeNeededError:
            pass  # the password is right, and that was the question

    def basic(self, name: str, password: str, address: str) -> Principal:
        """how="basic". As `password`, its result remembered for a minute. Refuses accounts with a second
        factor, too: they use a token. Raises WaitError, RefusedError."""
        if (known := self.known_basic(name, password)) is not None:
            return known
        digest = self._basic_digest(name, password)
        account = self._by_password("basic", name, password, address, "")

        def find(tx: Transaction, now: int) -> Remembered | None:
            # what has changed since the password was looked at is not remembered as right
            if tx.accounts.get(account.name) != account:
                return None
            return Remembered(_principal(account, "basic"), now + BASIC_FOR, 0, now)

        return self.principals.look_up("basic", digest, find) or _principal(account, "basic")

    def known_basic(self, name: str, password: str) -> Principal | None:
        """The result of `basic` where it is remembered: it may wait for the database, but not for argon2."""
        self.principals.refresh()
        return self.recall_basic(name, password)

    def external(
        self, issuer: str, subject: str, claims: Mapping[str, object], address: str = ""
    ) -> Principal:
        """The account of an identity that an OpenID Connect provider vouched for (signature, issuer, audience
        and nonce checked by the caller). Made at the first sign-in where a rule of `oidc_roles` gives a role;
        role and sites follow the claims at each sign-in. how="external". Raises RefusedError, and it is in
        the ledger."""
        account = provider_login.account_of(
            self.database, self.clock, self.rules, issuer, subject, claims, address
        )
        self.principals.forget()
        return _principal(account, "external")

    def session_begin(self, principal: Principal, address: str) -> str:
        """A new session for who has just signed in: the secret for the cookie. Raises RefusedError where the
        account was disabled or removed meanwhile."""
        secret = secrets.token_urlsafe(32)
        now = self.clock.now()
        with self.database.write() as tx:
            account = tx.accounts.get(principal.name)
            if account is None or account.disabled:
                raise RefusedError(*WRONG)
            tx.sessions.sweep(now, now - self.idle)
            tx.sessions.begin(
                WebSession(_session_id(secret), account.name, address, now, now, now + self.longest)
            )
        return secret

    def session(self, secret: str) -> Principal | None:
        session_id = _session_id(secret)

        def find(tx: Transaction, now: int) -> Remembered | None:
            session = tx.sessions.get(session_id)
            if session is None or now >= session.expires_at:
                return None
            seen = max(session.seen_at, self.principals.used_at("session", session_id))
            account = tx.accounts.get(session.account)
            if now - seen > self.idle or account is None or not _acts(account):
                return None
            found = _principal(account, "session", session_id)
            return Remembered(found, session.expires_at, self.idle, now)

        return self.principals.look_up("session", session_id.encode(), find)

    def session_end(self, secret: str) -> None:
        """Sign out."""
        with self.database.write() as tx:
            name = tx.sessions.end(_session_id(secret))
            if name:
                event = Event("login.ended", self.clock.now(), actor=f"user:{name}", payload={"user": name})
                tx.ledger.append([event])
        self.principals.forget()

    def token(self, secret: str) -> Principal | None:
        token_id, rest = tokens.split(secret)
        if not token_id:
            return None

        def find(tx: Transaction, now: int) -> Remembered | None:
            token = tx.tokens.get(token_id)
            if token is None or not tokens.fits(token, rest):
                return None
            if token.expires_at and now >= token.expires_at:
                return None
            account = tx.accounts.get(token.account)
            if account is None or not _acts(account):
                return None
            known = set(Permission)
            permissions = [Permission(one) for one in token.permissions if one in known]
            found = by_token(_principal(account, "token"), token.id, permissions, tokens.limit_of(token))
            return Remembered(found, token.expires_at or (1 << 62), 0, now)

        return self.principals.look_up("token", _digest(secret), find)

    def key(self, purpose: str) -> bytes:
        """32 secret bytes for `purpose`, the same in all processes: to sign what a browser brings back
        ("oidc-state"). Waits for the database the first time only."""
        found = self._keys.get(purpose)
        if found is None:
            if not self._master:
                with self.database.write() as tx:
                    self._master = tx.accounts.server_key(secrets.token_bytes(32))
            found = self._keys[purpose] = hmac.digest(self._master, purpose.encode(), "sha256")
        return found

    def flush(self) -> None:
        """Write down when sessions and tokens were last used; at the end of the process."""
        self.principals.flush()

    # From memory: on the loop

    def recall_session(self, secret: str) -> Principal | None:
        return self.principals.recall("session", _session_id(secret).encode())

    def recall_token(self, secret: str) -> Principal | None:
        return self.principals.recall("token", _digest(secret))

    def recall_basic(self, name: str, password: str) -> Principal | None:
        return self.principals.recall("basic", self._basic_digest(name, password))

    def csrf_token(self, session: str) -> str:
        """The CSRF token of a session, by `Principal.session`. Call `key("csrf")` once before."""
        made = hmac.digest(self.key("csrf"), session.encode("utf-8", "surrogatepass"), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")

    def csrf_fits(self, session: str, token: str) -> bool:
        given = token.encode("utf-8", "surrogatepass")
        return bool(session) and hmac.compare_digest(self.csrf_token(session).encode(), given)

    # Passwords

    def _by_password(self, how: str, name: str, password: str, address: str, otp: str) -> Account:
        attempt = Attempt(self.key("sign-in"), name[: _LONGEST_NAME + 1], address)
        with self._turn():
            with self.database.read() as tx:
                attempt.check(tx, self.clock.now())
                account = tx.accounts.get(name) if len(name) <= _LONGEST_NAME else None
            answer = self._look_at(how, account, password, otp)
            rehashed = ""
            if account is not None and not answer.reason and needs_rehash(account):
                rehashed = hash_password(password)
            return self._conclude(how, attempt, answer, otp, rehashed)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=TURN_SECONDS):
            raise WaitError("Too many sign-ins at one time", "Try again in a moment", 2)
        try:
            yield
        finally:
            self._turns.release()

    def _look_at(self, how: str, account: Account | None, password: str, otp: str) -> _Answer:
        """All but the code itself. Raises CodeNeededError."""
        if not check_password(account, password):
            return _Answer(account, _why(account))
        assert account is not None  # has a password that fits
        if role_of(account) in (None, Role.SERVICE):
            return _Answer(account, "its role does not sign in")
        if account.totp_secret and how == "basic":
            return _Answer(account, "it has a second factor, which HTTP Basic cannot carry")
        if account.totp_secret and not otp:
            raise CodeNeededError("A one-time code is needed", "Enter the code that your app shows")
        return _Answer(account, "")

    def _conclude(self, how: str, attempt: Attempt, answer: _Answer, otp: str, rehashed: str) -> Account:
        now = self.clock.now()
        with self.database.write() as tx:
            if not answer.reason:
                answer = self._admitted(tx, answer, otp)
            if answer.reason:
                self._refused(tx, how, attempt, answer, now)
            else:
                return self._accepted(tx, how, attempt, answer, now, rehashed)
        raise RefusedError(*WRONG)  # after the transaction, so that what it has counted is kept

    def _admitted(self, tx: Transaction, answer: _Answer, otp: str) -> _Answer:
        """The account as it is now, with the code used up."""
        checked = answer.account
        account = tx.accounts.get(checked.name) if checked is not None else None
        if checked is None or account is None or account.disabled:
            return _Answer(checked, "it was disabled or removed just now")
        if (account.password_hash, account.totp_secret) != (checked.password_hash, checked.totp_secret):
            return _Answer(checked, "it was changed just now")
        if not account.totp_secret:
            return _Answer(account, "")
        factor = totp.use(tx, self.clock, account, otp)
        return _Answer(account, "" if factor else "wrong one-time code, or one that was used", factor)

    def _refused(self, tx: Transaction, how: str, attempt: Attempt, answer: _Answer, now: int) -> None:
        user = answer.account.name if answer.account is not None else ""
        payload = {"user": user, "address": attempt.address, "how": how, "reason": answer.reason}
        tx.ledger.append([Event("login.refused", now, payload=payload)])
        attempt.failed(tx, now, user)

    def _accepted(
        self, tx: Transaction, how: str, attempt: Attempt, answer: _Answer, now: int, rehashed: str
    ) -> Account:
        account = answer.account
        assert account is not None  # without one there was a reason
        if rehashed:
            account = replace(account, password_hash=rehashed)
            tx.accounts.save(account)
        # A client with HTTP Basic signs in every minute: what is the same all day is kept once.
        if how != "basic" or attempt.failures or now - attempt.known_since >= DAY:
            attempt.succeeded(tx, now)
            payload = {"user": account.name, "address": attempt.address, "how": how, "factor": answer.factor}
            tx.ledger.append([Event("login.accepted", now, actor=f"user:{account.name}", payload=payload)])
        return account

    def _basic_digest(self, name: str, password: str) -> bytes:
        text = f"{name}\0{password}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._basic_key, digest_size=32).digest()


def _acts(account: Account) -> bool:
    """Whether it may do anything at all."""
    return not account.disabled and role_of(account) is not None


def _principal(account: Account, how: str, session: str = "") -> Principal:
    """The account as a principal."""
    return access.principal(account.name, Role(account.role), account.sites, account.studies, how, session)


def _why(account: Account | None) -> str:
    if account is None:
        return "no such user"
    if account.disabled:
        return "disabled"
    return "wrong password" if account.password_hash else "it has no password"


def _session_id(secret: str) -> str:
    return _digest(secret).hex()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


__all__ = ["REFRESH_SECONDS", "CodeNeededError", "SignIn", "WaitError"]
