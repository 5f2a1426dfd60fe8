"""Timezone query adjustment: dates and times as they are seen from another zone (PS3.4 C.2.2.2.1.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hounsfield.domain.attributes import ATTRIBUTES
from hounsfield.domain.errors import ConfigurationError
from hounsfield.domain.matching import matches
from hounsfield.domain.query import Adjustment, Criterion, Level, Moment, OneOf, Query, Range, Single
from hounsfield.domain.timezones import adjusted, offset_of, widened
from hounsfield.services.zones import zone_of


def seen(date: str, time: str, own: str, asked: str, assumed: str = "UTC") -> tuple[str, str]:
    row = {"StudyDate": date, "StudyTime": time, "TimezoneOffsetFromUTC": own, "PatientBirthDate": date}
    there = adjusted(row, Adjustment(asked, ZoneInfo(assumed)))
    assert there["TimezoneOffsetFromUTC"] == asked
    assert there["PatientBirthDate"] == date
    return there["StudyDate"], there["StudyTime"]


@pytest.mark.parametrize(
    ("date", "time", "own", "asked", "there"),
    [
        ("20240101", "103000", "+0100", "+0000", ("20240101", "093000")),
        ("20240101", "003000.25", "+0100", "+0000", ("20231231", "233000.25")),
        ("20240228", "2330", "-0500", "+0000", ("20240229", "0430")),
        ("20240101", "10", "+0000", "+0530", ("20240101", "1530")),
        ("20240101", "10", "+0000", "+0100", ("20240101", "11")),
        ("20240101", "235960", "+0000", "+0100", ("20240102", "005960")),
        ("20240101", "12", "-1200", "+1400", ("20240102", "14")),
        # no moment is named: as it is
        ("20240101", "", "+0100", "+0000", ("20240101", "")),
        ("", "10", "+0100", "+0000", ("", "10")),
        ("2024", "10", "+0100", "+0000", ("2024", "10")),
        ("20240101", "10:00", "+0100", "+0000", ("20240101", "10:00")),
        ("20241301", "10", "+0100", "+0000", ("20241301", "10")),
        ("00010101", "00", "+0100", "+0000", ("00010101", "00")),
        # the zone is not one: the archive's
        ("20240101", "10", "CET", "+0200", ("20240101", "12")),
        ("20240101", "10", "+2500", "+0200", ("20240101", "12")),
    ],
)
def test_as_seen_from_another_zone(
    date: str, time: str, own: str, asked: str, there: tuple[str, str]
) -> None:
    assert seen(date, time, own, asked) == there


def test_the_zone_that_is_assumed_has_its_summer() -> None:
    assert seen("20240115", "1200", "", "+0000", "Europe/Berlin") == ("20240115", "1100")
    assert seen("20240715", "1200", "", "+0000", "Europe/Berlin") == ("20240715", "1000")
    assert seen("20240715", "1200", "+0500", "+0000", "Europe/Berlin") == ("20240715", "0700")


OFFSETS = st.integers(-48, 56).map(lambda n: f"{'-' if n < 0 else '+'}{abs(n) // 4:02d}{abs(n) % 4 * 15:02d}")


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - local to `own`
    OFFSETS,
    OFFSETS,
    st.sampled_from([2, 4, 6, 13]),
)
def test_it_is_the_same_moment(moment: datetime, own: str, asked: str, precision: int) -> None:
    date, time = f"{moment:%Y%m%d}", f"{moment:%H%M%S.%f}"[:precision]
    there_date, there_time = seen(date, time, own, asked)
    full = "000000.000000"
    before = datetime.strptime(date + time + full[precision:] + own, "%Y%m%d%H%M%S.%f%z")
    after = datetime.strptime(there_date + there_time + full[len(there_time) :] + asked, "%Y%m%d%H%M%S.%f%z")
    assert before == after


DAYS = st.sampled_from(
    ["", "2024", "202401", "202402", "202412", "20240101", "20240229", "2024.01.31", "x", "20241301", "9999"]
)
CRITERIA = st.one_of(
    DAYS.map(Single),
    st.builds(Range, DAYS, DAYS),
    st.builds(Moment, st.just("StudyDate"), st.just("StudyTime"), DAYS, DAYS),
    st.lists(DAYS, max_size=2).map(lambda days: OneOf(tuple(days))),
)


@settings(max_examples=1500, deadline=None)
@given(
    criterion=CRITERIA,
    date=st.sampled_from(["20231230", "20231231", "20240101", "20240131", "20240201", "20240202", "20240203",
                          "20241231", "20250101", "20250102", "2024", "20241301", "99991231", ""]),
    time=st.sampled_from(["", "00", "1200", "235959", "x"]),
    own=OFFSETS,
    asked=OFFSETS,
)  # fmt: skip
def test_the_wider_query_misses_nothing(
    criterion: Criterion, date: str, time: str, own: str, asked: str
) -> None:
    """Whatever matches once adjusted is found by the wider query as it is."""
    attribute = ATTRIBUTES["StudyDate"]
    there = seen(date, time, own, asked)
    value = "\\".join(there) if isinstance(criterion, Moment) else there[0]
    query = Query(Level.STUDY, {"StudyDate": criterion}, limit=3, adjustment=Adjustment(asked, UTC))
    wider = widened(query)
    assert (wider.adjustment, wider.limit) == (None, 0)
    if matches(criterion, attribute, value) and "StudyDate" in wider.criteria:
        assert matches(wider.criteria["StudyDate"], attribute, date)


def test_the_wider_query_is_not_much_wider() -> None:
    criteria = {"StudyDate": Single("20240101"), "StudyTime": Range("10", "11"), "PatientID": Single("1")}
    wider = widened(Query(Level.STUDY, criteria, adjustment=Adjustment("+0100", UTC)))
    assert wider.criteria == {"StudyDate": Range("20231230", "20240103"), "PatientID": Single("1")}


@pytest.mark.parametrize("text", ["", "0100", "+100", "+1500", "-1300", "+0160", "+01:00", "Z", "+٠١٠٠"])
def test_what_is_no_offset(text: str) -> None:
    assert offset_of(text) is None


def test_zone_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zone_of("+0530") == timezone(timedelta(hours=5, minutes=30))
    assert zone_of("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    monkeypatch.setenv("TZ", "America/New_York")
    assert zone_of("") == ZoneInfo("America/New_York")
    monkeypatch.delenv("TZ")
    assert zone_of("").utcoffset(datetime(2024, 1, 1)) is not None  # noqa: DTZ001 - a local time
    for wrong in ("Nowhere/Land", "../../etc/passwd", "/etc/passwd"):
        with pytest.raises(ConfigurationError, match="time zone"):
            zone_of(wrong)
