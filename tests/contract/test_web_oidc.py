"""Signing in with an OpenID Connect provider, and with one that lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from support_provider import CLIENT, SECRET, Provider, query_of
from support_web import WebArchive


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        provider.claims = {"groups": ["readers"]}
        yield provider


@pytest.fixture
def archive(tmp_path: Path, provider: Provider) -> Iterator[WebArchive]:
    with WebArchive(
        tmp_path,
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_roles="groups=readers:radiologist;groups=chiefs:administrator",
    ) as archive:
        yield archive


def go(client: httpx.Client, wanted: str = "/api/docs") -> httpx.Response:
    """Through the provider and back; the answer to the callback."""
    begun = client.get("/login/oidc", params={"next": wanted})
    assert begun.status_code == 303, begun.text
    with httpx.Client(trust_env=False) as elsewhere:
        back = elsewhere.get(begun.headers["Location"]).headers["Location"]
    return client.get(back)


def test_a_user_of_the_provider_signs_in(archive: WebArchive, provider: Provider) -> None:
    with archive.anonymous() as client:
        assert "/login/oidc" in client.get("/login").text
        answer = go(client)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/api/docs"), answer.text
        self = client.get("/api/session").json()
        assert (self["role"], self["how"]) == ("radiologist", "session")
        assert client.get("/api/users").status_code == 403
    asked = provider.asked[0]
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert asked["redirect_uri"] == f"{archive.url}/login/oidc/callback"
    assert len(asked["state"]) >= 32 and len(asked["nonce"]) >= 32 and "code_verifier" not in asked
    provider.claims = {"groups": ["chiefs"]}
    with archive.anonymous() as client:
        go(client)
        assert client.get("/api/session").json()["role"] == "administrator", "the role follows the claims"


def test_who_has_no_role_does_not_get_in(archive: WebArchive, provider: Provider) -> None:
    provider.claims = {"groups": ["visitors"]}
    with archive.anonymous() as client:
        answer = go(client)
        assert answer.status_code == 403 and "hounsfield" not in client.cookies
        assert client.get("/api/session").status_code == 401


@pytest.mark.parametrize(
    ("claims", "lie"),
    [
        ({"nonce": "another"}, ""),
        ({"nonce": None}, ""),
        ({"aud": "somebody else"}, ""),
        ({"aud": [CLIENT, "somebody else"]}, ""),
        ({"azp": "somebody else"}, ""),
        ({"iss": "https://evil.example"}, ""),
        ({"exp": 1}, ""),
        ({"exp": None}, ""),
        ({"iat": None}, ""),
        ({"iat": 2**40}, ""),
        ({"sub": None}, ""),
        ({"sub": ""}, ""),
        ({}, "key"),
        ({}, "none"),
        ({}, "hmac"),
        ({}, "missing"),
    ],
    ids=str,
)
def test_a_token_that_does_not_hold_lets_nobody_in(
    archive: WebArchive, provider: Provider, claims: dict[str, object], lie: str
) -> None:
    provider.claims |= claims
    provider.lie = lie
    with archive.anonymous() as client:
        answer = go(client)
        assert answer.status_code in (403, 502), answer.text
        assert "hounsfield" not in client.cookies


@pytest.mark.parametrize("lie", ["issuer", "endpoint"])
def test_a_provider_that_describes_itself_wrongly_is_not_used(
    archive: WebArchive, provider: Provider, lie: str
) -> None:
    provider.lie = lie
    with archive.anonymous() as client:
        assert client.get("/login/oidc").status_code == 502


def test_an_answer_that_was_not_asked_for_here_lets_nobody_in(
    archive: WebArchive, provider: Provider
) -> None:
    with archive.anonymous() as client, archive.anonymous() as victim:
        begun = client.get("/login/oidc")
        with httpx.Client(trust_env=False) as elsewhere:
            back = elsewhere.get(begun.headers["Location"]).headers["Location"]
        assert victim.get(back).status_code == 400, "another browser"
        victim.get("/login/oidc")
        assert victim.get(back).status_code == 400, "another browser that has begun as well"
        state = query_of(back)["state"]
        path = urlsplit(back).path
        assert client.get(path, params={"state": state[:-1], "code": "code-1"}).status_code == 400
    with archive.anonymous() as client:
        begun = client.get("/login/oidc")
        state = query_of(begun.headers["Location"])["state"]
        denied = client.get(path, params={"state": state, "error": "access_denied<script>"})
        assert denied.status_code == 403 and "<script>" not in denied.text
        assert client.get(path, params={"state": state, "code": "x"}).status_code == 400, "used up"


def test_a_code_is_worth_nothing_twice(archive: WebArchive, provider: Provider) -> None:
    with archive.anonymous() as client:
        begun = client.get("/login/oidc")
        cookie = client.cookies["hounsfield-oidc"]
        with httpx.Client(trust_env=False) as elsewhere:
            back = elsewhere.get(begun.headers["Location"]).headers["Location"]
        assert client.get(back).status_code == 303
    with archive.anonymous(cookies={"hounsfield-oidc": cookie}) as thief:
        assert thief.get(back).status_code == 502
        assert thief.get("/api/session").status_code == 401


def test_new_keys_of_the_provider_are_learned(
    archive: WebArchive, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hounsfield.servers.web.oidc_provider.KEYS_SECONDS", 0.0)
    with archive.anonymous() as client:
        assert go(client).status_code == 303
    provider.key = RSAKey.generate_key(2048, {"kid": "second"})
    with archive.anonymous() as client:
        assert go(client).status_code == 303


def test_where_none_is_set_there_is_nothing(tmp_path: Path) -> None:
    with WebArchive(tmp_path) as archive, archive.anonymous() as client:
        assert client.get("/login/oidc").status_code == 404
        assert client.get("/login/oidc/callback?code=a&state=b").status_code == 404
        assert "/login/oidc" not in client.get("/login").text
