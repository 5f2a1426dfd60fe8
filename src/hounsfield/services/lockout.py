"""Failed sign-ins are counted, in the database, so that all processes count together (`domain.lockout`)."""

from __future__ import annotations

import hmac

from hounsfield.domain.errors import RefusedError
from hounsfield.domain.events import Event
from hounsfield.domain.lockout import KNOWN_FOR, RULES, SECOND, Key, address_group, wait_seconds
from hounsfield.ports.database import Transaction
from hounsfield.ports.people import Attempts

#: Rows that are kept; past it those go that would be forgotten first.
MOST_ROWS = 100_000


class WaitError(RefusedError):
    """Too many failures, or too much at once: no attempt counts before `seconds` have passed."""

    def __init__(self, what: str, todo: str, seconds: int) -> None:
        super().__init__(what, todo)
        self.seconds = seconds


class Attempt:
    """One attempt to sign in. `key` is secret: what is kept of a mistyped name tells nothing."""

    def __init__(self, key: bytes, name: str, address: str) -> None:
        group = address_group(address)
        self.address = address
        self.keys = {
            Key.PAIR: _digest(key, "pair", name, group),
            Key.ADDRESS: _digest(key, "address", group),
            Key.ACCOUNT: _digest(key, "account", name),
        }
        self.known_since = 0  # of the last success of this user at this address; 0 for none
        self.failures = 0  # of this user at this address since then

    def check(self, tx: Transaction, now: int) -> None:
        """Raises WaitError."""
        kept = tx.sign_ins.get(list(self.keys.values()))
        nothing = Attempts("")
        pair = kept.get(self.keys[Key.PAIR], nothing)
        self.failures = pair.failures
        if pair.succeeded_at > now - KNOWN_FOR:
            self.known_since = pair.succeeded_at
        held = [pair] if self.known_since else [kept.get(key, nothing) for key in self.keys.values()]
        until = max(one.until for one in held)
        if until > now:
            seconds = -(-(until - now) // SECOND)
            raise WaitError("Too many sign-ins have failed", f"Try again in {seconds} seconds", seconds)

    def failed(self, tx: Transaction, now: int, user: str) -> None:
        """Count it, and say in the ledger what has to wait. `user`: the name where there is such a user."""
        tx.sign_ins.sweep(now, MOST_ROWS)
        for which, key in sorted(self.keys.items(), key=lambda item: item[1]):
            failures = tx.sign_ins.failed(key, now, RULES[which].keep)
            seconds = wait_seconds(which, failures)
            if not seconds:
                continue
            tx.sign_ins.wait(key, now + seconds * SECOND)
            payload = {
                "user": user,
                "address": self.address,
                "what": str(which),
                "failures": failures,
                "seconds": seconds,
            }
            tx.ledger.append([Event("login.locked", now, payload=payload)])

    def succeeded(self, tx: Transaction, now: int) -> None:
        tx.sign_ins.succeeded(self.keys[Key.PAIR], now, now + KNOWN_FOR)


def _digest(key: bytes, *parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, "sha256").hex()[:32]
