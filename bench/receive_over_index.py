"""Objects received a second with a million studies in the index, against an empty one.

    python -m bench.receive_over_index [--studies 1000000] [--repetitions 3]

The index is made once by `bench.million` as .bench/million.db and copied for each run.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers import ROOT, WORK, Hounsfield, sweep, wait_after_sweep
from bench.receive import SIZES, Run, measure
from bench.tables import report, table


def million(studies: int) -> Path:
    """The database file with at least so many studies; makes what is missing of it."""
    path = WORK / "million.db"
    command = [sys.executable, "-m", "bench.million", "--database", str(path), "--studies", str(studies)]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return path


def run(database: Path, repetitions: int) -> str:
    results: dict[tuple[str, int, str], list[Run]] = {}
    for repetition in range(repetitions):
        states = ("empty", "full") if repetition % 2 == 0 else ("full", "empty")
        for state in states:
            server = Hounsfield()
            if state == "full":
                server.data.mkdir(mode=0o700)
                shutil.copyfile(database, server.database)
                server.database.chmod(0o600)
            with server:
                measure(server, SIZES[1], 1, "warm", 0.1)
                for size in SIZES:
                    for associations in (1, 4):
                        one = measure(server, size, associations, f"over/{size.name}/{associations}")
                        results.setdefault((size.name, associations, state), []).append(one)
                        print(f"{state:6} {size.name} {associations} {one.rate:8.1f} objects/s", flush=True)
    rows: list[list[object]] = []
    for size in SIZES:
        for associations in (1, 4):
            empty, full = (results[size.name, associations, state] for state in ("empty", "full"))
            ratio = statistics.median(b.rate / a.rate for a, b in zip(empty, full, strict=True))
            cpu = statistics.median(b.cpu_ms / a.cpu_ms for a, b in zip(empty, full, strict=True))
            medians = [statistics.median(one.rate for one in runs) for runs in (empty, full)]
            rows.append([size.name, associations, *medians, f"{ratio:.2f}", f"{cpu:.2f}"])
    heads = ["size", "assoc.", "empty, objects/s", "full, objects/s", "rate ratio", "CPU ratio"]
    return f"{table(heads, rows)}\n\nSQLite; medians. Goal: a ratio of at least 0.8."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.receive_over_index")
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if why := Hounsfield.missing():
        print(f"left out: {why}")
        return
    WORK.mkdir(exist_ok=True)
    database = million(chosen.studies)
    wait_after_sweep()
    report("Receive over a full index", f"{chosen.studies} studies.\n\n{run(database, chosen.repetitions)}")


if __name__ == "__main__":
    main()
    sweep()
