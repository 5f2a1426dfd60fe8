"""Accounts, sessions, tokens and what is remembered of sign-ins, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.ports.people import Account, Attempts, Token, WebSession

FULL = Account(
    "eva",
    "$argon2id$" + "x" * 80,
    "superuser",
    10,
    sites=("Süd", "North, East"),
    studies=("1.2.3", "1.2.4"),
    subject="https://id.example.org 4711",
    totp_secret="ABC",
    totp_pending="DEF",
    recovery=("aa", "bb"),
)
SESSION = WebSession("5e55", "eva", "10.0.0.1", 100, 110, 900)
TOKEN = Token("70", "hash", "eva", "for the bridge", ("studies.read", "studies.store"), 100, 900)


def test_accounts_come_back_as_they_were_saved(database: SqlDatabase) -> None:
    plain = Account("adam", "", "service", 20)
    with database.write() as tx:
        tx.accounts.save(FULL)
        tx.accounts.save(plain)
    with database.read() as tx:
        assert tx.accounts.all() == [plain, FULL]
        assert tx.accounts.by_subject(FULL.subject) == FULL
        assert tx.accounts.by_subject("https://id.example.org 4712") is None
        assert tx.accounts.by_subject("") is None


def test_an_identity_is_of_one_account(database: SqlDatabase) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"), database.write() as tx:
        tx.accounts.save(FULL)
        tx.accounts.save(replace(FULL, name="adam"))


def test_every_change_grows_the_version(database: SqlDatabase) -> None:
    seen = []

    def grown() -> bool:
        with database.read() as tx:
            seen.append(tx.accounts.version())
        return len(seen) < 2 or seen[-1] > seen[-2]

    grown()
    for step in (
        lambda tx: tx.accounts.save(FULL),
        lambda tx: tx.accounts.save(replace(FULL, disabled=True)),
        lambda tx: (tx.sessions.begin(SESSION), tx.sessions.end("5e55")),
        lambda tx: (tx.sessions.begin(SESSION), tx.sessions.end_of("eva")),
        lambda tx: (tx.tokens.add(TOKEN), tx.tokens.revoke("70")),
        lambda tx: (tx.tokens.add(TOKEN), tx.tokens.revoke_of("eva")),
        lambda tx: tx.accounts.remove("eva"),
    ):
        with database.write() as tx:
            step(tx)
        assert grown()


def test_sessions(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
        tx.accounts.save(replace(FULL, name="adam", subject=""))
        tx.sessions.begin(SESSION)
        tx.sessions.begin(replace(SESSION, id="a", account="adam"))
        tx.sessions.begin(replace(SESSION, id="b", created_at=50))
    with database.write() as tx:
        assert tx.sessions.get("5e55") == SESSION
        assert tx.sessions.get("5E55") is None and tx.sessions.get("\0") is None
        assert [s.id for s in tx.sessions.of("eva")] == ["b", "5e55"]
        tx.sessions.touch({"5e55": 200, "b": 5, "nothing": 7})
        assert [s.seen_at for s in tx.sessions.of("eva")] == [110, 200]  # never back
        assert tx.sessions.end("b") == "eva" and tx.sessions.end("b") == ""
        assert tx.sessions.end_of("eva") == 1 and tx.sessions.end_of("nobody") == 0
        assert [s.id for s in tx.sessions.of("adam")] == ["a"]


def test_old_sessions_are_swept(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
        for name, seen, expires in (("idle", 99, 900), ("expired", 150, 200), ("alive", 100, 201)):
            tx.sessions.begin(replace(SESSION, id=name, seen_at=seen, expires_at=expires))
        assert tx.sessions.sweep(200, 100) == 2
        assert [s.id for s in tx.sessions.of("eva")] == ["alive"]


def test_tokens(database: SqlDatabase) -> None:
    limited = replace(TOKEN, id="71", sites=("Süd",), studies=("1.2",), created_at=200)
    nothing = replace(TOKEN, id="72", sites=(), studies=(), created_at=300)
    other = replace(TOKEN, id="73", account="adam")
    with database.write() as tx:
        tx.accounts.save(FULL)
        tx.accounts.save(replace(FULL, name="adam", subject=""))
        for token in (TOKEN, limited, nothing, other):
            tx.tokens.add(token)
    with database.write() as tx:
        assert tx.tokens.all("eva") == [TOKEN, limited, nothing]
        assert tx.tokens.all() == [other, TOKEN, limited, nothing]
        assert tx.tokens.get("72") == nothing  # an empty limit is not none
        assert tx.tokens.get("7") is None
        tx.tokens.touch({"70": 5, "71": 6})
        assert [t.used_at for t in tx.tokens.all("eva")] == [5, 6, 0]
        assert tx.tokens.revoke("70") and not tx.tokens.revoke("70")
        assert tx.tokens.revoke_of("eva") == 2
        assert tx.tokens.all() == [other]


def test_removing_an_account_ends_what_is_its(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
        tx.sessions.begin(SESSION)
        tx.tokens.add(TOKEN)
    with database.write() as tx:
        assert tx.accounts.remove("eva") and not tx.accounts.remove("eva")
        tx.accounts.save(FULL)  # another one of the same name
    with database.read() as tx:
        assert tx.sessions.get("5e55") is None and tx.tokens.get("70") is None


def test_a_one_time_code_is_used_once(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
        assert tx.accounts.use_totp_step("eva", 100)
        assert not tx.accounts.use_totp_step("eva", 100)
        assert not tx.accounts.use_totp_step("eva", 99)
        tx.accounts.save(replace(FULL, disabled=True))  # saving does not forget it
        assert not tx.accounts.use_totp_step("eva", 100)
        assert tx.accounts.use_totp_step("eva", 101)
        assert not tx.accounts.use_totp_step("nobody", 1)


def test_a_recovery_code_is_used_once(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
        assert tx.accounts.use_recovery("eva", "aa")
        assert not tx.accounts.use_recovery("eva", "aa")
        assert not tx.accounts.use_recovery("eva", "") and not tx.accounts.use_recovery("nobody", "bb")
        account = tx.accounts.get("eva")
    assert account is not None and account.recovery == ("bb",)


def test_processes_that_use_one_code_at_once(
    database: SqlDatabase, open_another: Callable[[str], SqlDatabase]
) -> None:
    with database.write() as tx:
        tx.accounts.save(FULL)
    used: list[tuple[bool, bool]] = []
    barrier = threading.Barrier(3)

    def use(other: SqlDatabase) -> None:
        barrier.wait()
        with other.write() as tx:
            used.append((tx.accounts.use_totp_step("eva", 7), tx.accounts.use_recovery("eva", "aa")))

    others = [open_another(f"other-{n}") for n in range(3)]
    threads = [threading.Thread(target=use, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(totp for totp, _ in used) == [False, False, True]
    assert sorted(recovery for _, recovery in used) == [False, False, True]


def test_the_server_key_stays(database: SqlDatabase, open_another: Callable[[str], SqlDatabase]) -> None:
    with database.write() as tx:
        assert tx.accounts.server_key(b"\0\xff" * 16) == b"\0\xff" * 16
    with open_another("other").write() as tx:
        assert tx.accounts.server_key(b"another") == b"\0\xff" * 16


def test_failures_are_counted_until_they_are_old(database: SqlDatabase) -> None:
    with database.write() as tx:
        assert [tx.sign_ins.failed("k", at, 100) for at in (1000, 1050, 1150)] == [1, 2, 3]
        tx.sign_ins.wait("k", 1200)
        assert tx.sign_ins.get(["k", "other"]) == {"k": Attempts("k", 3, 1150, 1200, 0, 1250)}
        assert tx.sign_ins.failed("k", 1251, 100) == 1
        tx.sign_ins.succeeded("k", 1300, 9000)
        assert tx.sign_ins.failed("k", 1400, 100) == 1
        assert tx.sign_ins.get(["k"])["k"] == Attempts("k", 1, 1400, 0, 1300, 9000)


def test_what_is_remembered_of_sign_ins_is_bounded(database: SqlDatabase) -> None:
    with database.write() as tx:
        for n in range(20):
            tx.sign_ins.failed(f"k{n}", 1000 + n, 100)
        tx.sign_ins.sweep(1102, 10)
        left = tx.sign_ins.get([f"k{n}" for n in range(20)])
    assert sorted(left) == sorted(f"k{n}" for n in range(10, 20))
