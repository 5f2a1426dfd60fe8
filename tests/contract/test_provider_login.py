"""Accounts of an OpenID Connect provider, on both databases."""

from __future__ import annotations

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import Principal, Role, Scope
from hounsfield.domain.errors import RefusedError
from hounsfield.services import accounts, tokens, totp
from hounsfield.services.sign_in import SignIn
from hounsfield.settings import Settings
from support_accounts import HOME, SECOND, WORD, SetClock, clock, elsewhere, quick_passwords, sign_in, told

__all__ = ["clock", "elsewhere", "quick_passwords", "sign_in"]

ISSUER = "https://id.example.org/realms/hospital"
RAD, BOSS = {"groups": ["rad"]}, {"groups": "boss"}


@pytest.fixture
def provider(sign_in: SignIn, database: SqlDatabase, clock: SetClock) -> SignIn:
    """Beside the local user eva."""
    settings = Settings(
        oidc_issuer=ISSUER,
        oidc_client_id="pacs",
        oidc_roles="groups=rad:radiologist@North; groups=boss:administrator",
    )
    return SignIn(database, clock, settings)


def enter(provider: SignIn, claims: dict[str, object], subject: str = "4711", name: str = "ida") -> Principal:
    return provider.external(ISSUER, subject, {"preferred_username": name, **claims}, HOME)


def test_the_first_sign_in_makes_an_account(provider: SignIn, database: SqlDatabase) -> None:
    who = enter(provider, RAD)
    assert (who.name, who.role, who.how) == ("ida", Role.RADIOLOGIST, "external")
    assert who.scope == Scope(frozenset({"North"}))
    assert enter(provider, RAD) == who
    secret = provider.session_begin(who, HOME)
    assert provider.session(secret) is not None
    assert [account.name for account in accounts.listed(database)] == ["eva", "ida"]
    changes = [event["change"] for event in told(database, "user.changed")]
    assert changes[1:] == [
        "added as radiologist, by the provider's claims",
        "changed by the provider's claims",
    ]
    assert [event["how"] for event in told(database, "login.accepted")] == ["external", "external"]


def test_no_role_no_account(provider: SignIn, database: SqlDatabase) -> None:
    for claims in ({}, {"groups": ["x"]}):
        with pytest.raises(RefusedError, match="may not use"):
            enter(provider, claims)
    assert [account.name for account in accounts.listed(database)] == ["eva"]
    assert told(database, "login.refused")[0] == {
        "user": "", "address": HOME, "how": "external",
        "reason": "no rule of oidc_roles fits the claims", "subject": f"{ISSUER} 4711",
    }  # fmt: skip


def test_an_identity_never_takes_another_s_account(provider: SignIn, database: SqlDatabase) -> None:
    first = enter(provider, BOSS, name="eva")
    second = enter(provider, RAD, subject="4712", name="eva")
    names = {"eva", first.name, second.name}
    assert len(names) == 3
    with database.read() as tx:
        eva = tx.accounts.get("eva")
    assert eva is not None and eva.subject == "" and eva.role == "radiologist"
    assert enter(provider, BOSS, name="renamed").name == first.name


@pytest.mark.parametrize(("issuer", "subject"), [("", "4711"), (ISSUER, "")])
def test_an_identity_without_a_name_is_none(provider: SignIn, issuer: str, subject: str) -> None:
    with pytest.raises(RefusedError):
        provider.external(issuer, subject, BOSS, HOME)


def test_role_and_sites_follow_the_claims(provider: SignIn, clock: SetClock) -> None:
    secret = provider.session_begin(enter(provider, RAD), HOME)
    assert provider.session(secret) is not None
    who = enter(provider, BOSS)
    assert who.role is Role.ADMINISTRATOR and who.scope.unlimited
    clock.move(SECOND)
    assert provider.session(secret) is None  # another role: sign in again


def test_who_has_no_role_any_more_loses_sessions_and_tokens(
    provider: SignIn, database: SqlDatabase, clock: SetClock
) -> None:
    secret = provider.session_begin(enter(provider, RAD), HOME)
    _, text = tokens.create(database, clock, "cli:x", "ida", ["studies.read"])
    assert provider.session(secret) and provider.token(text)
    with pytest.raises(RefusedError):
        enter(provider, {"groups": []})
    clock.move(SECOND)
    assert provider.session(secret) is None and provider.token(text) is None


def test_who_was_disabled_here_stays_so(provider: SignIn, database: SqlDatabase, clock: SetClock) -> None:
    enter(provider, RAD)
    accounts.change(database, clock, "cli:x", "ida", accounts.Change(disabled=True))
    with pytest.raises(RefusedError):
        enter(provider, BOSS)
    assert told(database, "login.refused")[-1]["reason"] == "disabled"


def test_no_password_opens_it(provider: SignIn, database: SqlDatabase, clock: SetClock) -> None:
    enter(provider, RAD)
    with pytest.raises(RefusedError):
        provider.password("ida", "", HOME)
    with pytest.raises(RefusedError):
        provider.basic("ida", WORD, HOME)
    with pytest.raises(RefusedError, match="provider"):
        accounts.set_password(database, clock, "cli:x", "ida", WORD)
    with pytest.raises(RefusedError, match="provider"):
        totp.enrol(database, clock, "cli:x", "ida")
