"""Signing in with a password on both databases: refusals, back-off, the second factor."""

from __future__ import annotations

import argon2
import pyotp
import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import EVERYTHING, Role
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.lockout import LONGEST_SECONDS, RULES, Key
from hounsfield.services import accounts, passwords, totp
from hounsfield.services.sign_in import CodeNeededError, SignIn, WaitError
from support_accounts import (
    AWAY,
    HOME,
    QUICK,
    SECOND,
    WORD,
    SetClock,
    clock,
    elsewhere,
    quick_passwords,
    sign_in,
    told,
)

__all__ = ["clock", "elsewhere", "quick_passwords", "sign_in"]


def fail(sign_in: SignIn, address: str, times: int = 1, name: str = "eva") -> None:
    for _ in range(times):
        with pytest.raises(RefusedError) as raised:
            sign_in.password(name, "wrong horse", address)
        assert not isinstance(raised.value, WaitError), raised.value


def waits(sign_in: SignIn, address: str, name: str = "eva", password: str = WORD) -> int:
    with pytest.raises(WaitError) as raised:
        sign_in.password(name, password, address)
    return raised.value.seconds


# Passwords


def test_the_right_password(sign_in: SignIn, database: SqlDatabase) -> None:
    who = sign_in.password("eva", WORD, HOME)
    assert (who.name, who.role, who.how, who.scope) == ("eva", Role.RADIOLOGIST, "password", EVERYTHING)
    [event] = told(database, "login.accepted")
    assert event == {"user": "eva", "address": HOME, "how": "password", "factor": ""}


@pytest.mark.parametrize(
    ("name", "password", "user", "reason"),
    [
        ("eva", "wrong horse", "eva", "wrong password"),
        ("eva", "", "eva", "wrong password"),
        ("eva", "x" * 10_000, "eva", "wrong password"),
        ("eva", "\ud800\0", "eva", "wrong password"),
        ("nobody", WORD, "", "no such user"),
        (WORD, WORD, "", "no such user"),
        ("e" * 10_000, WORD, "", "no such user"),
        ("\ud800\0", WORD, "", "no such user"),
        ("gone", WORD, "gone", "disabled"),
        ("robot", "", "robot", "it has no password"),
    ],
)
def test_refusals_are_alike_and_in_the_ledger(
    sign_in: SignIn, database: SqlDatabase, clock: SetClock, name: str, password: str, user: str, reason: str
) -> None:
    accounts.add(database, clock, "cli:x", "gone", "radiologist", WORD)
    accounts.change(database, clock, "cli:x", "gone", accounts.Change(disabled=True))
    accounts.add(database, clock, "cli:x", "robot", "service")
    with pytest.raises(RefusedError) as raised:
        sign_in.password(name, password, HOME)
    assert str(raised.value) == "The name, the password or the code is wrong. Try again"
    assert told(database, "login.refused") == [
        {"user": user, "address": HOME, "how": "password", "reason": reason}
    ]
    with database.read() as tx:
        kept = str(tx.connection.execute("SELECT * FROM sign_in").fetchall())
    assert WORD not in str(told(database, "login.refused")) and WORD not in kept


