"""The time zone of what names none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hounsfield.domain.errors import ConfigurationError
from hounsfield.domain.timezones import offset_of


def zone_of(text: str) -> tzinfo:
    """The zone that the setting `timezone` names; '' is that of this machine. Raises ConfigurationError."""
    if not text:
        return _of_machine()
    try:
        return offset_of(text) or ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"This machine knows no time zone {text!r}",
            "Set timezone to a name such as Europe/Berlin (package tzdata), or an offset such as +0100",
        ) from error


def _of_machine() -> tzinfo:
    """With the days on which its clocks change, where that can be told."""
    named = os.environ.get("TZ", "").lstrip(":")
    try:
        if named:
            return ZoneInfo(named)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.now(UTC).astimezone().tzinfo or UTC
