"""Printing data: a table on a terminal, tab-separated columns into a pipe, JSON with --json."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

#: Names and descriptions come from anywhere: nothing in them may steer the terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

#: What stands in a cell without a value.
EMPTY = "-"
#: Longest value that `brief` shows whole.
MOST_CHARACTERS = 160
_HASH = re.compile(r"[0-9a-f]{64}\Z")

Row = Mapping[str, object]


class Output:
    """Where a command writes: data to standard output, everything else to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False)
        self.errors = Console(stderr=True, highlight=False)

    def rows(self, columns: Sequence[str], rows: Iterable[Row], *, empty: str = "Nothing found.") -> int:
        """A list: with --json an array with every field, else the named columns. Returns how many."""
        if self.as_json:
            return self._json_rows(rows)
        if self.console.is_terminal:
            return self._table(columns, rows, empty)
        count = 0
        for row in rows:
            if not count:
                self.line("\t".join(columns))
            self.line("\t".join(shown(row.get(column)) for column in columns))
            count += 1
        return count

    def record(self, row: Row) -> None:
        """One thing: with --json an object, else a line for each field."""
        if self.as_json:
            self.line(to_json(row, indent=2))
            return
        width = max((len(name) for name in row), default=0)
        for name, value in row.items():
            if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
                self.line(f"{name}:")
                for item in value:
                    self.line("  " + "  ".join(f"{key}={shown(item[key])}" for key in item))
            else:
                self.line(f"{name:<{width}}  {shown(value)}")

    def say(self, text: str) -> None:
        """A sentence for the person; kept out of --json's way."""
        (self.errors if self.as_json else self.console).print(Text(clean(text)), soft_wrap=True)

    def marked(self, mark: str, style: str, text: str) -> None:
        """A line with a coloured mark before it."""
        line = Text.assemble((f"{mark:<5}", style), " ", clean(text))
        self.console.print(line, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.errors.print(Text(clean(text), style="yellow"), soft_wrap=True)

    def line(self, text: str) -> None:
        """One line of data as it is."""
        sys.stdout.write(text + "\n")

    def flush(self) -> None:
        """Let a reader at the other end of a pipe see what is there."""
        sys.stdout.flush()

    def _json_rows(self, rows: Iterable[Row]) -> int:
        count = 0
        for row in rows:
            self.line(("[" if not count else ",") + to_json(row))
            count += 1
        self.line("]" if count else "[]")
        return count

    def _table(self, columns: Sequence[str], rows: Iterable[Row], empty: str) -> int:
        """Columns without any value are left out. A row is one line, however long: a UID that is folded
        into a column cannot be copied, one that the terminal wraps can."""
        cells = [[shown(row.get(column)) for column in columns] for row in rows]
        if not cells:
            self.say(empty)
            return 0
        told = [n for n in range(len(columns)) if any(line[n] != EMPTY for line in cells)]
        header = [columns[n] for n in told]
        lines = [[line[n] for n in told] for line in cells]
        widths = [max(map(cell_len, column)) for column in zip(header, *lines, strict=True)]
        for line, style in [(header, "bold"), *((line, "") for line in lines)]:
            padded = map(set_cell_size, line, widths)
            self.console.print(Text("  ".join(padded).rstrip(), style), soft_wrap=True)
        return len(cells)


def clean(text: str) -> str:
    """Text without what could steer a terminal; line ends stay."""
    return "\n".join(_CONTROL.sub("�", line) for line in text.split("\n"))


def shown(value: object) -> str:
    """A value in one cell."""
    if value is None or value == "":
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return _CONTROL.sub("�", to_json(value))
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value) or EMPTY
    return _CONTROL.sub("�", str(value))


def brief(values: Row) -> str:
    """Named values in one line: those without content left out, lists by their first item."""
    told = ((name, _in_short(value)) for name, value in values.items())
    return " ".join(f"{name}={text}" for name, text in told if text)


def _in_short(value: object) -> str:
    if isinstance(value, Mapping):
        text = f"({brief(value)})" if value else ""
    elif isinstance(value, list | tuple):
        first = value[0] if value else ""
        text = " ".join(map(_in_short, first)) if isinstance(first, list | tuple) else _in_short(first)
        if len(value) > 1:
            return f"{_cut(text)} (+{len(value) - 1} more)"
    else:
        text = "" if value is None or value == "" else shown(value)
        text = f"{text[:12]}..." if _HASH.match(text) else text
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def moment(at: int) -> str:
    """Microseconds since 1970 as ISO 8601, UTC; '' for 0."""
    if not at:
        return ""
    return (
        datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
