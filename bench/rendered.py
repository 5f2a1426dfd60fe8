"""Rendered JPEG of CT images beside Orthanc with its DICOMweb plug-in: same objects, same run.

    python -m bench.rendered [--only hounsfield orthanc] [--repetitions N] [--images N] [--clients N]

Images of 512 x 512 pixels of 16 bits, one by one over connections that stay; first over one, then over
several at once. The servers are warm and the files are in the page cache, but every image is rendered: each
pass asks for a window that was not asked for before. Both servers run all the time, and passes take turns, so
that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from bench.peers import HOST, sweep, wait_after_sweep
from bench.stow import WebHounsfield, WebOrthanc, WebServer
from bench.tables import report, table
from bench.wado import fetch, stored

_JPEG = "image/jpeg"
Rates = dict[tuple[str, int], list[float]]  # images a second, by server and clients


def _ask(server: WebServer, paths: Sequence[str], problems: list[str]) -> None:
    connection = http.client.HTTPConnection(HOST, server.http_port, timeout=60)
    try:
        for path in paths:
            _, body = fetch(connection, path, _JPEG, server)
            if not body.startswith(b"\xff\xd8"):
                problems.append(f"{server.name} sent no JPEG")
    except (RuntimeError, OSError) as error:
        problems.append(str(error))
    finally:
        connection.close()


def rate(server: WebServer, paths: Sequence[str], clients: int) -> float:
    """Images a second. Raises RuntimeError where one did not come."""
    problems: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(server, paths[n::clients], problems)) for n in range(clients)
    ]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begun
    if problems:
        raise RuntimeError(problems[0])
    return len(paths) / seconds


def run(names: Sequence[str], repetitions: int, images: int, clients: int) -> Rates:
    rates: Rates = defaultdict(list)
    kinds: list[type[WebHounsfield] | type[WebOrthanc]] = [WebHounsfield, WebOrthanc]
    with ExitStack() as stack:
        servers: list[tuple[WebServer, list[str]]] = []
        for kind in kinds:
            if kind.name in names and not kind.missing():
                server = stack.enter_context(kind())
                series = stored(server, images, 512, "rendered")
                base = series.path(server.root)
                servers.append((server, [f"{base}/instances/{uid}/rendered" for uid in series.instances]))
        width = 400
        for repetition in range(repetitions + 1):
            for count in (1, clients):
                width += 1
                for server, paths in servers:
                    found = rate(server, [f"{path}?window=40,{width},linear" for path in paths], count)
                    if repetition:  # the first is for warming up
                        rates[server.name, count].append(found)
    return rates


def summary(rates: Rates) -> str:
    rows: list[list[object]] = []
    for count in sorted({count for _, count in rates}):
        nothing = [float("nan")]
        ours, theirs = (rates.get((kind.name, count), nothing) for kind in (WebHounsfield, WebOrthanc))
        for name, of in (("median", statistics.median), ("best", max)):
            rows.append([count, name, of(ours), of(theirs), f"{of(ours) / of(theirs):.2f}"])
    return table(["clients", "passes", "Hounsfield, images/s", "Orthanc, images/s", "ratio"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.rendered", description=(__doc__ or "").splitlines()[0])
    choices = [WebHounsfield.name, WebOrthanc.name]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    chosen = parser.parse_args(arguments)
    wait_after_sweep()
    report("Rendered JPEG", summary(run(chosen.only, chosen.repetitions, chosen.images, chosen.clients)))


if __name__ == "__main__":
    main()
    sweep()
