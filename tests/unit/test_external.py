"""Claims of an OpenID Connect provider as roles and sites."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.domain.access import Role
from hounsfield.domain.external import ClaimRule, Granted, account_name, granted, parse_rules
from hounsfield.settings import Settings

RULES = parse_rules(
    "groups=pacs-admins:administrator; realm_access.roles=sup:superuser@North ,East;"
    "groups=/rad/all:radiologist;groups=rad north:radiologist@North;groups=rad-south:radiologist@South;"
    "department=a:b:technologist@C:D"
)


def test_rules_are_read() -> None:
    assert RULES[0] == ClaimRule("groups", "pacs-admins", Role.ADMINISTRATOR)
    assert RULES[1] == ClaimRule("realm_access.roles", "sup", Role.SUPERUSER, ("North", "East"))
    assert RULES[3] == ClaimRule("groups", "rad north", Role.RADIOLOGIST, ("North",))
    assert RULES[5] == ClaimRule("department", "a:b", Role.TECHNOLOGIST, ("C:D",))
    assert parse_rules("") == parse_rules(" ; ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "groups", "groups=x", "=x:radiologist", "groups=x:king", "groups=:radiologist", "a=b:service",
        "a=b:superuser", "a=b:administrator@North",
    ],
)  # fmt: skip
def test_rules_that_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_rules(f"groups=y:radiologist;{text}")
    with pytest.raises(ValueError, match="oidc_roles"):
        Settings(oidc_roles=text)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, None),
        ({"groups": "pacs"}, None),
        ({"groups": ["x", "pacs-admins"]}, Granted(Role.ADMINISTRATOR, ())),
        ({"groups": "pacs-admins"}, Granted(Role.ADMINISTRATOR, ())),
        ({"realm_access": {"roles": ["sup"]}}, Granted(Role.SUPERUSER, ("North", "East"))),
        ({"realm_access.roles": "sup"}, Granted(Role.SUPERUSER, ("North", "East"))),
        ({"groups": ["rad-south", "rad north"]}, Granted(Role.RADIOLOGIST, ("North", "South"))),
        ({"groups": ["rad-south", "/rad/all"]}, Granted(Role.RADIOLOGIST, ())),
        ({"groups": ["rad-south"], "department": "a:b"}, Granted(Role.RADIOLOGIST, ("South",))),
        ({"groups": 7, "department": ["a:b", 3, None]}, Granted(Role.TECHNOLOGIST, ("C:D",))),
        ({"groups": {"pacs-admins": True}}, None),
        ({"realm_access": "sup"}, None),
        ({"groups": "Pacs-Admins"}, None),
    ],
)
def test_claims_give_a_role(claims: dict[str, object], expected: Granted | None) -> None:
    assert granted(RULES, claims) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["groups", "realm_access", "department", "sub", "email"]), JSON))
def test_any_claims_are_read(claims: dict[str, object]) -> None:
    granted(RULES, claims)
    for taken in (False, True):
        name = account_name(claims, "https://id", "subject", taken=taken)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name), name


def test_names_of_accounts() -> None:
    assert account_name({"preferred_username": "eva.k", "email": "e@x"}, "i", "s") == "eva.k"
    assert account_name({"email": "e@x.org"}, "i", "s") == "e@x.org"
    assert account_name({"preferred_username": "../Ä b"}, "i", "s") == "b"
    taken = account_name({"preferred_username": "admin"}, "i", "s", taken=True)
    assert taken.startswith("admin-") and taken != account_name(
        {"preferred_username": "admin"}, "i", "s2", taken=True
    )


def test_a_provider_needs_rules_and_https() -> None:
    complete = {"oidc_issuer": "https://id.example.org", "oidc_client_id": "pacs"}
    Settings(**complete, oidc_roles="a=b:radiologist")
    with pytest.raises(ValueError, match="oidc_roles"):
        Settings(**complete)
    with pytest.raises(ValueError, match="https"):
        Settings(**complete | {"oidc_issuer": "http://id.example.org"}, oidc_roles="a=b:radiologist")


def test_the_client_secret_is_shown_nowhere_and_handed_to_the_roles() -> None:
    settings = Settings(oidc_client_secret="hush")
    assert "hush" not in str(settings.public()) and "hush" not in repr(settings)
    assert settings.environment()["HOUNSFIELD_OIDC_CLIENT_SECRET"] == "hush"
