"""Clients of the web role that mean harm, or are broken: slow, endless, too many, lying about themselves."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from hounsfield.domain.access import Role
from support_services import part10
from support_web import WebArchive, wait_for


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    folder = tmp_path_factory.mktemp("http")
    settings = {"http_header_seconds": 0.5, "http_stall_seconds": 0.5, "http_max_header": 16}
    with WebArchive(folder, **settings, http_connections_per_address=40, http_rate=0) as archive:
        yield archive


def connected(archive: WebArchive) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", archive.port), 20)
    sock.settimeout(20)
    return sock


def all_of(sock: socket.socket) -> bytes:
    """What comes until the server closes."""
    pieces = []
    try:
        while piece := sock.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    return b"".join(pieces)


def said(archive: WebArchive, data: bytes) -> bytes:
    with closing(connected(archive)) as sock:
        sock.sendall(data)
        return all_of(sock)


def head(archive: WebArchive, *lines: str, method: str = "GET", path: str = "/api/session") -> bytes:
    first = (f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {archive.admin_token}")
    return "\r\n".join((*first, *lines, "", "")).encode("latin-1")


# Slow ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begun", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "], ids=["none", "one", "some"]
)
def test_a_head_that_does_not_come_ends_the_connection(archive: WebArchive, begun: bytes) -> None:
    assert said(archive, begun).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_ends_the_connection(archive: WebArchive) -> None:
    with closing(connected(archive)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        try:
            for n in range(2000):
                sock.sendall(b"X-%d: a\r\n" % n)
                time.sleep(0.005)
        except (BrokenPipeError, ConnectionResetError):
            return
        pytest.fail("ten seconds of it were taken")


def test_the_second_head_of_a_connection_has_its_time_too(archive: WebArchive) -> None:
    with closing(connected(archive)) as sock:
        sock.sendall(head(archive) + b"GET /api")
        answers = all_of(sock)
    assert answers.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 408 " in answers


@pytest.mark.parametrize("path", ["/api/devices", "/dicom-web/studies"])
def test_a_body_that_does_not_come_ends_the_connection(archive: WebArchive, path: str) -> None:
    asked = head(archive, "Content-Length: 1000", "Content-Type: application/json", method="POST", path=path)
    answer = said(archive, asked + b"{")
    assert answer == b"" or answer.split(b" ")[1] in (b"408", b"400", b"415")


def test_a_client_that_does_not_take_its_answer_is_let_go(tmp_path: Path) -> None:
    with WebArchive(tmp_path, http_stall_seconds=0.5, large_object=1) as archive:
        archive.store(part10("1.2.3.4.7", pixels=bytes(24 << 20)))
        with closing(socket.socket()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(("127.0.0.1", archive.port))
            path = "/dicom-web/studies/1.2.3/series/1.2.3.1/instances/1.2.3.4.7"
            sock.sendall(head(archive, "Accept: */*", path=path))
            assert sock.recv(20).startswith(b"HTTP/1.1 200")
            assert archive._server is not None
            connections = archive._server.server_state.connections
            wait_for(lambda: not connections, "the connection was ended")


# Large --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [["X: " + "a" * 20_000], [f"X-{n}: a" for n in range(4000)], ["X" * 20_000 + ": a"]],
    ids=["value", "count", "name"],
)
def test_a_large_head_is_refused(archive: WebArchive, lines: list[str]) -> None:
    assert said(archive, head(archive, *lines)).startswith(b"HTTP/1.1 431 ")


def test_an_endless_head_is_refused(archive: WebArchive) -> None:
    assert said(archive, b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000).startswith(b"HTTP/1.1 431 ")
    assert said(archive, b"GET /" + b"a" * 20_000).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("piece", [b"x-a: " + b"v" * 1000 + b"\r\n", b"v" * 1000], ids=["many", "one"])
def test_endless_trailers_are_refused(archive: WebArchive, piece: bytes) -> None:
    """Behind the last chunk fields may follow, and nobody needs to sign in to send them."""
    lines = ("POST /login HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "3", "a=b", "0", "x: ")
    with closing(connected(archive)) as sock:
        sock.sendall("\r\n".join(lines).encode())
        try:
            for _ in range(4000):
                sock.sendall(piece)
        except (ConnectionError, TimeoutError):
            pass
        else:
            pytest.fail("all of them were taken")


def test_chunks_may_be_small_and_many(archive: WebArchive) -> None:
    sent = b'{"limit": 1}' + b" " * 20_000  # in chunks of a byte: five times as much stands beside it
    with archive.client(headers={"Content-Type": "application/json"}) as client:
        pieces = (sent[at : at + 1] for at in range(len(sent)))
        assert client.post("/api/studies/search", content=pieces).status_code == 200


def test_a_large_body_is_refused(archive: WebArchive) -> None:
    large = 2 << 20
    with archive.client() as client:
        answer = client.post("/api/studies/search", content=b" " * large)
        assert answer.status_code == 413 and answer.json()["title"] == "The request is too large"
    chunks = b"".join(b"%x\r\n%s\r\n" % (65536, b" " * 65536) for _ in range(large // 65536))
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/json", "Connection: close")
    with closing(connected(archive)) as sock:
        sock.sendall(head(archive, *lines, method="POST", path="/api/studies/search"))
        try:
            sock.sendall(chunks + b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        got = all_of(sock)
        assert got == b"" or got.startswith(b"HTTP/1.1 413 ")


def test_deep_json_is_refused(archive: WebArchive) -> None:
    with archive.client() as client:
        for body in (b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b'{"patient_id": "\\ud800"}', b"1e999"):
            headers = {"Content-Type": "application/json"}
            answer = client.post("/api/studies/search", content=body, headers=headers)
            assert answer.status_code in (400, 422), (body[:10], answer.status_code)
            assert answer.headers["Content-Type"] == "application/problem+json"
        assert client.get("/healthz").status_code == 200


def test_connections_of_one_address_have_a_limit(archive: WebArchive) -> None:
    sockets = [connected(archive) for _ in range(60)]
    try:
        refused = [all_of(sock) for sock in sockets[45:]]
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused if answer)
        assert any(refused)
    finally:
        for sock in sockets:
            sock.close()
    wait_for(lambda: archive.anonymous().get("/healthz").status_code == 200, "others get in again")


# Lying --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00ARCHIVE         ME              ",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET  /  HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET http://evil.example/api/session HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%00%ff%0d%0aX:y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(range(256)) * 20,
    ],
    ids=range(16),
)
def test_what_is_no_request_gets_nothing(archive: WebArchive, data: bytes) -> None:
    answer = said(archive, data)
    assert answer == b"" or answer.split(b" ")[1] in (b"400", b"401", b"404", b"408", b"431", b"405", b"303")
    assert b"Traceback" not in answer
    with archive.anonymous() as client:
        assert client.get("/healthz").status_code == 200


def test_headers_cannot_be_put_into_answers(archive: WebArchive) -> None:
    evil = "%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0a<script>"
    for path in (f"/login?next=/{evil}", f"/{evil}", f"/dicom-web/studies/{evil}", f"/api/devices/{evil}"):
        answer = said(archive, head(archive, "Connection: close", path=path))
        assert b"set-cookie: a=b" not in answer.lower().partition(b"\r\n\r\n")[0]
    lines = ("Connection: close", "X-Request-Id: a", "Accept: text/html")
    with archive.anonymous() as client:
        form = {"name": "a\r\nSet-Cookie: x=y", "password": "b", "next": "/\r\nSet-Cookie: x=y"}
        assert "set-cookie" not in client.post("/login", data=form).headers
    assert said(archive, head(archive, *lines)).startswith(b"HTTP/1.1 200 ")


def test_the_host_header_does_not_lead_elsewhere(archive: WebArchive) -> None:
    for host in ("evil.example/path", "evil.example\tx", 'a"b', "a@b", "<script>", "a" * 300, ""):
        with archive.client(headers={"Host": host}) as client:
            answer = client.get("/")
            assert answer.status_code in (200, 400), host
            if answer.status_code == 200:
                assert "http://localhost/dicom-web" in answer.text, host


def test_only_trusted_proxies_say_where_a_request_comes_from(tmp_path: Path) -> None:
    lies = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"}
    with WebArchive(tmp_path / "a") as archive, archive.client(headers=lies) as client:
        assert "Strict-Transport-Security" not in client.get("/api/studies").headers
        archive.web.audit.flush()
        assert archive.event("search.answered").payload["address"] == "127.0.0.1"
    told = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.0.0.7", "X-Forwarded-Proto": "https"}
    with (
        WebArchive(tmp_path / "b", trusted_proxies="127.0.0.1,10.0.0.0/8") as archive,
        archive.client(headers=told) as client,
    ):
        assert client.get("/api/studies").headers["Strict-Transport-Security"].startswith("max-age=")
        archive.web.audit.flush()
        assert archive.event("search.answered").payload["address"] == "203.0.113.9"


def test_what_is_told_to_this_machine_alone_is_not_told_through_a_proxy(archive: WebArchive) -> None:
    with archive.anonymous() as client:
        assert client.get("/readyz").status_code == 200
        for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Forwarded-Proto"):
            assert client.get("/readyz", headers={header: "x"}).status_code == 401, header


def test_too_many_requests_are_told_to_wait(tmp_path: Path) -> None:
    with WebArchive(tmp_path, http_rate=5) as archive, archive.client() as client:
        answers = [client.get("/api/session") for _ in range(60)]
        slow = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200 and slow
        assert int(slow[0].headers["Retry-After"]) >= 1
        token = archive.account("other", Role.RADIOLOGIST)
        with archive.client(token) as other:
            assert other.get("/api/session").status_code == 200, "each has a limit of its own"


# Other origins ------------------------------------------------------------------------------------------


def test_pages_of_other_origins_read_nothing_unless_asked_for(archive: WebArchive, tmp_path: Path) -> None:
    origin = {"Origin": "https://viewer.example"}
    with archive.client(headers=origin) as client:
        assert not [name for name in client.get("/api/session").headers if name.startswith("access-control")]
    preflight = origin | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    with archive.anonymous(headers=preflight) as client:
        assert client.options("/dicom-web/studies").status_code in (401, 405)
    with WebArchive(tmp_path, cors_origins="https://viewer.example") as other:
        with other.anonymous(headers=preflight) as client:
            answer = client.options("/dicom-web/studies")
            assert answer.status_code == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "https://viewer.example"
            assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
            assert "Access-Control-Allow-Credentials" not in answer.headers
        with other.client(headers={"Origin": "https://evil.example"}) as client:
            assert "Access-Control-Allow-Origin" not in client.get("/dicom-web/studies").headers


def test_every_answer_carries_the_headers_that_protect(archive: WebArchive) -> None:
    with archive.client() as client, archive.anonymous() as nobody:
        answers: list[httpx.Response] = [
            *(client.get(path) for path in ("/", "/healthz", "/api/session", "/nothing", "/metrics")),
            *(nobody.get(path) for path in ("/login", "/api/session")),
            client.post("/api/devices", json={}),
        ]
    for answer in answers:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src" in answer.headers["Content-Security-Policy"]
        assert "server" not in answer.headers
