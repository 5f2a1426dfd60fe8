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
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.peers import HOST, Hounsfield, Orthanc, Server, free_port, sweep, wait_after_sweep
from bench.tables import report, table
from hounsfield.hospital.synthetic import ct_series

PASSWORD = "bench-only-password"
_BOUNDARY = "bench-boundary-of-stow"
_TYPE = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
#: Name of a way to send -> objects in one request; 0 for all.
WAYS = {"one request": 0, "requests of 100": 100, "one object each": 1}


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

    def start(self) -> None:
        super().start()
        self._wait_for_web()

    def _wait_for_web(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.http_port}/healthz", timeout=5):
                    return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


WebServer = WebOrthanc | WebHounsfield
KINDS: dict[str, Callable[[], WebServer]] = {"hounsfield": WebHounsfield, "orthanc": WebOrthanc}


def bodies(objects: Sequence[bytes], each: int) -> list[bytes]:
    """The bodies of the requests that store all of `objects`."""
    each = each or len(objects)
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    out = []
    for at in range(0, len(objects), each):
        parts = [head + part10 + b"\r\n" for part10 in objects[at : at + each]]
        out.append(b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode())
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
            raise RuntimeError(f"{server.name} answered {response.status}: {text[:500]!r}")
    seconds = time.perf_counter() - begun
    connection.close()
    return seconds


def measure(names: Sequence[str], objects: int, repetitions: int) -> str:
    seconds: dict[tuple[str, str], list[float]] = {}
    size = 0
    for repetition in range(repetitions):
        for name in names:
            with KINDS[name]() as server:
                for way, each in WAYS.items():
                    series = list(ct_series(objects, 512, 512, key=f"stow/{repetition}/{way}"))
                    size = sum(map(len, series))
                    seconds.setdefault((way, name), []).append(send(server, bodies(series, each)))
    rows: list[list[object]] = []
    for way in WAYS:
        median = {name: statistics.median(seconds[way, name]) for name in names}
        for name in names:
            ratio = median["orthanc"] / median[name] if "orthanc" in median else 0.0
            rows.append([way, name, objects / median[name], size / median[name] / 1e6, f"{ratio:.1f}"])
    return table(["objects", "server", "objects/s", "MB/s", "times Orthanc"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.stow", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--objects", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    kinds: list[type[Server]] = [WebHounsfield, WebOrthanc]
    names = [kind.name for kind in kinds if kind.name in chosen.only and not kind.missing()]
    wait_after_sweep()
    report("STOW-RS", measure(names, chosen.objects, chosen.repetitions))


if __name__ == "__main__":
    main()
    sweep()
