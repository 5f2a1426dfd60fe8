"""WADO-RS beside Orthanc with its DICOMweb plug-in (same objects, same run), and nginx with the same bytes.

    python -m bench.wado [--only hounsfield orthanc nginx] [--repetitions N] [--images N]

A CT series of 512 KiB images as one answer (transfer-syntax=*: as it is stored), its frames one by one over
one connection, 64 clients at once, and the metadata of a series of 1,000. Clients are plain sockets in this
process; files are in the page cache.
"""

from __future__ import annotations

import argparse
import getpass
import http.client
import json
import os
import selectors
import shutil
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.peers import HOST, Server, sweep, wait_after_sweep
from bench.stow import WebHounsfield, WebOrthanc, WebServer, bodies, send
from bench.tables import report, table
from hounsfield.hospital.synthetic import ct_series

CLIENTS = 64
METADATA_OBJECTS = 1000
_OBJECTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
_JSON = "application/dicom+json"


class Nginx(Server):
    """What a server of files can do: the body that Hounsfield sent, as a file."""

    name = "nginx"
    settings = "Debian's nginx, one worker, sendfile"

    def __init__(self) -> None:
        super().__init__()
        self.http_port = self.port
        (self.folder / "files").mkdir()

    @classmethod
    def missing(cls) -> str:
        return (
            "" if shutil.which("nginx", path="/usr/sbin:/usr/bin") else "nginx: apt-get install nginx-light"
        )

    def authorization(self) -> dict[str, str]:
        return {}

    def command(self) -> Sequence[str]:
        folder = self.folder
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr; user {getpass.getuser()};"
            "events { worker_connections 256; }"
            f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; {paths}"
            f"server {{ listen {HOST}:{self.port}; root {folder}/files; }} }}"
        )
        return ["/usr/sbin/nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder)]

    def echo(self) -> None:
        socket.create_connection((HOST, self.port), 1).close()


@dataclass(frozen=True)
class Series:
    """Where a stored series is."""

    study: str
    series: str
    instances: list[str]

    def path(self, root: str) -> str:
        return f"{root}/studies/{self.study}/series/{self.series}"

    def frames(self, root: str) -> list[str]:
        return [f"{self.path(root)}/instances/{uid}/frames/1" for uid in self.instances]


@dataclass
class Results:
    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # MB/s of the series
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # ms an object
    frames: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # ms each
    crowds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # ms each
    crowd_rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # frames/s
    metadata: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))  # ms


def stored(server: WebServer, count: int, side: int, key: str) -> Series:
    objects = list(ct_series(count, side, side, key=key))
    send(server, bodies(objects, 100))
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=300)
    found = _json(
        connection, server, f"{server.root}/instances?PatientName=*&limit=5000&includefield=00080018"
    )
    uids = _series_of(objects[0])
    instances = [one["00080018"]["Value"][0] for one in found if one["0020000E"]["Value"][0] == uids[1]]
    if len(instances) != count:
        raise RuntimeError(f"{server.name} finds {len(instances)} of {count} objects")
    return Series(*uids, sorted(instances))


def _series_of(part10: bytes) -> tuple[str, str]:
    import io

    import pydicom

    data_set = pydicom.dcmread(io.BytesIO(part10), specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
    return str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID)


def _json(
    connection: http.client.HTTPConnection, server: WebServer, path: str
) -> list[dict[str, dict[str, list[str]]]]:
    answer: list[dict[str, dict[str, list[str]]]] = json.loads(fetch(connection, path, _JSON, server)[1])
    return answer


def fetch(
    connection: http.client.HTTPConnection,
    path: str,
    accept: str,
    server: WebServer | Nginx,
    more: Mapping[str, str] | None = None,
) -> tuple[float, bytes]:
    """Seconds to the last byte, and the body."""
    headers = {"Accept": accept, **server.authorization(), **(more or {})}
    begun = time.perf_counter()
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    seconds = time.perf_counter() - begun
    if response.status != 200:
        raise RuntimeError(f"{server.name} answered {response.status}: {body[:300]!r}")
    return seconds, body


