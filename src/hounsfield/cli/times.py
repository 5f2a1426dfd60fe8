"""Moments as people give them on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d+)\s*([smhdw])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def microseconds(text: str, now: int) -> int:
    """Microseconds since 1970 of an ISO 8601 date or time (local where it names no zone), or of how long
    ago: 30m, 2h, 7d; 0 for ''. Raises typer.BadParameter."""
    if not text:
        return 0
    if ago := _AGO.match(text.strip()):
        span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return now - int(span.total_seconds() * 1_000_000)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time: write 2026-01-31, 2026-01-31T08:30 or 2h") from None
    return int(at.astimezone(UTC).timestamp() * 1_000_000)
