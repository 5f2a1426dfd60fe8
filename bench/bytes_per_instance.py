"""Bytes that the index, the ledger and the settled metadata take for each instance.

python -m bench.bytes_per_instance [--objects 5000] [--series 200]
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
from collections.abc import Sequence

from bench.peers import Hounsfield, sweep
from bench.receive import Size, measure
from bench.tables import report, table


def _parts(server: Hounsfield) -> dict[str, int]:
    """Bytes of each table and index of the database, which nobody has open."""
    with contextlib.closing(sqlite3.connect(server.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        try:
            rows = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
        except sqlite3.OperationalError:  # an SQLite that was built without dbstat: the whole file
            rows = [("all", server.database.stat().st_size)]
    return dict(rows)


def run(objects: int, series: int) -> str:
    with Hounsfield(settle_seconds=1) as server:
        server.stop()
        empty = _parts(server)
        server.start()
        measure(server, Size("20 KiB", 96, 96, objects), 1, "bytes", series=series)
        server.wait_until_settled()
        server.stop()
        full = _parts(server)
        metadata = int(server.query("SELECT coalesce(sum(metadata_length), 0) FROM series")[0])
        stored = int(server.query("SELECT count(*) FROM instance")[0])
    parts = {name: (size - empty.get(name, 0)) / stored for name, size in full.items()}
    parts["metadata in series packs"] = metadata / stored
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    rows: list[list[object]] = [[name, f"{size:.1f}"] for name, size in ordered if size >= 0.5]
    rows.append(["all", f"{sum(parts.values()):.0f}"])
    return (
        f"{table(['table or index', 'bytes/instance'], rows)}\n\n{stored} instances in series of {series}, "
        "one series a study; SQLite. Goal: under 800."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.bytes_per_instance")
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--series", type=int, default=200, help="objects in each series")
    chosen = parser.parse_args(arguments)
    if why := Hounsfield.missing():
        print(f"left out: {why}")
        return
    report("Bytes per instance", run(chosen.objects, chosen.series))


if __name__ == "__main__":
    main()
    sweep()
