"""Sessions, tokens and HTTP Basic on both databases: what is remembered, and how soon it is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import Permission, Scope
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.lockout import DAY
from hounsfield.ports.people import Account
from hounsfield.services import accounts, tokens
from hounsfield.services.sign_in import SignIn
from support_accounts import (
    HOME,
    MINUTE,
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


# Sessions


@pytest.fixture
def secret(sign_in: SignIn) -> str:
    return sign_in.session_begin(sign_in.password("eva", WORD, HOME), HOME)


def test_a_session(sign_in: SignIn, elsewhere: SignIn, secret: str, database: SqlDatabase) -> None:
    assert sign_in.recall_session(secret) is None  # not known yet
    who = sign_in.session(secret)
    assert who is not None and (who.name, who.how) == ("eva", "session")
    assert sign_in.recall_session(secret) == who == elsewhere.session(secret)
    assert len(secret) >= 43
    with database.read() as tx:
        kept = str(tx.connection.execute("SELECT * FROM web_session").fetchall())
    assert secret not in kept and who.session in kept and who.session != secret
    for wrong in ("", "x", secret[:-1], secret + "x", "\ud800", "\0"):
        assert sign_in.session(wrong) is None and sign_in.recall_session(wrong) is None


def test_each_sign_in_has_a_session_of_its_own(sign_in: SignIn, secret: str) -> None:
    other = sign_in.session_begin(sign_in.password("eva", WORD, HOME), HOME)
    assert other != secret
    sign_in.session_end(secret)
    assert sign_in.session(secret) is None and sign_in.session(other) is not None


def test_an_idle_session_ends(sign_in: SignIn, secret: str, clock: SetClock) -> None:
    for _ in range(4):
        clock.move(29 * MINUTE)
        assert sign_in.session(secret) is not None
    clock.move(30 * MINUTE + 1)
    assert sign_in.recall_session(secret) is None
    assert sign_in.session(secret) is None


def test_a_session_that_another_process_serves_is_not_idle(
    sign_in: SignIn, elsewhere: SignIn, secret: str, clock: SetClock
) -> None:
    sign_in.session(secret)
    for _ in range(3):
        clock.move(20 * MINUTE)
        elsewhere.session(secret)
        elsewhere.flush()
    assert sign_in.session(secret) is not None


def test_a_session_ends_in_any_case(sign_in: SignIn, secret: str, clock: SetClock) -> None:
    for _ in range(12 * 3):
        clock.move(20 * MINUTE - 1)
        assert sign_in.session(secret) is not None
        last = sign_in.recall_session(secret)
    assert last is not None
    clock.move(20 * MINUTE)
    assert sign_in.recall_session(secret) is None and sign_in.session(secret) is None


CHANGES = {
    "password": lambda d, c: accounts.set_password(d, c, "cli:x", "eva", "another horse"),
    "role": lambda d, c: accounts.change(d, c, "cli:x", "eva", accounts.Change(role="technologist")),
    "disabled": lambda d, c: accounts.change(d, c, "cli:x", "eva", accounts.Change(disabled=True)),
    "sessions": lambda d, c: accounts.end_sessions(d, c, "cli:x", "eva"),
    "removed": lambda d, c: accounts.remove(d, c, "cli:x", "eva"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_ends_a_session_is_seen_everywhere_within_a_second(
    sign_in: SignIn, elsewhere: SignIn, secret: str, database: SqlDatabase, clock: SetClock, change: str
) -> None:
    assert sign_in.session(secret) and elsewhere.session(secret)
    CHANGES[change](database, clock)
    clock.move(SECOND)
    for process in (sign_in, elsewhere):
        assert process.recall_session(secret) is None
        assert process.session(secret) is None
        assert process.recall_session(secret) is None


def test_changed_sites_are_seen_within_a_second(
    sign_in: SignIn, elsewhere: SignIn, secret: str, database: SqlDatabase, clock: SetClock
) -> None:
    assert elsewhere.session(secret)
    accounts.change(database, clock, "cli:x", "eva", accounts.Change(sites=("North",)))
    clock.move(SECOND)
    who = elsewhere.session(secret)
    assert who is not None and who.scope == Scope(frozenset({"North"}))


def test_who_was_disabled_a_moment_ago_begins_no_session(
    sign_in: SignIn, database: SqlDatabase, clock: SetClock
) -> None:
    who = sign_in.password("eva", WORD, HOME)
    CHANGES["disabled"](database, clock)
    with pytest.raises(RefusedError):
        sign_in.session_begin(who, HOME)


def test_last_uses_are_written_once_a_minute(
    sign_in: SignIn, secret: str, database: SqlDatabase, clock: SetClock
) -> None:
    def seen() -> int:
        with database.read() as tx:
            return tx.sessions.of("eva")[0].seen_at

    began = seen()
    for _ in range(59):
        clock.move(SECOND)
        sign_in.session(secret)
    assert seen() == began
    clock.move(SECOND)
    sign_in.session(secret)
    assert seen() == began + 59 * SECOND
    clock.move(SECOND)
    sign_in.session(secret)
    sign_in.flush()
    assert seen() == began + 61 * SECOND


def test_csrf_tokens(sign_in: SignIn, elsewhere: SignIn, secret: str) -> None:
    who = sign_in.session(secret)
    other = sign_in.session(sign_in.session_begin(who, HOME))  # type: ignore[arg-type]
    assert who is not None and other is not None
    token = sign_in.csrf_token(who.session)
    assert sign_in.csrf_fits(who.session, token) and elsewhere.csrf_fits(who.session, token)
    for session, wrong in ((other.session, token), (who.session, token[:-1]), (who.session, ""), ("", "")):
        assert not sign_in.csrf_fits(session, wrong)
    assert not sign_in.csrf_fits("", sign_in.csrf_token("")) and not sign_in.csrf_fits(who.session, "\ud800")
    assert secret not in token and who.session not in token
    assert sign_in.key("oidc-state") == elsewhere.key("oidc-state") != sign_in.key("csrf")


# HTTP Basic


def test_basic_is_remembered_for_a_minute(
    sign_in: SignIn, database: SqlDatabase, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = sign_in.basic("eva", WORD, HOME)
    assert who.how == "basic" and sign_in.recall_basic("eva", WORD) == who
    assert sign_in.recall_basic("eva", "wrong horse") is None and sign_in.recall_basic("Eva", WORD) is None
    for _ in range(120):
        clock.move(SECOND)
        assert sign_in.basic("eva", WORD, HOME).name == "eva"
    assert len(told(database, "login.accepted")) == 1  # of a day
    clock.move(DAY)
    sign_in.basic("eva", WORD, HOME)
    assert len(told(database, "login.accepted")) == 2
    clock.move(MINUTE)
    assert sign_in.recall_basic("eva", WORD) is None


def test_a_remembered_password_that_was_changed_is_forgotten(
    sign_in: SignIn, elsewhere: SignIn, database: SqlDatabase, clock: SetClock
) -> None:
    elsewhere.basic("eva", WORD, HOME)
    CHANGES["password"](database, clock)
    clock.move(SECOND)
    assert elsewhere.recall_basic("eva", WORD) is None
    with pytest.raises(RefusedError):
        elsewhere.basic("eva", WORD, HOME)


def test_a_password_changed_while_it_was_looked_at_is_not_remembered(
    sign_in: SignIn, database: SqlDatabase, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = sign_in._by_password

    def changed_meanwhile(*of: str) -> Account:
        found = look(*of)
        CHANGES["password"](database, clock)
        return found

    monkeypatch.setattr(sign_in, "_by_password", changed_meanwhile)
    sign_in.basic("eva", WORD, HOME)
    clock.move(SECOND)
    sign_in.principals.refresh()
    assert sign_in.recall_basic("eva", WORD) is None


# Tokens


@pytest.fixture
def bridge(database: SqlDatabase, clock: SetClock, sign_in: SignIn) -> tuple[str, str]:
    """Id and text of a token of eva's."""
    token, text = tokens.create(
        database, clock, "cli:x", "eva", ["studies.read", "studies.store"],
        label="bridge", expires_at=clock.at + 60 * MINUTE,
    )  # fmt: skip
    return token.id, text


