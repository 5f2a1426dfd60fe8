"""Dates and times as keys: the span that a DA, TM or DT of a query names, as texts that order as moments do.

Values in the index are texts of any precision ('10', '1030', '103000.5'). A bound is made such that plain
comparison of texts, in Python as in a database, says what comparison of the moments would: the lower one
without zeros at its end, the upper one filled with nines.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

_DATE = re.compile(r"[0-9]{4}(?:[0-9]{2}){0,2}\Z")
_TIME = re.compile(r"[0-9]{2}(?:[0-9]{2}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)?\Z")
_MOMENT = re.compile(r"[0-9]{4}(?:[0-9]{2}){0,4}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?\Z")
_DATETIME = re.compile(r"([0-9]{4}(?:[0-9]{2}){0,4}(?:[0-9]{2}(?:\.[0-9]{1,6})?)?)([+-][0-9]{4})?\Z")
_LAST_DATE, _LAST_TIME = "99999999", "999999.999999"
_LAST_MOMENT = _LAST_DATE + _LAST_TIME


class InvalidKeyError(ValueError):
    """A key that is not a date, a time or a date and time."""


def _checked(text: str, form: re.Pattern[str], separators: str) -> str:
    """`text` without the separators of ACR-NEMA; InvalidKeyError unless it has the form."""
    plain = text.translate({ord(c): None for c in separators})
    if plain and form.match(plain) is None:
        raise InvalidKeyError(f"'{text}' is not a date or time")
    return plain


def date_bounds(low: str, high: str) -> tuple[str, str]:
    """First and last text of a DA within [low, high]; '' stays open. InvalidKeyError where unreadable."""
    low, high = _checked(low, _DATE, "."), _checked(high, _DATE, ".")
    return low, high + _LAST_DATE[len(high) :] if high else ""


def time_bounds(low: str, high: str) -> tuple[str, str]:
    """First and last text of a TM within [low, high]; '' stays open. InvalidKeyError where unreadable."""
    low, high = _checked(low, _TIME, ":"), _checked(high, _TIME, ":")
    return _without_zeros(low, 2), high + _LAST_TIME[len(high) :] if high else ""


def moment_bounds(low: str, high: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The bounds of the date alone, and those of date and time written one behind the other (C.2.2.2.5.4)."""
    low, high = _checked(low, _MOMENT, ""), _checked(high, _MOMENT, "")
    return date_bounds(low[:8], high[:8]), (
        _without_zeros(low, 8),
        high + _LAST_MOMENT[len(high) :] if high else "",
    )


def _without_zeros(text: str, keep: int) -> str:
    """A time without the zeros that say no more than their absence: '100000.0' is '10'."""
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    while len(text) > keep and text.endswith("00") and "." not in text:
        text = text[:-2]
    return text


def datetime_bounds(low: str, high: str) -> tuple[str, str]:
    """First and last moment of a DT within [low, high] as "YYYYMMDDHHMMSS.FFFFFF", offsets from UTC applied
    (a value without one is taken to be in UTC); '' stays open. InvalidKeyError where unreadable."""
    return (_start(low) if low else "", _end(high) if high else "")


def _start(text: str) -> str:
    return _utc(text, "00000101000000.000000")


def _end(text: str) -> str:
    return _utc(text, "99991231235959.999999")


def _utc(text: str, rest: str) -> str:
    found = _DATETIME.match(text)
    if found is None:
        raise InvalidKeyError(f"'{text}' is not a date and time")
    plain, offset = found[1], found[2]
    full = plain + rest[len(plain) :]
    if len(plain) == 6 and rest[6:8] == "31":
        full = full[:6] + f"{_days(int(full[:4]), int(full[4:6])):02d}" + full[8:]
    if not offset:
        return full
    try:
        zone = timezone(
            (1 if offset[0] == "+" else -1) * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
        )
        moment = datetime.strptime(full, "%Y%m%d%H%M%S.%f").replace(tzinfo=zone)
        return moment.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f")
    except (ValueError, OverflowError) as error:
        raise InvalidKeyError(f"'{text}' is not a date and time") from error


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
