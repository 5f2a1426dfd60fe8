"""Timezone query adjustment (PS3.4 C.2.2.2.1.3, C.5.1.1): dates and times seen from the zone of who asks.

A date with its time names a moment once the zone is known: that of the study, Timezone Offset From UTC
(0008,0201), or else the one that the archive assumes. In a query with adjustment, what is matched and what is
returned are the date and time of that moment in the zone of the query. A date without a time, a time without
a date, and what is not a valid DA or TM name no moment, and stay as they are; so does a birth date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone, tzinfo

from hounsfield.domain.attributes import DATE_AND_TIME
from hounsfield.domain.moments import InvalidKeyError, date_bounds
from hounsfield.domain.query import Adjustment, Criterion, Moment, Query, Range, Single

OFFSET = "TimezoneOffsetFromUTC"
_OFFSET = re.compile(r"([+-])([01][0-9])([0-5][0-9])\Z")
_DATE = re.compile(r"[0-9]{8}\Z")
_TIME = re.compile(r"([0-9]{2})([0-9]{2})?((?:[0-9]{2}(?:\.[0-9]{1,6})?)?)\Z")
_DATES = frozenset(day for day, _ in DATE_AND_TIME)
_TIMES = frozenset(time for _, time in DATE_AND_TIME)
#: Zones lie between -1200 and +1400: a date seen from another one is at most this many dates away.
_FARTHEST = timedelta(days=2)


def offset_of(text: str) -> timezone | None:
    """The zone that (0008,0201) names as "+0100"; None where it names none."""
    found = _OFFSET.match(text.strip(" "))
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3])
    signed = -minutes if found[1] == "-" else minutes
    return timezone(timedelta(minutes=signed)) if -720 <= signed <= 840 else None


def adjusted(row: Mapping[str, str], adjustment: Adjustment) -> dict[str, str]:
    """A row of keyword -> value as it is seen from the zone asked for, which it then names. Rows without
    (0008,0201), those of patients, have nothing to adjust."""
    zone = offset_of(adjustment.asked)
    if zone is None:
        raise ValueError(f"{adjustment.asked!r} is no offset from UTC")
    found = dict(row)
    if OFFSET not in row:
        return found
    own = offset_of(row[OFFSET]) or adjustment.assumed
    for day, time in DATE_AND_TIME:
        if row.get(day) and row.get(time):
            found[day], found[time] = _moved(row[day], row[time], own, zone)
    found[OFFSET] = adjustment.asked
    return found


def _moved(day: str, time: str, own: tzinfo, zone: timezone) -> tuple[str, str]:
    """A DA and its TM in another zone. Seconds, which no offset has, stay as they are, and so does the
    precision, except that an hour seen from a zone with half hours needs its minutes."""
    found = _TIME.match(time)
    if found is None or _DATE.match(day) is None:
        return day, time
    hour, minute, seconds = found.groups()
    try:
        local = datetime.strptime(day + hour + (minute or "00"), "%Y%m%d%H%M").replace(tzinfo=own)
        there = local.astimezone(zone)
    except (ValueError, OverflowError):
        return day, time
    minutes = f"{there.minute:02d}" if minute or there.minute else ""
    return f"{there.year:04d}{there:%m%d}", f"{there.hour:02d}{minutes}{seconds}"


def widened(query: Query) -> Query:
    """The same query without adjustment, which finds at least all rows that may meet it once adjusted: dates
    reach farther, times are left out."""
    criteria = {}
    for keyword, criterion in query.criteria.items():
        if keyword in _TIMES or keyword == OFFSET:
            continue
        kept = _wider(criterion) if keyword in _DATES else criterion
        if kept is not None:
            criteria[keyword] = kept
    return replace(query, criteria=criteria, adjustment=None, limit=0, offset=0)


def _wider(criterion: Criterion) -> Criterion | None:
    """A date's criterion with room on both sides; None where it would say nothing."""
    if isinstance(criterion, Single):
        low = high = criterion.value.strip(" ")
    elif isinstance(criterion, Range):
        low, high = criterion.low.strip(" "), criterion.high.strip(" ")
    elif isinstance(criterion, Moment):
        low, high = criterion.low[:8], criterion.high[:8]
    else:
        return None
    try:
        low, high = date_bounds(low, high)
    except InvalidKeyError:
        return criterion  # it finds nothing
    low, high = _earlier(low), _later(high)
    return Range(low, high) if low or high else None


def _earlier(low: str) -> str:
    """A lower bound of `date_bounds` farther out; '' (no bound) where it is no day of the calendar."""
    return _shifted(low + "00000101"[len(low) :], -_FARTHEST) if low else ""


def _later(high: str) -> str:
    """The same of an upper bound, in which nines stand for what was not named."""
    if high.endswith("9999"):
        return _shifted(high[:4] + "1231", _FARTHEST)
    if high.endswith("99"):  # no month is longer, and a later bound does no harm
        return _shifted(high[:6] + "28", _FARTHEST + timedelta(days=3))
    return _shifted(high, _FARTHEST) if high else ""


def _shifted(day: str, by: timedelta) -> str:
    try:
        there = date(int(day[:4]), int(day[4:6]), int(day[6:])) + by
    except (ValueError, OverflowError):
        return ""
    return f"{there.year:04d}{there:%m%d}"