def test_a_token(sign_in: SignIn, bridge: tuple[str, str], database: SqlDatabase) -> None:
    token_id, text = bridge
    assert text.startswith(f"hf_{token_id}_") and sign_in.recall_token(text) is None
    who = sign_in.token(text)
    assert who is not None and sign_in.recall_token(text) == who
    assert (who.name, who.how, who.token, who.session) == ("eva", "token", token_id, "")
    assert who.permissions == {Permission.STUDIES_READ, Permission.STUDIES_STORE}
    [created] = told(database, "token.created")
    assert (created["id"], created["user"], created["label"]) == (token_id, "eva", "bridge")
    with database.read() as tx:
        kept = str(tx.connection.execute("SELECT * FROM token").fetchall())
    assert text.split("_", 2)[2] not in kept + str(created)


def test_what_is_no_token(sign_in: SignIn, bridge: tuple[str, str]) -> None:
    token_id, text = bridge
    wrong = (
        *("", "hf", "hf__", "hf_x", f"hf_{token_id}", f"hf_{token_id}_", text[:-1], text + "x", text[1:]),
        *(text.upper(), f"hf_000000000000_{text.split('_', 2)[2]}", "hf_\0_\ud800", "hf_x_" + "y" * 100_000),
    )
    for one in wrong:
        assert sign_in.token(one) is None and sign_in.recall_token(one) is None


