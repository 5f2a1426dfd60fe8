"""Run the benchmarks: `python -m bench` for all of them, or `python -m bench NAME ...` for some.

Each prints its table, and puts it in .bench/results.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from bench.peers import KEEP, ROOT, WORK, end_on_sigterm, sweep

# what bench.million fills
MILLION = (str(WORK / "million.db"), f"embedded:{WORK / 'million-pg'}")
# name -> module and its arguments; each runs in a process of its own
PARTS: dict[str, tuple[str, ...]] = {
    "receive": ("bench.receive",),
    "stock-storescu": ("bench.receive", "--stock-storescu"),
    "packing": ("bench.receive_while_packing",),
    "giveback": ("bench.giveback",),
    "stow": ("bench.stow",),
    "wado": ("bench.wado",),
    "rendered": ("bench.rendered",),
    "bytes": ("bench.bytes_per_instance",),
    "large": ("bench.large",),
    "index": ("bench.receive_over_index",),
    "find": ("bench.find", *MILLION),
    "qido": ("bench.qido", *MILLION),
}


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Its exit code. When we are interrupted, so is it, and has the time to stop its servers."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARTS))
    failed = []
    environment = os.environ | {KEEP: "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    names = parser.parse_args().names or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    end_on_sigterm()
    try:
        for name in names:
            module, *arguments = PARTS[name]
            if run([sys.executable, "-m", module, *arguments], environment):
                failed.append(name)
    finally:
        sweep()
    print(f"Results: {WORK / 'results.md'}")
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