def drain(path: str, server: WebServer | Nginx, into: bytearray) -> tuple[float, int]:
    """Seconds from the request to the end of a long answer, and its bytes, which are kept nowhere."""
    told = "".join(f"{name}: {value}\r\n" for name, value in server.authorization().items())
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAccept: {_OBJECTS}\r\n{told}\r\n"
    with socket.create_connection((HOST, server.http_port), 300) as sock:
        begun = time.perf_counter()
        sock.sendall(request.encode())
        total = sock.recv_into(into)
        if b" 200 " not in into[:32]:
            raise RuntimeError(f"{server.name} answered {bytes(into[:200])!r}")
        while count := sock.recv_into(into):
            total += count
        return time.perf_counter() - begun, total


def retrieve_series(server: WebServer | Nginx, path: str, images: int, results: Results, times: int) -> None:
    into = bytearray(1 << 20)
    for _ in range(times):
        before = server.cpu()
        seconds, total = drain(path, server, into)
        if total < images * 512 * 1024:
            raise RuntimeError(f"{server.name} sent {total} bytes")
        results.rates[server.name].append(total / seconds / 1e6)
        results.cpu[server.name].append((server.cpu() - before) / images * 1000)


def retrieve_frames(server: WebServer | Nginx, paths: Sequence[str], results: Results) -> None:
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=300)
    fetch(connection, paths[0], _FRAMES, server)
    for path in paths:
        seconds, body = fetch(connection, path, _FRAMES, server)
        if len(body) < 512 * 1024:
            raise RuntimeError(f"{server.name} sent {len(body)} bytes")
        results.frames[server.name].append(seconds * 1000)
    connection.close()


@dataclass
class _Client:
    """One of many at once: its connection, and how far its answer is."""

    sock: socket.socket
    at: int
    begun: float = 0.0
    left: int = -1  # bytes of the body; -1 while the head is not there
    head: bytes = b""


def crowd(server: WebServer | Nginx, paths: Sequence[str], results: Results, each: int) -> None:
    """Each of `CLIENTS` asks for `each` frames, one after the other."""
    told = "".join(f"{name}: {value}\r\n" for name, value in server.authorization().items())
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: {_FRAMES}\r\n{told}\r\n".encode() for path in paths
    ]
    selector = selectors.DefaultSelector()
    begun = time.perf_counter()
    for number in range(CLIENTS):
        client = _Client(_connected(server), number)
        selector.register(client.sock, selectors.EVENT_READ, client)
        _ask(client, requests)
    done, wanted, buffer = 0, CLIENTS * each, bytearray(1 << 18)
    while done < wanted:
        for key, _ in selector.select():
            one: _Client = key.data
            complete = _read(one, server, buffer)
            if complete is None:  # closed between two answers
                selector.unregister(one.sock)
                one.sock.close()
                one.sock = _connected(server)
                selector.register(one.sock, selectors.EVENT_READ, one)
                one.sock.send(requests[one.at % len(requests)])
            if not complete:
                continue
            results.crowds[server.name].append((time.perf_counter() - one.begun) * 1000)
            done += 1
            one.at += CLIENTS
            if one.at // CLIENTS < each:
                _ask(one, requests)
    results.crowd_rates[server.name].append(wanted / (time.perf_counter() - begun))
    for key in list(selector.get_map().values()):
        key.data.sock.close()


def _connected(server: WebServer | Nginx) -> socket.socket:
    sock = socket.create_connection((HOST, server.http_port), 30)
    sock.setblocking(False)
    return sock


def _ask(client: _Client, requests: Sequence[bytes]) -> None:
    client.head, client.left, client.begun = b"", -1, time.perf_counter()
    client.sock.send(requests[client.at % len(requests)])


def _read(client: _Client, server: WebServer | Nginx, buffer: bytearray) -> bool | None:
    """Whether the answer is complete; None where the connection was closed before there was any."""
    try:
        count = client.sock.recv_into(buffer)
    except ConnectionResetError:
        count = 0
    if not count and client.left < 0 and not client.head:
        return None
    if not count:
        raise RuntimeError(f"{server.name} closed a connection")
    if client.left < 0:
        client.head += buffer[:count]
        head, end, body = client.head.partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.lower().split(b"\r\n")
        if b" 200" not in lines[0]:
            raise RuntimeError(f"{server.name} answered {lines[0]!r}")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        if not lengths:
            raise RuntimeError(f"{server.name} tells no Content-Length")
        client.left = lengths[0] - len(body)
    else:
        client.left -= count
    return client.left == 0


