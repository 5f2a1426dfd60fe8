#!/usr/bin/env python3
"""Fail where a file is longer than 400 lines, or a module has one of the names that say nothing."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400
FOLDERS = ("src", "tests", "bench", "scripts")
EMPTY_NAMES = {"utils", "helpers", "common", "manager", "context"}


def main() -> int:
    wrong = []
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    for path in files:
        name = path.relative_to(ROOT)
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > LONGEST:
            wrong.append(f"{name}: {lines} lines; at most {LONGEST}: split it along its ideas")
        if path.stem in EMPTY_NAMES:
            wrong.append(f"{name}: the name says nothing; name it after what it does")
    if not files:
        wrong.append(f"found no Python file under {', '.join(FOLDERS)}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
