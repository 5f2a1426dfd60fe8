"""Attribute matching of PS3.4 C.2.2.2."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.domain.attributes import ATTRIBUTES, Attribute, Kind
from hounsfield.domain.matching import Glob, accepts, is_universal, matches
from hounsfield.domain.query import Criterion, Level, Moment, Name, OneOf, Range, Single, Wildcard

DT = Attribute("FrameReferenceDateTime", 0x00189151, "DT", Level.IMAGE, Kind.DATE)


def check(criterion: Criterion, keyword: str, value: str) -> bool:
    return matches(criterion, ATTRIBUTES[keyword], value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("ABC", "ABC", True),
        ("ABC", "abc", False),
        (" ABC ", "ABC", True),
        ("ABC", " ABC ", True),
        ("ABC", "ABCD", False),
        ("A*C", "A*C", True),  # single value: no wild card
        ("A*C", "ABC", False),
        ("ABC", "", False),
        ("", "", False),
    ],
)
def test_single_value(key: str, value: str, expected: bool) -> None:
    assert check(Single(key), "PatientID", value) is expected


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("A*", "A", True),
        ("A*", "ABC", True),
        ("A*", "aBC", False),
        ("A?", "AB", True),
        ("A?", "A", False),
        ("A?", "ABC", False),
        ("*C", "ABC", True),
        ("*B*", "ABC", True),
        ("A*C*E", "ABCDE", True),
        ("A*C*E", "ACE", True),
        ("AB*BA", "ABA", False),
        ("?*?", "A", False),
        ("?*?", "AB", True),
        ("A.C", "ABC", False),
        ("[A]*", "[A]B", True),
        ("A%_", "A%_", True),
        ("A%*", "ABC", False),
        ("*", "", True),
        ("**", "", True),
        ("?", "", False),
        ("*A", "", False),
        ("A* ", "AB", True),
        ("a\nb*", "a\nbc", True),
        ("a?b", "a\nb", True),
    ],
)
def test_wild_cards(pattern: str, value: str, expected: bool) -> None:
    assert check(Wildcard(pattern), "StudyDescription", value) is expected


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wild_cards_against_the_obvious_way(pattern: str, value: str) -> None:
    def obvious(p: str, v: str) -> bool:
        if not p:
            return not v
        if p[0] == "*":
            return any(obvious(p[1:], v[at:]) for at in range(len(v) + 1))
        return bool(v) and p[0] in ("?", v[0]) and obvious(p[1:], v[1:])

    assert Glob(pattern).fits(value) is obvious(pattern, value)


@pytest.mark.timeout(30)
def test_no_pattern_takes_for_ever() -> None:
    # a matcher that tracks back would not return
    assert not Glob("*a" * 60 + "*b").fits("a" * 5000)


def test_lists() -> None:
    uids = OneOf(("1.2.3", "1.2.4"))
    assert check(uids, "StudyInstanceUID", "1.2.4")
    assert not check(uids, "StudyInstanceUID", "1.2.40")
    assert not check(OneOf(()), "StudyInstanceUID", "1.2.4")
    assert check(OneOf(("A", "B*")), "PatientID", "BC")
    assert not check(OneOf(("A", "B*")), "PatientID", "C")


def test_sets_match_by_any_of_their_values() -> None:
    assert check(Single("SR"), "ModalitiesInStudy", "CT\\SR")
    assert not check(Single("C"), "ModalitiesInStudy", "CT\\SR")
    assert not check(Single("CT\\SR"), "ModalitiesInStudy", "CT\\SR")
    assert check(OneOf(("MR", "CT")), "ModalitiesInStudy", "CT\\SR")
    assert check(Wildcard("S?"), "ModalitiesInStudy", "CT\\SR")
    assert not check(Wildcard("C*R"), "ModalitiesInStudy", "CT\\SR")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("5", "5", True),
        ("5", "05", True),
        ("+5", "5 ", True),
        ("-5", "5", False),
        ("0", "", False),
        ("0", "0", True),
        ("x", "x", False),
        ("5", "55", False),
    ],
)
def test_numbers(key: str, value: str, expected: bool) -> None:
    assert check(Single(key), "InstanceNumber", value) is expected


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        ("20240101", "20240131", "20240101", True),
        ("20240101", "20240131", "20240131", True),
        ("20240101", "20240131", "20240201", False),
        ("20240101", "", "29990101", True),
        ("", "20240131", "19000101", True),
        ("20240101", "", "", False),
        ("", "20240131", "", False),
        ("", "", "", True),
        ("20240131", "20240101", "20240115", False),
        ("2024.01.01", "2024.01.31", "20240115", True),
        ("2024", "2024", "20241231", True),
        ("202402", "202402", "20240229", True),
        ("202402", "202402", "20240301", False),
        ("today", "", "20240115", False),
    ],
)
def test_ranges_of_dates(low: str, high: str, value: str, expected: bool) -> None:
    assert check(Range(low, high), "StudyDate", value) is expected


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        ("10", "10", "10", True),
        ("10", "10", "100000", True),
        ("10", "10", "105959.999999", True),
        ("10", "10", "110000", False),
        ("10", "10", "095959.999999", False),
        ("1000", "1100", "110059", True),
        ("100000", "", "10", True),
        ("100000.000000", "", "1000", True),
        ("100001", "", "10", False),
        ("", "103000", "103000.9", True),  # 10:30:00 names the whole second
        ("", "103000.5", "103000.59", True),
        ("", "103000.5", "103000.6", False),
        ("000000", "", "00", True),
        ("10:30", "10:31", "103130", True),
        ("1", "", "103130", False),
        ("2300", "0100", "2330", False),
    ],
)
def test_ranges_of_times(low: str, high: str, value: str, expected: bool) -> None:
    assert check(Range(low, high), "StudyTime", value) is expected


def test_a_single_time_is_the_span_it_names() -> None:
    assert check(Single("10"), "StudyTime", "104500")
    assert not check(Single("1045"), "StudyTime", "104600")
    assert check(Single("20240115"), "StudyDate", "20240115")


@given(st.integers(0, 86_399_999_999), st.integers(0, 86_399_999_999), st.sampled_from([2, 4, 6, 8, 13]))
def test_bounds_of_times_order_as_times_do(low: int, moment: int, precision: int) -> None:
    def text(microseconds: int, digits: int) -> str:
        seconds, rest = divmod(microseconds, 1_000_000)
        full = f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.{rest:06d}"
        return full[:digits] if digits != 8 else full[:8]

    bound, value = text(low, 13), text(moment, precision)
    begins = value + "000000.000000"[len(value) :]
    assert check(Range(bound, ""), "StudyTime", value) is (begins >= bound)
    assert check(Range("", bound), "StudyTime", value) is (begins <= bound)


@pytest.mark.parametrize(
    ("low", "high", "value", "expected"),
    [
        ("20240131220000", "20240201020000", "20240131\\230000", True),
        ("20240131220000", "20240201020000", "20240201\\01", True),
        ("20240131220000", "20240201020000", "20240131\\210000", False),
        ("20240131220000", "20240201020000", "20240201\\020001", False),
        ("20240131220000", "20240201020000", "20240201\\020000.5", True),
        ("20240131", "20240131", "20240131\\235959.9", True),
        ("20240131220000", "", "20240201\\", True),
        ("20240131220000", "", "20240131\\", False),
        ("20240131220000", "", "\\230000", False),
        ("", "", "\\", True),
        ("2024013122x", "", "20240201\\10", False),
    ],
)
def test_date_and_time_combined(low: str, high: str, value: str, expected: bool) -> None:
    assert check(Moment("StudyDate", "StudyTime", low, high), "StudyDate", value) is expected


@pytest.mark.parametrize(
    ("criterion", "value", "expected"),
    [
        (Range("20240101", "20240131"), "20240131235959", True),
        (Range("202402", "202402"), "20240229", True),
        (Range("202402", "202402"), "20240301", False),
        (Range("20240101100000+0000", "20240101100000+0000"), "20240101120000+0200", True),
        (Range("20240101100000+0000", ""), "20240101100000+0200", False),
        (Single("20240101"), "20240101103000", True),
        (Range("x", ""), "20240101", False),
        (Range("2024", ""), "not a date", False),
        (Range("20240101100000+9900", ""), "20240101", False),
    ],
)
def test_date_times(criterion: Criterion, value: str, expected: bool) -> None:
    assert matches(criterion, DT, value) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("DOE", "Doe", True),
        ("DOE", "Doe^^^^", True),
        ("DOE^^", "Doe", True),
        ("DOE", "Doe^John", False),
        ("DOE*", "Doe^John", True),
        ("DOE*", "Doering^Eva", True),
        ("DOE^*", "Doe^John", True),
        ("DOE^*", "Doe", True),
        ("DOE^*", "Doering", False),
        ("DOE^J*^*", "Doe^John", True),
        ("DOE^J*^*", "Doe^John^Q", True),
        ("DOE^J*^*", "Doe^Mary", False),
        ("*^JOHN", "Doe^John", True),
        ("*JOHN*", "Doe^John^Q", True),
        ("D?E^JOHN", "Doe^John", True),
        ("MULLER^JORG", "Müller^Jörg", True),
        ("Müller^Jörg", "MULLER^JORG", True),
        ("doe smith^j", "DOE  SMITH^J", True),
        ("*", "", True),
        ("*^*", "", True),
        ("DOE", "", False),
        ("山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("YAMADA^TAROU", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("YAMADA^TAROU=山田^太郎", "Yamada^Tarou", True),
        ("*=山田*", "Doe^John", False),
        ("*=山田*", "=山田^太郎", True),
        ("太郎", "Yamada^Tarou=山田^太郎", False),
    ],
)
def test_names(key: str, value: str, expected: bool) -> None:
    assert check(Name(key), "PatientName", value) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SMITH^JON", "Schmidt^John", True),
        ("JON SMITH", "Schmidt^John", True),
        ("SMITH^JON", "Schmidt^Mary", False),
        ("SMITH", "Schmidt^John", True),
        ("SCHM*", "Smith^Anna", True),
        ("MEIER^*", "Mayer^Eva", True),
        ("*son*", "Johnson^Eva", True),  # still a pattern
        ("山田", "Yamada^Tarou=山田^太郎", True),
        ("*", "", True),
    ],
)
def test_fuzzy_names(key: str, value: str, expected: bool) -> None:
    assert check(Name(key, fuzzy=True), "PatientName", value) is expected


@given(st.text("dDoeÉ^*?= ", max_size=8), st.text("dDoeÉ^= ", max_size=10))
def test_fuzzy_matches_whatever_plain_does(key: str, value: str) -> None:
    if check(Name(key), "PatientName", value):
        assert check(Name(key, fuzzy=True), "PatientName", value)


def test_universal() -> None:
    assert is_universal(Wildcard("*"), ATTRIBUTES["PatientID"])
    assert not is_universal(Wildcard(""), ATTRIBUTES["PatientID"])
    assert not is_universal(Wildcard("*?"), ATTRIBUTES["PatientID"])
    assert is_universal(Range("", ""), ATTRIBUTES["StudyDate"])
    assert not is_universal(Single(""), ATTRIBUTES["PatientID"])


def test_a_range_of_what_has_no_order_matches_nothing() -> None:
    assert not check(Range("A", "B"), "PatientID", "A")


def test_rows() -> None:
    row = {"PatientID": "1", "StudyDate": "20240101", "StudyTime": "2330"}
    night = Moment("StudyDate", "StudyTime", "2024010123", "2024010201")
    assert accepts({"PatientID": Single("1"), "StudyDate": night}, row)
    assert not accepts({"PatientID": Single("2"), "StudyDate": night}, row)
    assert not accepts({"AccessionNumber": Single("2")}, row)
    assert accepts({}, {})
