"""Rendered JPEG of CT images beside Orthanc with its DICOMweb plug-in: same objects, same run.

    python -m bench.rendered [--only hounsfield orthanc] [--repetitions N] [--images N] [--clients N]

Images of 512 x 512 pixels of 16 bits, one by one over connections that stay; first over one, then over
several at once. All requests are warm; the files are in the page cache.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence

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
    for repetition in range(repetitions):
        for kind in kinds:
            if kind.name not in names or kind.missing():
                continue
            with kind() as server:
                series = stored(server, images, 512, f"rendered-{repetition}")
                base = series.path(server.root)
                paths = [f"{base}/instances/{uid}/rendered" for uid in series.instances]
                rate(server, paths, clients)
                for count in (1, clients):
                    rates[server.name, count].append(rate(server, paths, count))
    return rates


def summary(rates: Rates) -> str:
    rows = []
    for count in sorted({count for _, count in rates}):
        ours = statistics.median(rates.get((WebHounsfield.name, count), [float("nan")]))
        theirs = statistics.median(rates.get((WebOrthanc.name, count), [float("nan")]))
        rows.append([count, ours, theirs, ours / theirs])
    return table(["clients", "Hounsfield, images/s", "Orthanc, images/s", "ratio"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.rendered", description=(__doc__ or "").splitlines()[0])
    choices = [WebHounsfield.name, WebOrthanc.name]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    chosen = parser.parse_args(arguments)
    wait_after_sweep()
    report("Rendered JPEG", summary(run(chosen.only, chosen.repetitions, chosen.images, chosen.clients)))


if __name__ == "__main__":
    main()
    sweep()