def test_a_token_expires(sign_in: SignIn, bridge: tuple[str, str], clock: SetClock) -> None:
    clock.move(60 * MINUTE - 1)
    assert sign_in.token(bridge[1]) is not None
    clock.move(1)
    assert sign_in.recall_token(bridge[1]) is None and sign_in.token(bridge[1]) is None


def test_a_token_shrinks_with_its_owner(
    sign_in: SignIn, bridge: tuple[str, str], database: SqlDatabase, clock: SetClock
) -> None:
    change = accounts.Change(role="referrer", grant=("1.2.3",))
    accounts.change(database, clock, "cli:x", "eva", change)
    clock.move(SECOND)
    who = sign_in.token(bridge[1])
    assert who is not None and who.permissions == {Permission.STUDIES_READ}
    assert who.scope == Scope(studies=frozenset({"1.2.3"}))


def test_a_limited_token(sign_in: SignIn, database: SqlDatabase, clock: SetClock) -> None:
    accounts.change(database, clock, "cli:x", "eva", accounts.Change(sites=("North", "East")))
    _, text = tokens.create(
        database, clock, "cli:x", "eva", ["studies.read"], sites=["East", "West"], studies=["1.2.3"]
    )
    who = sign_in.token(text)
    assert who is not None
    seen = {
        (uid, site): who.scope.sees(uid, [site])
        for uid in ("1.2.3", "1.2.4")
        for site in ("North", "East", "West")
    }
    assert {key for key, value in seen.items() if value} == {
        ("1.2.3", "North"), ("1.2.3", "East"), ("1.2.4", "East"),
    }  # fmt: skip


@pytest.mark.parametrize("how", ["revoked", "disabled", "removed"])
def test_a_token_that_is_no_more(
    sign_in: SignIn,
    elsewhere: SignIn,
    bridge: tuple[str, str],
    database: SqlDatabase,
    clock: SetClock,
    how: str,
) -> None:
    assert sign_in.token(bridge[1]) and elsewhere.token(bridge[1])
    if how == "revoked":
        tokens.revoke(database, clock, "cli:x", bridge[0])
        assert told(database, "token.revoked") == [{"id": bridge[0], "user": "eva", "label": "bridge"}]
    else:
        CHANGES[how](database, clock)
    clock.move(SECOND)
    for process in (sign_in, elsewhere):
        assert process.recall_token(bridge[1]) is None and process.token(bridge[1]) is None
    if how == "disabled":
        accounts.change(database, clock, "cli:x", "eva", accounts.Change(disabled=False))
        assert sign_in.token(bridge[1]) is None  # for good


def test_a_password_change_leaves_tokens(
    sign_in: SignIn, bridge: tuple[str, str], database: SqlDatabase, clock: SetClock
) -> None:
    CHANGES["password"](database, clock)
    clock.move(SECOND)
    assert sign_in.token(bridge[1]) is not None


def test_an_account_whose_role_nobody_knows_may_nothing(
    sign_in: SignIn, bridge: tuple[str, str], secret: str, database: SqlDatabase, clock: SetClock
) -> None:
    with database.write() as tx:
        account = tx.accounts.get("eva")
        assert account is not None
        tx.accounts.save(replace(account, role="of the future"))
    clock.move(SECOND)
    assert sign_in.session(secret) is None and sign_in.token(bridge[1]) is None
    with pytest.raises(RefusedError):
        sign_in.password("eva", WORD, HOME)
