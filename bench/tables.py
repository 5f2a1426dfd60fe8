"""Results as Markdown tables: on the terminal and, of the last run of each part, in .bench/results.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bench.peers import WORK


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns; floats with three digits that count."""
    cells = [list(heads)] + [
        [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows
    ]
    for row in cells[1:]:
        for at, cell in enumerate(row):
            if "e+" in cell:
                row[at] = f"{float(cell):.0f}"
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def report(part: str, text: str) -> None:
    """Print the result of one part, and put it in the place of the previous one in .bench/results.md."""
    print(f"\n## {part}\n\n{text}\n", flush=True)
    WORK.mkdir(exist_ok=True)
    path = WORK / "results.md"
    sections = {}
    if path.exists():
        for section in path.read_text().split("\n## ")[1:]:
            name, _, body = section.partition("\n")
            sections[name] = body.strip()
    sections[part] = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n\n{text}"
    path.write_text("# Benchmarks\n" + "".join(f"\n## {name}\n\n{body}\n" for name, body in sections.items()))
