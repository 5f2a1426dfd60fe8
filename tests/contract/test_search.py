"""`Index.search` on both databases finds exactly what `domain.matching` accepts, whatever is asked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.attributes import ATTRIBUTES, Kind
from hounsfield.domain.matching import accepts
from hounsfield.domain.query import (
    Adjustment,
    Criterion,
    Level,
    Moment,
    Name,
    OneOf,
    Query,
    Range,
    Single,
    Wildcard,
)
from hounsfield.domain.timezones import adjusted
from support_search import ARRIVALS, ROWS, TEXTS, Row

COUNTED = frozenset(f"NumberOfPatientRelated{name}" for name in ("Studies", "Series", "Instances"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlDatabase]:
    """The archive made by chance; nothing here changes it."""
    address = str(tmp_path_factory.mktemp("search") / "index.db")
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        name = f"search_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        address = server.replace("/postgres?", f"/{name}?")
    opened = open_database(address, "test")
    opened.migrate()
    with opened.write() as tx:
        tx.index.enter(ARRIVALS)
    yield opened
    opened.close()


def found(database: SqlDatabase, query: Query) -> list[Row]:
    with database.read() as tx:
        return [dict(row) for row in tx.index.search(query)]


def plain(row: Row) -> tuple[tuple[str, str], ...]:
    """A row that can be compared: the order of values of a set does not count."""
    return tuple(
        (
            keyword,
            "\\".join(sorted(value.split("\\"))).strip("\\")
            if "InStudy" in keyword and "\\" in value
            else value,
        )
        for keyword, value in sorted(row.items())
    )


def expected(query: Query) -> list[tuple[tuple[str, str], ...]]:
    left_out = COUNTED - query.wanted
    rows = ROWS[query.level]
    if query.adjustment is not None:
        rows = [adjusted(row, query.adjustment) for row in rows]
    return sorted(
        plain({k: v for k, v in row.items() if k not in left_out})
        for row in rows
        if accepts(query.criteria, row)
    )


PIECES = st.lists(
    st.sampled_from(
        [
            "*",
            "?",
            "A",
            "a",
            "B",
            "1",
            "[",
            "%",
            "_",
            "D",
            "doe",
            "^",
            "J",
            "山田",
            "やまだ",
            "ü",
            "=",
            " ",
            "\0",
            "\ud800",
        ]
    ),
    max_size=5,
).map("".join)
UIDS = st.sampled_from(
    [
        row[k]
        for level in Level
        for row in ROWS[level][::7]
        for k in row
        if k.endswith("UID") and "Avail" not in k
    ]
    + ["9.9"]
)


@cache
def values_of(keyword: str) -> list[str]:
    level = max(ATTRIBUTES[keyword].level, Level.STUDY)
    return sorted({part for row in ROWS[level] for part in {row[keyword], *row[keyword].split("\\")}})


def criteria_of(keyword: str) -> st.SearchStrategy[Criterion]:
    kind = ATTRIBUTES[keyword].kind
    value = st.sampled_from(values_of(keyword))
    if kind is Kind.UID:
        return st.one_of(
            UIDS.map(Single),
            st.lists(UIDS, max_size=4).map(lambda uids: OneOf(tuple(uids))),
            st.just(Wildcard("1.2.1*")),
        )
    if kind is Kind.NAME:
        return st.builds(
            Name,
            st.one_of(
                value,
                PIECES,
                st.sampled_from(["DOE^*", "doe*", "山田*", "SMITH^JON", "*^J*", "*", "*^*", "*=*"]),
            ),
            st.booleans(),
        )
    if kind is Kind.NUMBER:
        return st.sampled_from(
            ["1", "01", "+1", "-1", "10", "0", "512", "65535", "x", "", "99999999999"]
        ).map(Single)
    texts = st.one_of(value, PIECES)
    if kind is Kind.DATE:
        days = st.sampled_from(["", "20240101", "20240131", "202401", "2024", "2024.01.02", "20231231", "y"])
        times = st.sampled_from(["", "10", "1000", "103000.25", "00", "2359"])
        anything: list[st.SearchStrategy[Criterion]] = [days.map(Single), st.builds(Range, days, days)]
        with_time = keyword.replace("Date", "Time")
        if with_time in ATTRIBUTES:
            moments = st.builds(
                lambda day, time: day and day + time, st.sampled_from(["", "20240101", "20240131"]), times
            )
            anything.append(st.builds(Moment, st.just(keyword), st.just(with_time), moments, moments))
        return st.one_of(*anything)
    if kind is Kind.TIME:
        bounds = st.sampled_from(
            ["", "10", "1000", "100000.000", "103000.25", "00", "0000", "2359", "10:00", "y"]
        )
        return st.one_of(bounds.map(Single), st.builds(Range, bounds, bounds))
    return st.one_of(
        texts.map(Single), texts.map(Wildcard), value.map(lambda v: Wildcard(v[:1] + "*")),
        st.lists(texts, max_size=3).map(lambda many: OneOf(tuple(many))),
    )  # fmt: skip


@st.composite
def queries(draw: st.DrawFn) -> Query:
    level = draw(st.sampled_from(list(Level)))
    keywords = [k for k, a in ATTRIBUTES.items() if a.level <= level and a.kind is not Kind.COUNT]
    chosen = draw(st.lists(st.sampled_from(keywords), max_size=3, unique=True))
    wanted = draw(st.sampled_from([frozenset(), COUNTED]))
    return Query(level, {keyword: draw(criteria_of(keyword)) for keyword in chosen}, wanted)


ADJUSTMENTS = st.builds(
    Adjustment,
    st.sampled_from(["+0000", "-0500", "+0530", "+1400", "-1200"]),
    st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=14))]),
)
WITH_TIMES = [k for k, a in ATTRIBUTES.items() if a.level and a.kind in (Kind.DATE, Kind.TIME)]


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(query=queries(), adjustment=ADJUSTMENTS, data=st.data())
def test_finds_what_matching_accepts_in_another_time_zone(
    database: SqlDatabase, query: Query, adjustment: Adjustment, data: st.DataObject
) -> None:
    known = [k for k in WITH_TIMES if ATTRIBUTES[k].level <= query.level]
    criteria = dict(query.criteria)
    for keyword in data.draw(st.lists(st.sampled_from(known), max_size=2)) if known else []:
        criteria[keyword] = data.draw(criteria_of(keyword))
    query = replace(query, criteria=criteria, adjustment=adjustment)
    rows = found(database, query)
    assert sorted(plain(row) for row in rows) == expected(query)
    assert found(database, replace(query, limit=3, offset=1)) == rows[1:4]


def test_a_day_in_another_time_zone(database: SqlDatabase) -> None:
    """Studies of a day and the day before are found that are of that day elsewhere."""
    for asked in ("-1200", "+1400"):
        query = Query(Level.STUDY, {"StudyDate": Single("20240101")}, adjustment=Adjustment(asked, UTC))
        there = found(database, query)
        plainly = found(database, replace(query, adjustment=None))
        assert {row["StudyInstanceUID"] for row in there} != {row["StudyInstanceUID"] for row in plainly}
        assert sorted(plain(row) for row in there) == expected(query) != []


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(query=queries(), limit=st.integers(0, 12), offset=st.integers(0, 12))
def test_finds_what_matching_accepts(database: SqlDatabase, query: Query, limit: int, offset: int) -> None:
    rows = found(database, query)
    assert sorted(plain(row) for row in rows) == expected(query)
    part = Query(query.level, query.criteria, query.wanted, limit, offset)
    assert found(database, part) == rows[offset : offset + limit if limit else None]


@pytest.mark.parametrize("keyword", [k for k, a in ATTRIBUTES.items() if a.kind is not Kind.COUNT])
def test_every_attribute_alone(database: SqlDatabase, keyword: str) -> None:
    level = ATTRIBUTES[keyword].level
    for value in values_of(keyword):
        query = Query(level, {keyword: Single(value)})
        assert sorted(plain(row) for row in found(database, query)) == expected(query)


def test_wild_cards_with_what_databases_hold_special(database: SqlDatabase) -> None:
    patterns = {
        "A[B*",
        "A\\B*",
        "A_*",
        "A%*",
        "A*B*[*]*x*y",
        "A*B*]*?*",
        "*[*B*]*",
        "*A*B*C*D*",
        "[A-B]*",
        "?\\",
        "/-*x",
    }
    for value in TEXTS:
        patterns |= {value + "*", "*" + value[1:], value[:1] + "?" + value[2:], value[:2] + "*" + value[-1:]}
    for pattern in sorted(patterns):
        query = Query(Level.STUDY, {"StudyDescription": Wildcard(pattern)})
        assert sorted(plain(row) for row in found(database, query)) == expected(query), pattern


@pytest.mark.parametrize(
    "dates",
    [
        Single("20240101"),
        Range("20240101", "20240131"),
        Range("20240101", ""),
        Range("", "20240131"),
        Range("2023", "2024"),
        Moment("StudyDate", "StudyTime", "2024010110", "20240131"),
    ],
)
@pytest.mark.parametrize("modality", [Single("CT"), Wildcard("C*"), OneOf(("MR", "SR"))])
def test_dates_with_modalities(database: SqlDatabase, dates: Criterion, modality: Criterion) -> None:
    criteria = {"StudyDate": dates, "ModalitiesInStudy": modality, "StudyTime": Range("08", "")}
    for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
        query = Query(level, criteria)
        rows = found(database, query)
        assert sorted(plain(row) for row in rows) == expected(query) != []
        assert found(database, Query(level, criteria, limit=3, offset=1)) == rows[1:4]


def test_all_rows_of_each_level(database: SqlDatabase) -> None:
    for level in Level:
        query = Query(level, {}, COUNTED)
        assert sorted(plain(row) for row in found(database, query)) == expected(query)


def test_a_long_list_of_uids(database: SqlDatabase) -> None:
    wanted = [row["SOPInstanceUID"] for row in ROWS[Level.IMAGE]]
    uids = tuple(f"2.25.{n}" for n in range(40_000)) + tuple(wanted)
    assert len(found(database, Query(Level.IMAGE, {"SOPInstanceUID": OneOf(uids)}))) == len(wanted)


def test_a_search_that_is_given_up_leaves_the_connection_in_order(database: SqlDatabase) -> None:
    with database.read() as tx:
        rows = tx.index.search(Query(Level.IMAGE))
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        assert len(list(tx.index.search(Query(Level.PATIENT)))) == len(ROWS[Level.PATIENT])


def test_two_searches_at_one_time(database: SqlDatabase) -> None:
    with database.read() as tx:
        pairs = zip(tx.index.search(Query(Level.STUDY)), tx.index.search(Query(Level.STUDY)), strict=True)
        assert all(one == other for one, other in pairs)


def test_order(database: SqlDatabase) -> None:
    newest_first = [(r["StudyDate"], r["StudyTime"]) for r in found(database, Query(Level.STUDY))]
    assert newest_first == sorted(newest_first, reverse=True)
    by_name = [r["PatientName"] for r in found(database, Query(Level.PATIENT, {"PatientName": Name("D*")}))]
    assert [name.lower() for name in by_name] == sorted(name.lower() for name in by_name)
    uid = ROWS[Level.IMAGE][0]["StudyInstanceUID"]
    numbers = [
        r["SeriesNumber"] for r in found(database, Query(Level.SERIES, {"StudyInstanceUID": Single(uid)}))
    ]
    assert numbers == sorted(numbers, key=lambda number: (len(number), number))


def test_patients_by_what_is_in_their_studies(database: SqlDatabase) -> None:
    query = Query(Level.PATIENT, {"ModalitiesInStudy": Single("MR"), "PatientSex": Single("MM")})
    expected_ids = {
        (r["PatientID"], r["IssuerOfPatientID"])
        for r in ROWS[Level.STUDY]
        if "MR" in r["ModalitiesInStudy"].split("\\") and r["PatientSex"] == "MM"
    }
    assert expected_ids
    assert {(r["PatientID"], r["IssuerOfPatientID"]) for r in found(database, query)} == expected_ids


def test_what_cannot_be_asked(database: SqlDatabase) -> None:
    for query in (
        Query(Level.STUDY, {"Modality": Single("CT")}),
        Query(Level.PATIENT, {"StudyDate": Single("20240101")}),
        Query(Level.PATIENT, {"ModalitiesInStudy": Wildcard("C*")}),
        Query(Level.STUDY, {"NumberOfStudyRelatedSeries": Single("1")}),
    ):
        with pytest.raises(ValueError, match=r"below the|counted"):
            found(database, query)
