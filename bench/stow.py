"""STOW-RS: how fast objects come in over HTTP, beside Orthanc with its DICOMweb plug-in, same bytes and run.

    python -m bench.stow [--only hounsfield orthanc] [--repetitions N] [--objects N]

A CT series of 512 KiB objects, in one request, in requests of a hundred, and one object a request (over one
connection). Every byte is made before the clock runs; the clients are plain sockets in this process.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import statistics
import time
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.peers import HOST, Hounsfield, Orthanc, free_port, wait_after_sweep
from bench.receive import STEADY, warm_memory
from bench.tables import report, table
from hounsfield.hospital.synthetic import ct_series

PASSWORD = "bench-only-password"
_BOUNDARY = "bench-boundary-of-stow"
_TYPE = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
#: Name of a way to send -> objects in one request; 0 for all.
WAYS = {"all in one request": 0, "requests of 100": 100, "one object a request": 1}
GOAL = 4.0


class WebOrthanc(Orthanc):
    """Orthanc with DICOMweb; otherwise at its defaults."""

    settings = "Debian's Orthanc with orthanc-dicomweb, default settings (SyncStorageArea on)"
    root = "/dicom-web"

    def __init__(self) -> None:
        super().__init__()
        self.http_port = free_port()

    @classmethod
    def missing(cls) -> str:
        if not Path(_PLUGIN).exists():
            return "orthanc-dicomweb: apt-get install orthanc-dicomweb"
        return super().missing()

    def command(self) -> Sequence[str]:
        program, path = super().command()
        configuration = json.loads(Path(path).read_text())
        configuration |= {"HttpPort": self.http_port, "Plugins": [_PLUGIN]}
        Path(path).write_text(json.dumps(configuration))
        return [program, path]

    def authorization(self) -> dict[str, str]:
        return {}


class WebHounsfield(Hounsfield):
    """`hounsfield serve` with its web role."""

    root = "/dicom-web"

    def __init__(self) -> None:
        super().__init__()
        self.http_port = free_port()

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "HOUNSFIELD_HTTP_PORT": str(self.http_port)}

    def authorization(self) -> dict[str, str]:
        told = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        return {"Authorization": f"Basic {told}"}

    def echo(self) -> None:
        super().echo()
        urllib.request.urlopen(f"http://{HOST}:{self.http_port}/healthz", timeout=5).close()


WebServer = WebOrthanc | WebHounsfield
KINDS: tuple[type[WebHounsfield] | type[WebOrthanc], ...] = (WebHounsfield, WebOrthanc)


def bodies(objects: Sequence[bytes], each: int) -> list[bytes]:
    """The bodies of the requests that store all of `objects`."""
    each = each or len(objects)
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    out = []
    for at in range(0, len(objects), each):
        parts = [piece for part10 in objects[at : at + each] for piece in (head, part10, b"\r\n")]
        out.append(b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()]))
    return out


def send(server: WebServer, requests: Sequence[bytes]) -> float:
    """Seconds until all of `requests` were answered with success, over one connection."""
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=300)
    headers = {"Content-Type": _TYPE, "Accept": "application/dicom+json", **server.authorization()}
    connection.request("GET", f"{server.root}/studies?limit=1", headers=headers)  # signed in, connected
    connection.getresponse().read()
    begun = time.perf_counter()
    for body in requests:
        connection.request("POST", f"{server.root}/studies", body, headers)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{server.name} answered {response.status}: {text[-500:]!r}")
    seconds = time.perf_counter() - begun
    connection.close()
    return seconds


class Run(NamedTuple):
    rate: float  # objects a second
    megabytes: float  # a second
    cpu_ms: float  # server CPU for each object


Results = dict[tuple[str, str], list[Run]]  # by way and server


def measure(server: WebServer, way: str, objects: int, key: str) -> Run:
    series = list(ct_series(objects, 512, 512, key=key))
    requests, size = bodies(series, WAYS[way]), sum(map(len, series))
    del series
    os.sync()
    warm_memory(2 * size)
    server.rest()
    before = server.cpu()
    seconds = send(server, requests)
    return Run(objects / seconds, size / seconds / 1e6, (server.cpu() - before) / objects * 1000)


def run(names: Sequence[str], objects: int, repetitions: int) -> Results:
    """In alternating order. Servers and UIDs are new in each repetition, and UIDs for each way."""
    results: Results = defaultdict(list)
    for repetition in range(repetitions):
        for kind in KINDS if repetition % 2 == 0 else KINDS[::-1]:
            if kind.name not in names:
                continue
            with kind() as server:
                send(server, bodies(list(ct_series(20, 96, 96, key=f"stow/{repetition}/warm")), 0))
                for way in WAYS:
                    found = measure(server, way, objects, f"stow/{repetition}/{way}")
                    results[way, kind.name].append(found)
                    print(f"{kind.name:10} {way:20} {found.rate:7.0f} objects/s", flush=True)
    return results


def summary(results: Results, objects: int) -> str:
    rows: list[list[object]] = []
    for (way, name), runs in sorted(results.items(), key=lambda item: list(WAYS).index(item[0][0])):
        theirs = results.get((way, WebOrthanc.name))
        pairs = [ours.rate / other.rate for ours, other in zip(runs, theirs or (), strict=False)]
        rates = [one.rate for one in runs]
        row = [way, name, statistics.median(rates), max(rates)]
        row += [statistics.median(one.megabytes for one in runs)]
        row += [statistics.median(one.cpu_ms for one in runs)]
        rows.append([*row, f"{statistics.median(pairs):.2f}" if pairs else ""])
    heads = [f"{objects} objects", "server", "objects/s", "best", "MB/s", "CPU ms/object", "/ orthanc"]
    settings = "\n".join(f"- {kind.name}: {kind.settings}" for kind in KINDS)
    return (
        f"{table(heads, rows)}\n\nGoal: {GOAL:g} times Orthanc's objects a second.\n\n"
        f"512 KiB CT images; medians; {STEADY}.\n{settings}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.stow", description=(__doc__ or "").splitlines()[0])
    choices = [kind.name for kind in KINDS]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--objects", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    names = [kind.name for kind in KINDS if kind.name in chosen.only and not kind.missing()]
    wait_after_sweep()
    report("STOW-RS", summary(run(names, chosen.objects, chosen.repetitions), chosen.objects))


if __name__ == "__main__":
    main()
