"""Objects received a second while series packs are being written behind, against the rate without.

    python -m bench.receive_while_packing [--prefill 3000] [--repetitions 3]

The archive is filled, the rate is measured before the series have settled, and again once the first pack of
them is written; a run during which the packing ended is reported as such.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from bench import pdus
from bench.peers import Hounsfield, sweep, wait_after_sweep
from bench.receive import SIZES, Run, Size, measure, prepare, timed
from bench.tables import report, table

SETTLE_SECONDS = 30


def _wait_until_packing(server: Hounsfield, seconds: float = 120) -> None:
    before, until = server.unpacked(), time.monotonic() + seconds
    while server.unpacked() >= before:
        if time.monotonic() > until:
            raise pdus.PeerError(f"no series pack was written within {seconds:.0f} s")
        time.sleep(0.05)


def run(prefill: int, repetitions: int) -> str:
    ratios: dict[tuple[str, int], list[tuple[Run, Run]]] = {}
    ended = 0
    for _ in range(repetitions):
        for size in SIZES:
            for associations in (1, 4):
                with Hounsfield(SETTLE_SECONDS) as server:
                    measure(server, Size("fill", 512, 512, prefill), 4, "fill", series=25)
                    without = measure(server, size, associations, "without")
                    load = prepare(server, size, associations, "beside")
                    _wait_until_packing(server)
                    beside = timed(server, load)
                    # what came within the run and before it cannot have settled yet
                    ended += server.unpacked() <= 2 * size.objects
                ratios.setdefault((size.name, associations), []).append((without, beside))
                print(
                    f"{size.name} {associations}: {without.rate:.0f}, packing {beside.rate:.0f}", flush=True
                )
    rows: list[list[object]] = []
    for (size_name, associations), pairs in ratios.items():
        medians = [statistics.median(pair[at].rate for pair in pairs) for at in (0, 1)]
        ratio = statistics.median(beside.rate / without.rate for without, beside in pairs)
        rows.append([size_name, associations, *medians, f"{ratio:.2f}"])
    text = table(["size", "assoc.", "without, objects/s", "while packing", "ratio"], rows)
    text += f"\n\nMedians; HOUNSFIELD_SETTLE_SECONDS={SETTLE_SECONDS}. Goal: a ratio of at least 0.67."
    if ended:
        text += f" In {ended} runs the packing ended before the run: use a larger --prefill."
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.receive_while_packing")
    parser.add_argument("--prefill", type=int, default=3000, help="objects of 512 KiB to pack")
    parser.add_argument("--repetitions", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if why := Hounsfield.missing():
        print(f"left out: {why}")
        return
    wait_after_sweep()
    report("Receive while packing", run(chosen.prefill, chosen.repetitions))


if __name__ == "__main__":
    main()
    sweep()
