"""Objects received a second: sizes x associations x servers, in alternating order, as ratios to the peers.

python -m bench.receive [--only NAME ...] [--repetitions 5] [--scale 1.0] [--stock-storescu]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.load import Load
from bench.peers import WORK, Hounsfield, Orthanc, Server, Storescp, available, wait_after_sweep
from bench.tables import report, table
from hounsfield.hospital.synthetic import ct_series


class Size(NamedTuple):
    name: str
    rows: int
    columns: int
    objects: int


SIZES = (Size("512 KiB", 512, 512, 400), Size("20 KiB", 96, 96, 2000))
ASSOCIATIONS = (1, 4)
#: How a measurement begins.
STEADY = "each begins with the spare log segments of Hounsfield made, as they are once it rests, and a `sync`"


class Run(NamedTuple):
    rate: float  # objects a second
    cpu_ms: float  # server CPU for each object
    p50_ms: float
    p99_ms: float
    maximum_pdu: int
    peak_mib: float
    client_share: float  # of one core, taken by the load generator


def warm_memory(size: int) -> None:
    """Fill and empty the page cache by `size` bytes and a margin.

    A virtual machine whose host takes free memory back pays up to 15 us for each page that it gets anew, more
    than everything else that is measured here, and whoever runs first pays for the others.
    """
    block = bytes(1 << 20)
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryFile(dir=WORK, buffering=0) as file:
        for _ in range((size >> 20) + 256):
            file.write(block)


def prepare(
    server: Server, size: Size, associations: int, key: str, scale: float = 1.0, series: int = 0
) -> Load:
    """A load that is ready to go against a running server; `series` as in `bench.load`."""
    load = Load(
        {
            "host": server.address[0],
            "port": server.port,
            "called": server.called,
            "associations": associations,
            "objects": int(size.objects * scale),
            "rows": size.rows,
            "columns": size.columns,
            "key": key,
            "series": series,
        }
    )
    os.sync()
    warm_memory(int(size.objects * scale) * size.rows * size.columns * 2 * 2)
    return load


def timed(server: Server, load: Load) -> Run:
    """Let it go."""
    before = server.cpu()
    result = load.go()
    cpu = server.cpu() - before
    return Run(
        result["rate"],
        cpu / result["objects"] * 1000,
        result["p50_ms"],
        result["p99_ms"],
        result["maximum_pdu"],
        server.peak() / 2**20,
        result["client_cpu"] / result["seconds"],
    )


def measure(
    server: Server, size: Size, associations: int, key: str, scale: float = 1.0, series: int = 0
) -> Run:
    return timed(server, prepare(server, size, associations, key, scale, series))


Results = dict[tuple[str, int, str], list[Run]]


def matrix(kinds: Sequence[type[Server]], repetitions: int, scale: float) -> Results:
    results: Results = defaultdict(list)
    for repetition in range(repetitions):
        turn = repetition % len(kinds)
        for kind in (*kinds[turn:], *kinds[:turn]):
            with kind() as server:
                measure(server, SIZES[1], 1, "warm", 0.02)
                for size in SIZES:
                    for associations in ASSOCIATIONS:
                        key = f"{size.name}/{associations}/{repetition}"
                        server.rest()
                        run = measure(server, size, associations, key, scale)
                        results[size.name, associations, kind.name].append(run)
                        print(
                            f"{kind.name:10} {key:14} {run.rate:8.1f} objects/s {run.cpu_ms:6.2f} ms",
                            flush=True,
                        )
            os.sync()
    return results


def _median(runs: Sequence[Run], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in runs))


def summary(results: Results, kinds: Sequence[type[Server]]) -> str:
    names = [kind.name for kind in kinds]
    rows: list[list[object]] = []
    for size in SIZES:
        for associations in ASSOCIATIONS:
            for name in names:
                runs = results[size.name, associations, name]
                rows.append(
                    [
                        size.name,
                        associations,
                        name,
                        _median(runs, "rate"),
                        max(run.rate for run in runs),
                        _median(runs, "cpu_ms"),
                        _median(runs, "p50_ms"),
                        _median(runs, "p99_ms"),
                        int(_median(runs, "maximum_pdu")),
                        int(_median(runs, "peak_mib")),
                        f"{_median(runs, 'client_share'):.0%}",
                    ]
                )
    heads = [
        "size",
        "assoc.",
        "server",
        "objects/s",
        "best",
        "CPU ms/object",
        "p50 ms",
        "p99 ms",
        "PDU",
        "peak MiB",
    ]
    text = table([*heads, "generator"], rows)
    if Hounsfield.name in names and len(names) > 1:
        text += "\n\n" + _ratios(results, [name for name in names if name != Hounsfield.name])
    settings = "\n".join(f"- {kind.name}: {kind.settings}" for kind in kinds)
    return f"{text}\n\nTCP_NODELAY=1 for all; medians; {STEADY}.\n{settings}"


def _ratios(results: Results, others: Sequence[str]) -> str:
    """Ours against each peer, of the same repetition; the median of them."""
    rows: list[list[object]] = []
    for size in SIZES:
        for associations in ASSOCIATIONS:
            row: list[object] = [size.name, associations]
            for other in others:
                pairs = list(
                    zip(
                        results[size.name, associations, Hounsfield.name],
                        results[size.name, associations, other],
                        strict=True,
                    )
                )
                row.append(f"{statistics.median(a.rate / b.rate for a, b in pairs):.2f}")
                row.append(f"{statistics.median(a.cpu_ms / max(b.cpu_ms, 1e-3) for a, b in pairs):.2f}")
            rows.append(row)
    heads = ["size", "assoc."]
    for other in others:
        heads += [f"rate / {other}", f"CPU / {other}"]
    goal = (
        f"Goals: rate at least 4 times {Orthanc.name}, 0.6 of {Storescp.name}'s at 512 KiB; "
        f"CPU at 512 KiB at most 0.17 of {Orthanc.name}'s."
    )
    return f"{table(heads, rows)}\n\n{goal}"


def stock_storescu(kinds: Sequence[type[Server]], count: int = 200) -> str:
    """DCMTK's storescu as it comes, with Nagle's algorithm: a server that answers late in two packets, or
    lets it wait for an acknowledgement, falls to about 20 objects a second."""
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    WORK.mkdir(exist_ok=True)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        for number, part10 in enumerate(ct_series(count, 96, 96, key="stock")):
            (Path(folder) / f"{number:05d}.dcm").write_bytes(part10)
        for kind in kinds:
            with kind() as server:
                command = [
                    "storescu",
                    "-aec",
                    server.called,
                    server.address[0],
                    str(server.port),
                    "+sd",
                    folder,
                ]
                begun = time.perf_counter()
                subprocess.run(command, check=True, env=environment)
                rows.append([kind.name, count / (time.perf_counter() - begun)])
    return (
        table(["server", "objects/s"], rows)
        + "\n\n20 KiB objects, storescu without TCP_NODELAY, its start included."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.receive")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many objects")
    parser.add_argument("--stock-storescu", action="store_true")
    chosen = parser.parse_args(arguments)
    kinds = available(chosen.only)
    if not kinds:
        return
    wait_after_sweep()
    if chosen.stock_storescu:
        if shutil.which("storescu"):
            report("Receive from a stock storescu", stock_storescu(kinds))
    else:
        report("Receive", summary(matrix(kinds, chosen.repetitions, chosen.scale), kinds))


if __name__ == "__main__":
    main()