def retrieve_metadata(server: WebServer, results: Results, repetition: int) -> None:
    key = f"wado-metadata-{repetition}"
    series = stored(server, METADATA_OBJECTS, 64, key)
    path = series.path(server.root) + "/metadata"
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=300)
    zipped = {"Accept-Encoding": "gzip"}
    first, _ = fetch(connection, path, _JSON, server, zipped)
    results.metadata["first asking", server.name].append(first * 1000)
    if isinstance(server, WebHounsfield):
        server.wait_until_settled()
    for name, more in (("settled, gzip", zipped), ("settled", {})):
        for _ in range(5):
            seconds, body = fetch(connection, path, _JSON, server, more)
            results.metadata[name, server.name].append(seconds * 1000)
    if len(json.loads(body)) != METADATA_OBJECTS:
        raise RuntimeError(f"{server.name} describes {len(json.loads(body))} objects")


def run(names: Sequence[str], repetitions: int, images: int) -> Results:
    results = Results()
    copy = b""
    kinds: list[type[WebHounsfield] | type[WebOrthanc]] = [WebHounsfield, WebOrthanc]
    for repetition in range(repetitions):
        for kind in kinds:
            if kind.name not in names or kind.missing():
                continue
            server = kind()
            if isinstance(server, WebHounsfield):
                server.settle_seconds = 5
            with server:
                series = stored(server, images, 512, f"wado-{repetition}")
                if isinstance(server, WebHounsfield):
                    server.wait_until_settled()
                os.sync()
                path = series.path(server.root)
                retrieve_series(server, path, images, results, 5)
                retrieve_frames(server, series.frames(server.root), results)
                try:
                    crowd(server, series.frames(server.root), results, 20)
                except RuntimeError as error:
                    if server.name == WebHounsfield.name:
                        raise
                    print(f"{CLIENTS} clients at once: {error}", flush=True)
                retrieve_metadata(server, results, repetition)
                if not copy and "nginx" in names and isinstance(server, WebHounsfield):
                    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=300)
                    copy = fetch(connection, path, _OBJECTS, server)[1]
        if copy and not Nginx.missing():
            with Nginx() as nginx:
                files = nginx.folder / "files"
                (files / "series").write_bytes(copy)
                (files / "frame").write_bytes(copy[: 512 * 1024 + 400])
                retrieve_series(nginx, "/series", images, results, 5)
                retrieve_frames(nginx, ["/frame"] * images, results)
                crowd(nginx, ["/frame"] * images, results, 20)
    return results


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else float("nan")


def summary(results: Results) -> str:
    rows: list[list[object]] = []
    rate = {name: statistics.median(values) for name, values in results.rates.items()}
    for name, values in results.rates.items():
        frames, many = results.frames[name], results.crowds[name]
        rows.append(
            [
                name,
                rate[name],
                f"{rate[name] / rate['orthanc']:.2f}" if "orthanc" in rate else "",
                f"{rate[name] / rate['nginx']:.2f}" if "nginx" in rate else "",
                max(values),
                statistics.median(results.cpu[name]),
                _quantile(frames, 0.5),
                _quantile(frames, 0.99),
                statistics.median(results.crowd_rates[name] or [float("nan")]),
                _quantile(many, 0.5),
                _quantile(many, 0.99),
            ]
        )
    heads = ["server", "series MB/s", "/ orthanc", "/ nginx", "best", "CPU ms/object"]
    heads += ["frame p50 ms", "p99", f"{CLIENTS} clients: frames/s", "p50 ms", "p99"]
    metadata = [
        [what, name, statistics.median(values), max(values)]
        for (what, name), values in sorted(results.metadata.items())
    ]
    return (
        f"{table(heads, rows)}\n\nGoals: 2 times Orthanc's MB/s and half of nginx's; frame p50 at most half "
        f"of Orthanc's; p99 of {CLIENTS} clients within 5 times p50.\n\n"
        f"{table([f'metadata of {METADATA_OBJECTS}', 'server', 'median ms', 'most'], metadata)}\n\n"
        "Goals: 1 s at first asking, 30 ms once settled."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.wado", description=(__doc__ or "").splitlines()[0])
    choices = [WebHounsfield.name, WebOrthanc.name, Nginx.name]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=400)
    chosen = parser.parse_args(arguments)
    wait_after_sweep()
    report("WADO-RS", summary(run(chosen.only, chosen.repetitions, chosen.images)))


if __name__ == "__main__":
    main()
    sweep()