def test_who_is_not_there_takes_as_long(sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many verifications, with the same parameters."""
    verified: list[str] = []

    class Counting:
        hash = QUICK.hash
        check_needs_rehash = QUICK.check_needs_rehash

        def verify(self, stored: str, password: bytes) -> bool:
            verified.append(stored.rpartition("$")[0].rpartition("$")[0])
            return QUICK.verify(stored, password)

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    for name in ("eva", "nobody"):
        fail(sign_in, HOME, name=name)
    assert len(verified) == 2 and len(set(verified)) == 1


def test_a_hash_of_old_parameters_is_made_anew(
    sign_in: SignIn, database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stronger = argon2.PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    monkeypatch.setattr(passwords, "_HASHER", stronger)
    sign_in.password("eva", WORD, HOME)
    with database.read() as tx:
        account = tx.accounts.get("eva")
    assert account is not None and not stronger.check_needs_rehash(account.password_hash)
    sign_in.password("eva", WORD, HOME)


# Back-off


def test_failures_at_one_address_have_to_wait_ever_longer(
    sign_in: SignIn, elsewhere: SignIn, database: SqlDatabase, clock: SetClock
) -> None:
    fail(sign_in, HOME, RULES[Key.PAIR].free)
    seconds = []
    for turn in range(12):
        seconds.append(waits(sign_in, HOME))  # also with the right password, and without counting
        assert waits(elsewhere, HOME) == seconds[-1]  # all processes count together
        clock.move(seconds[-1] * SECOND - 1)
        assert waits(sign_in, HOME) == 1
        clock.move(1)
        if turn < 11:
            fail(elsewhere if turn % 2 else sign_in, HOME)
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    sign_in.password("eva", WORD, HOME)
    fail(sign_in, HOME, RULES[Key.PAIR].free)  # counting begins anew
    locked = told(database, "login.locked")
    assert locked[0] == {
        "user": "eva", "address": HOME, "what": "the user at this address",
        "failures": RULES[Key.PAIR].free, "seconds": 1,
    }  # fmt: skip


def test_unknown_names_wait_alike(sign_in: SignIn) -> None:
    fail(sign_in, HOME, RULES[Key.PAIR].free, name="nobody")
    assert waits(sign_in, HOME, name="nobody") == 1
    sign_in.password("eva", WORD, HOME)  # another user at the same address


def test_who_guesses_from_elsewhere_does_not_lock_the_user_out(sign_in: SignIn, clock: SetClock) -> None:
    sign_in.password("eva", WORD, HOME)
    for n in range(RULES[Key.ACCOUNT].free + 20):
        try:
            sign_in.password("eva", "wrong horse", f"198.51.100.{n}")
        except WaitError as error:
            clock.move(error.seconds * SECOND)
        except RefusedError:
            pass
    seconds = waits(sign_in, AWAY)
    assert 1 < seconds <= LONGEST_SECONDS  # where the user never was, there is a wait, and it ends
    sign_in.password("eva", WORD, HOME)  # where the user was, there is none
    clock.move(seconds * SECOND)
    sign_in.password("eva", WORD, AWAY)


def test_one_address_that_tries_many_names_has_to_wait(sign_in: SignIn) -> None:
    sign_in.password("eva", WORD, HOME)
    for n in range(RULES[Key.ADDRESS].free):
        fail(sign_in, HOME, name=f"name{n}")
    assert waits(sign_in, HOME, name="another") == 1
    sign_in.password("eva", WORD, HOME)  # who works there is not held up by it
    fail(sign_in, AWAY, name="another")


def test_addresses_of_one_ipv6_network_are_one(sign_in: SignIn) -> None:
    for n in range(RULES[Key.PAIR].free):
        fail(sign_in, f"2001:db8::{n:x}")
    waits(sign_in, "2001:db8::ffff:1")


# The second factor


@pytest.fixture
def codes(sign_in: SignIn, database: SqlDatabase, clock: SetClock) -> tuple[pyotp.TOTP, list[str]]:
    secret, uri = totp.enrol(database, clock, "user:eva", "eva")
    assert pyotp.parse_uri(uri).secret == secret and "issuer=Hounsfield" in uri
    made = pyotp.TOTP(secret)
    sign_in.password("eva", WORD, HOME)  # not asked for before it is confirmed
    recovery = totp.confirm(database, clock, "user:eva", "eva", made.at(clock.at // SECOND))
    clock.move(30 * SECOND)
    return made, recovery


def now(made: pyotp.TOTP, clock: SetClock, steps: int = 0) -> str:
    return made.at(clock.at // SECOND + 30 * steps)


def test_a_code_is_needed(sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], clock: SetClock) -> None:
    made, _ = codes
    for _ in range(2 * RULES[Key.PAIR].free):
        with pytest.raises(CodeNeededError):
            sign_in.password("eva", WORD, HOME)  # counts for nothing
    with pytest.raises(RefusedError) as raised:
        sign_in.password("eva", "wrong horse", HOME, now(made, clock))
    assert not isinstance(raised.value, CodeNeededError)
    code = now(made, clock)
    sign_in.password("eva", WORD, HOME, f" {code[:3]} {code[3:]} ")


@pytest.mark.parametrize(("steps", "right"), [(-2, False), (-1, False), (0, True), (1, True), (2, False)])
def test_codes_of_near_steps_are_taken(
    sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], clock: SetClock, steps: int, right: bool
) -> None:
    """The one before was used up at enrolment."""
    code = now(codes[0], clock, steps)
    if right:
        sign_in.password("eva", WORD, HOME, code)
    with pytest.raises(RefusedError):
        sign_in.password("eva", WORD, HOME, code)  # and never twice


def test_wrong_codes_count_as_failures(
    sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], clock: SetClock, database: SqlDatabase
) -> None:
    for _ in range(RULES[Key.PAIR].free):
        with pytest.raises(RefusedError):
            sign_in.password("eva", WORD, HOME, "abcdef")
    assert waits(sign_in, HOME) == 1
    assert "wrong one-time code, or one that was used" in str(told(database, "login.refused"))


def test_recovery_codes_work_once(
    sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], database: SqlDatabase
) -> None:
    _, recovery = codes
    assert len(set(recovery)) == totp.RECOVERY_CODES
    sign_in.password("eva", WORD, HOME, recovery[0].upper().replace("-", " "))
    with pytest.raises(RefusedError):
        sign_in.password("eva", WORD, HOME, recovery[0])
    sign_in.password("eva", WORD, HOME, recovery[1])
    assert [e["factor"] for e in told(database, "login.accepted")] == ["", "recovery", "recovery"]
    assert [e["change"] for e in told(database, "totp.changed")] == [
        "begun", "set up", "recovery code used", "recovery code used",
    ]  # fmt: skip
    with database.read() as tx:
        account = tx.accounts.get("eva")
    assert account is not None and recovery[2] not in str(account)


def test_basic_is_refused_with_a_second_factor(
    sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], database: SqlDatabase
) -> None:
    with pytest.raises(RefusedError) as raised:
        sign_in.basic("eva", WORD, HOME)
    assert not isinstance(raised.value, CodeNeededError)  # which would tell that the password is right
    assert "second factor" in str(told(database, "login.refused")[-1]["reason"])


def test_the_second_factor_is_taken_away(
    sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]], database: SqlDatabase, clock: SetClock
) -> None:
    totp.remove(database, clock, "cli:x", "eva")
    sign_in.password("eva", WORD, HOME)


def test_a_wrong_first_code_sets_up_nothing(sign_in: SignIn, database: SqlDatabase, clock: SetClock) -> None:
    with pytest.raises(RefusedError):
        totp.confirm(database, clock, "cli:x", "eva", "000000")
    totp.enrol(database, clock, "cli:x", "eva")
    with pytest.raises(RefusedError):
        totp.confirm(database, clock, "cli:x", "eva", "abcdef")
    sign_in.password("eva", WORD, HOME)


def test_who_is_signed_in_is_asked_once_more(sign_in: SignIn, codes: tuple[pyotp.TOTP, list[str]]) -> None:
    sign_in.confirm("eva", WORD, HOME)
    with pytest.raises(RefusedError):
        sign_in.confirm("eva", "wrong horse", HOME)
