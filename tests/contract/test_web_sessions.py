"""Browsers: signing in and out, forged requests, fixed sessions, guessing, second factors."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pyotp
import pytest

from hounsfield.domain.access import Role
from hounsfield.servers.web.login import local
from hounsfield.servers.web.passwords import MOST_OF_ADDRESS
from hounsfield.services import sign_in as signing_in
from support_accounts import quick_passwords
from support_peers import make_certificates
from support_web import ADMIN, PASSWORD, WebArchive, wait_for

__all__ = ["quick_passwords"]
pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[WebArchive]:
    with WebArchive(tmp_path) as archive:
        yield archive


def sign_in(client: httpx.Client, name: str = ADMIN, password: str = PASSWORD, **more: str) -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password, **more})


def test_a_browser_signs_in_and_out(archive: WebArchive) -> None:
    with archive.anonymous() as client:
        page = client.get("/api/docs", headers={"Accept": "text/html"})
        assert page.status_code == 401, "programs are told, not sent elsewhere"
        sent = client.get("/", headers={"Accept": "text/html"})
        assert (sent.status_code, sent.headers["Location"]) == (303, "/login")
        assert "Sign in" in client.get("/login").text
        answer = sign_in(client, next="/api/docs?a=b")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/api/docs?a=b")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie
        home = client.get("/")
        assert ADMIN in home.text
        field = re.search(r'name="csrf" value="([^"]+)"', home.text)
        assert field is not None
        before = client.cookies
        assert client.post("/logout", data={"csrf": field[1]}).status_code == 303
        with archive.anonymous(cookies=before) as old:
            assert old.get("/api/session").status_code == 401, (
                "the session itself is over, not the cookie alone"
            )


def test_over_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    with (
        WebArchive(tmp_path, public_url="https://pacs.example.org") as archive,
        archive.anonymous() as client,
    ):
        cookie = sign_in(client).headers["Set-Cookie"]
        assert cookie.startswith("__Host-hounsfield=") and "; Secure" in cookie


def test_https_from_files(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    with WebArchive(
        tmp_path, http_certificate=made.server, http_key=made.server_key, http_basic="auto"
    ) as archive:
        trusting = ssl.create_default_context(cafile=str(made.authority))
        trusting.check_hostname = False  # the certificate is of no address
        with archive.anonymous(verify=trusting) as client:
            answer = sign_in(client)
            assert answer.headers["Set-Cookie"].startswith("__Host-hounsfield=")
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert client.get("/api/session").json()["how"] == "session"
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{archive.port}/healthz", trust_env=False)


def test_a_forged_request_is_refused(archive: WebArchive) -> None:
    with archive.signed_in() as client:
        new = {"name": "X", "ae_title": "X"}
        token = client.headers.pop("X-CSRF-Token")
        assert client.post("/api/devices", json=new).status_code == 403
        wrong = {"X-CSRF-Token": token[:-1] + ("a" if token[-1] != "a" else "b")}
        assert client.post("/api/devices", json=new, headers=wrong).status_code == 403
        right = {"X-CSRF-Token": token}
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": f"{archive.url}.evil.example"},
        ):
            answer = client.post("/api/devices", json=new, headers=right | headers)
            assert answer.status_code == 403, headers
        own = right | {"Origin": archive.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/devices", json=new, headers=own).status_code == 201
        with archive.signed_in() as other:
            theirs = {"X-CSRF-Token": other.headers["X-CSRF-Token"]}
            assert client.delete("/api/devices/X", headers=theirs).status_code == 403
        assert client.post("/logout", data={"csrf": "guessed"}).status_code == 403
        assert client.get("/api/session").status_code == 200


def test_another_site_cannot_sign_a_browser_in(archive: WebArchive) -> None:
    with archive.anonymous() as client:
        form = {"name": ADMIN, "password": PASSWORD}
        assert client.post("/login", data=form, headers={"Origin": "https://evil.example"}).status_code == 403
        assert client.post("/login", json=form).status_code == 415
        assert not client.cookies


def test_a_session_that_was_there_before_does_not_become_signed_in(archive: WebArchive) -> None:
    with archive.signed_in() as attacker:
        planted = attacker.cookies["hounsfield"]
        with archive.anonymous(cookies={"hounsfield": planted}) as victim:
            archive.account("victim", Role.RADIOLOGIST)
            answer = sign_in(victim, "victim")
            assert answer.status_code == 303
            fresh = answer.cookies["hounsfield"]
            assert fresh != planted
        assert attacker.get("/api/session").status_code == 401, "what was planted has ended"
    for invented in ("chosen-by-an-attacker", "", "a" * 5000):
        with archive.anonymous(headers={"Cookie": f"hounsfield={invented}"}) as client:
            assert client.get("/api/session").status_code == 401
            assert sign_in(client).cookies["hounsfield"] != invented


@pytest.mark.parametrize(
    "wanted",
    [
        *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "evil.example"),
        *("javascript:alert(1)", "/\tevil", "/\r\nSet-Cookie: a=b", "", "/a\\b", "/é", "/ /evil.example"),
        *("///evil.example", "/" * 900, "/%0d%0aX: y\n"),
    ],
    ids=range(15),
)
def test_signing_in_leads_to_a_page_of_ours_alone(archive: WebArchive, wanted: str) -> None:
    assert local(wanted) == "/"
    with archive.anonymous() as client:
        answer = sign_in(client, next=wanted)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert local("/viewer/1.2.3?a=%C3%A9#x") == "/viewer/1.2.3?a=%C3%A9#x"


def test_what_is_typed_is_shown_as_text(archive: WebArchive) -> None:
    script = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    with archive.anonymous() as client:
        page = sign_in(client, name=script, password="wrong").text
        assert "<script>" not in page and "<img" not in page and "&lt;script&gt;" in page
        assert "<script>" not in client.get("/login", params={"next": "/" + script}).text
    with archive.client() as client:
        client.put("/api/settings/archive_name", json={"value": script})
        client.put("/api/settings/sign_in_notice", json={"value": script})
        assert "<script>" not in client.get("/").text
        assert "&lt;script&gt;" in client.get("/login").text


def test_pages_load_nothing_from_elsewhere_and_run_nothing(archive: WebArchive) -> None:
    with archive.client() as client:
        for path in ("/", "/login", "/api/docs"):
            answer = client.get(path)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
            assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
            assert not re.search(r"<script|\son\w+=|style=|https?://", answer.text.replace(archive.url, ""))


def test_our_own_forms_come_with_their_origin(archive: WebArchive) -> None:
    """Under "no-referrer" browsers send `Origin: null` with a page's forms (Fetch, "append a request `Origin`
    header"): nobody could sign in. To other sites nothing is told all the same."""
    with archive.anonymous() as client:
        assert client.get("/login").headers["Referrer-Policy"] == "same-origin"
        form = {"name": ADMIN, "password": PASSWORD}
        assert client.post("/login", data=form, headers={"Origin": "null"}).status_code == 403
        own = {"Origin": archive.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/login", data=form, headers=own).status_code == 303


def test_a_crowd_that_signs_in_keeps_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking a password is slow on purpose. Whoever sends hundreds of wrong ones waits, and nobody else."""
    go_on = threading.Event()
    monkeypatch.setattr(signing_in, "check_password", lambda *_: go_on.wait(60) and False)
    with WebArchive(tmp_path, http_sign_in_rate=1000) as archive, ThreadPoolExecutor(40) as crowd:

        def guess(number: int) -> int:
            with archive.anonymous() as client:
                return client.post("/login", data={"name": f"n{number}", "password": "x"}).status_code

        guesses = [crowd.submit(guess, number) for number in range(40)]
        try:
            wait_for(lambda: sum(one.done() for one in guesses) >= 40 - MOST_OF_ADDRESS, "others are refused")
            assert {one.result() for one in guesses if one.done()} == {429}
            with archive.client() as client:
                assert client.get("/api/studies").status_code == 200
        finally:
            go_on.set()
        assert sorted(one.result() for one in guesses) == [401] * MOST_OF_ADDRESS + [429] * (
            40 - MOST_OF_ADDRESS
        )


def test_guessing_becomes_slow(archive: WebArchive) -> None:
    archive.account("victim", Role.RADIOLOGIST)
    with archive.anonymous() as client:
        statuses = [sign_in(client, "victim", f"guess {n}").status_code for n in range(12)]
        assert statuses[0] == 401 and statuses[-1] == 429
        refused = sign_in(client, "victim")
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0


def test_guessing_tokens_and_names_from_one_address_becomes_slow(tmp_path: Path) -> None:
    with WebArchive(tmp_path, http_sign_in_rate=5) as archive, archive.anonymous() as client:
        known = {"Authorization": f"Bearer {archive.admin_token}"}
        assert client.get("/api/session", headers=known).status_code == 200
        statuses = []
        for n in range(8):
            guess = {"Authorization": f"Bearer hf_{n:012x}_guess"}
            statuses.append(client.get("/api/session", headers=guess).status_code)
        assert statuses[:5] == [401] * 5 and statuses[-1] == 429
        assert sign_in(client, "nobody", "x").status_code == 429
        assert client.get("/api/session", headers=known).status_code == 200, "who is known is not kept out"


def test_a_wrong_name_and_a_wrong_password_are_told_alike(archive: WebArchive) -> None:
    with archive.anonymous() as client:
        told = [sign_in(client, name, "wrong password") for name in (ADMIN, "nobody")]
        pages = [answer.text.replace(ADMIN, "*").replace("nobody", "*") for answer in told]
        assert pages[0] == pages[1] and told[0].status_code == told[1].status_code == 401


def test_the_second_factor_is_asked_for(archive: WebArchive) -> None:
    with archive.signed_in() as client:
        enrolled = client.post("/api/session/second-factor", json={"password": "wrong"})
        assert enrolled.status_code == 422
        secret = client.post("/api/session/second-factor", json={"password": PASSWORD}).json()["secret"]
        assert client.post("/api/session/second-factor/confirm", json={"code": "abc"}).status_code == 422
        code = pyotp.TOTP(secret).now()
        codes = client.post("/api/session/second-factor/confirm", json={"code": code}).json()["codes"]
    with archive.anonymous() as client:
        asked = sign_in(client)
        assert asked.status_code == 200 and "One-time code" in asked.text
        assert PASSWORD not in asked.text and PASSWORD not in asked.headers["Set-Cookie"]
        assert client.get("/api/session").status_code == 401, "half signed in is not signed in"
        assert client.post("/login", data={"code": "000000"}).status_code == 401
        assert client.post("/login", data={"code": codes[0], "next": "/x"}).headers["Location"] == "/x"
        assert client.get("/api/session").json()["name"] == ADMIN
    with archive.anonymous() as client:
        assert client.post("/login", data={"code": codes[1]}).status_code == 401, "without the password"
        sealed = {"Cookie": "hounsfield-step=eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0.a.b.c.d"}
        assert client.post("/login", data={"code": codes[1]}, headers=sealed).status_code == 401


def test_ones_own_password_is_changed_with_the_old_one(archive: WebArchive) -> None:
    with archive.signed_in() as client, archive.signed_in() as elsewhere:
        new = "another horse battery"
        wrong = {"old": "wrong", "new": new}
        assert client.put("/api/session/password", json=wrong).status_code == 422
        before = client.cookies["hounsfield"]
        assert client.put("/api/session/password", json={"old": PASSWORD, "new": new}).status_code == 200
        assert client.cookies["hounsfield"] != before
        assert client.get("/api/session").status_code == 200
        assert elsewhere.get("/api/session").status_code == 401
    with archive.client() as client:
        answer = client.put("/api/session/password", json={"old": PASSWORD, "new": PASSWORD})
        assert answer.status_code == 403, "a token does not"


def test_basic_is_for_dicomweb_alone(archive: WebArchive) -> None:
    with archive.anonymous(auth=(ADMIN, PASSWORD)) as client:
        assert client.get("/dicom-web/studies").status_code in (200, 204)
        assert client.get("/api/session").status_code == 401
        assert client.get("/metrics").status_code == 401
    with archive.anonymous() as client:
        challenge = client.get("/dicom-web/studies").headers["WWW-Authenticate"]
        assert challenge.startswith('Basic realm="Hounsfield"') and "Bearer" in challenge
        assert "Basic" not in client.get("/api/session").headers["WWW-Authenticate"]
        for broken in ("Basic", "Basic !!!", "Basic /w==", "Digest a", "Bearer", "Bearer " + "a" * 5000):
            assert client.get("/dicom-web/studies", headers={"Authorization": broken}).status_code == 401


def test_basic_is_refused_where_it_could_be_read_on_the_way(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.7"}
    with (
        WebArchive(tmp_path, trusted_proxies="127.0.0.1") as archive,
        archive.anonymous(auth=(ADMIN, PASSWORD)) as client,
    ):
        assert client.get("/dicom-web/studies", headers=forwarded).status_code == 401
        secure = forwarded | {"X-Forwarded-Proto": "https"}
        assert client.get("/dicom-web/studies", headers=secure).status_code in (200, 204)
