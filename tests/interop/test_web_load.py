"""Many clients of `hounsfield web` at once: each gets all that it asked for, whatever the others do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import imagecodecs
import numpy as np
import pytest

from hounsfield.hospital.synthetic import ct_series
from support_server import wait_for
from support_stow import new_uid, stow
from support_wado import OCTETS, data_set_of, image, of_file, parts_of, read, related
from support_web_process import WebProcess

pytestmark = pytest.mark.timeout(300)

CLIENTS, EACH = 64, 16
IMAGES, ROWS = 40, 128
#: All of 127.0.0.0/8 is this machine: another address than that of a flood.
ELSEWHERE = "127.0.0.9"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    with WebProcess(tmp_path_factory.mktemp("load"), segment_size=16) as made:
        yield made


@pytest.fixture(scope="module")
def series(web: WebProcess) -> list[bytes]:
    files = list(ct_series(IMAGES, ROWS, ROWS, key="test-web-load"))
    with web.client() as client:
        assert stow(client, files).status_code == 200
    return files


class Asking:
    """What a client asks, and whether the answer is whole."""

    def __init__(self, series: list[bytes]) -> None:
        self.files = series
        self.at = [of_file(file) for file in series]
        self.pixels = [read(file).PixelData for file in series]
        self.uids = {str(read(file).SOPInstanceUID) for file in series}
        self.kinds = [self.frame, self.search, self.rendered, self.instance, self.metadata, self.compressed]

    def one(self, client: httpx.Client, number: int) -> None:
        self.kinds[number % len(self.kinds)](client, number % IMAGES)

    def frame(self, client: httpx.Client, n: int) -> None:
        assert parts_of(ok(client.get(f"{self.at[n].instance}/frames/1")))[0].data == self.pixels[n]

    def search(self, client: httpx.Client, n: int) -> None:
        found = ok(client.get(f"{self.at[n].series}/instances", params={"limit": 100})).json()
        assert {one["00080018"]["Value"][0] for one in found} == self.uids

    def rendered(self, client: httpx.Client, n: int) -> None:
        answer = ok(client.get(f"{self.at[n].instance}/rendered", headers={"Accept": "image/jpeg"}))
        assert imagecodecs.jpeg8_decode(answer.content).shape == (ROWS, ROWS)

    def instance(self, client: httpx.Client, n: int) -> None:
        (part,) = parts_of(ok(client.get(self.at[n].instance, headers=related(syntax="*"))))
        assert data_set_of(part.data) == data_set_of(self.files[n])

    def metadata(self, client: httpx.Client, n: int) -> None:
        assert len(ok(client.get(f"{self.at[n].series}/metadata")).json()) == IMAGES

    def compressed(self, client: httpx.Client, n: int) -> None:
        answer = ok(client.get(f"{self.at[n].instance}/frames/1", headers={"Accept": "image/jphc"}))
        cells = imagecodecs.htj2k_decode(answer.content)
        assert np.array_equal(cells.astype("<i2").ravel(), np.frombuffer(self.pixels[n], "<i2"))


def ok(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 200, answer.text
    if "content-length" in answer.headers and "content-encoding" not in answer.headers:
        assert int(answer.headers["content-length"]) == len(answer.content)
    return answer


def all_at_once(web: WebProcess, series: list[bytes], clients: int = CLIENTS, each: int = EACH) -> None:
    asking = Asking(series)

    def work(number: int) -> int:
        transport = httpx.HTTPTransport(local_address=ELSEWHERE)
        with web.client(transport=transport) as client:
            for turn in range(each):
                asking.one(client, number + turn)
        return each

    with ThreadPoolExecutor(clients) as pool:
        assert sum(pool.map(work, range(clients))) == clients * each


def test_64_clients_get_every_answer_whole(web: WebProcess, series: list[bytes]) -> None:
    all_at_once(web, series)


def test_clients_store_while_others_read(web: WebProcess, series: list[bytes]) -> None:
    def bring(number: int) -> int:
        with web.client() as client:
            return stow(client, [image(64, 64, PatientID=f"L{number}-{n}") for n in range(10)]).status_code

    with ThreadPoolExecutor(8) as pool:
        stored = [pool.submit(bring, number) for number in range(16)]
        all_at_once(web, series, clients=16, each=12)
        assert [one.result() for one in stored] == [200] * 16


def asked(web: WebProcess, path: str, **more: int) -> socket.socket:
    """A connection on which something was asked, and nothing is read."""
    sock = socket.socket()
    if "window" in more:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, more["window"])
    sock.settimeout(60)
    sock.connect(("127.0.0.1", web.web_port))
    accept = related(OCTETS if "/frames/" in path else "application/dicom", "*")["Accept"]
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {web.token}\r\nAccept: {accept}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    return sock


def rest(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def test_slow_readers_cost_the_others_nothing(web: WebProcess, series: list[bytes]) -> None:
    """Fifty of them hold answers of several megabytes; in the end they get them whole as well."""
    movie = image(256, 256, frames=64, StudyInstanceUID=new_uid())
    with web.client() as client:
        assert stow(client, [movie]).status_code == 200
    paths = [of_file(movie).study, of_file(series[0]).study, f"{of_file(movie).instance}/frames/1,2,3,4,5"]
    before = web.tree()
    with ExitStack() as stack:
        slow = [stack.enter_context(asked(web, paths[n % 3], window=4096)) for n in range(48)]
        begun = [sock.recv(12) for sock in slow]
        assert set(begun) == {b"HTTP/1.1 200"}
        all_at_once(web, series, clients=16, each=6)
        assert web.tree() - before < 100 << 20
        whole: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
        for n, sock in enumerate(slow):
            head, _, body = rest(sock).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            assert len(body) == length
            whole[n % 3].add(length)
        assert min(map(min, whole.values())) > 600_000
        assert all(len(lengths) == 1 for lengths in whole.values())


def test_a_flood_of_connections_keeps_out_nobody_else(web: WebProcess, series: list[bytes]) -> None:
    """One address opens far more than it may have: those beyond are told so, others are served."""
    with ExitStack() as stack:
        flood = [
            stack.enter_context(socket.create_connection(("127.0.0.1", web.web_port), 30)) for _ in range(600)
        ]
        beyond = flood[-1].recv(100)
        assert beyond == b"" or beyond.startswith(b"HTTP/1.1 503 ")
        all_at_once(web, series, clients=16, each=6)
    with web.client() as client:
        wait_for(lambda: client.get("/healthz").status_code == 200, "the address gets in again")
