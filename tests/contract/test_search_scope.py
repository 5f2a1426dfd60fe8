"""A search with a scope finds what is in it and counts nothing else, on both databases, at all levels."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.access import EVERYTHING, Scope
from hounsfield.domain.query import Level, Name, Query, Range, Single, Wildcard
from support_sql import arrival

SITES = ("North", "North East", "N%rth", "Süd")
#: Sites of each study; two studies of each of five patients.
STUDIES = {
    "1.2.1": ("North",),
    "1.2.2": ("North East",),
    "1.2.3": ("North", "Süd"),
    "1.2.4": (),
    "1.2.5": ("N%rth",),
    "1.2.6": ("Süd", "North East"),
    "1.2.7": ("North",),
    "1.2.8": (),
    "1.2.9": ("Süd",),
    "1.2.10": ("North East", "North"),
}
PATIENT = {uid: f"P{n // 2}" for n, uid in enumerate(STUDIES)}
COUNTS = frozenset(f"NumberOfPatientRelated{what}" for what in ("Studies", "Series", "Instances"))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlDatabase]:
    address = str(tmp_path_factory.mktemp("scope") / "index.db")
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        name = f"scope_{uuid.uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        address = server.replace("/postgres?", f"/{name}?")
    opened = open_database(address, "test")
    opened.migrate()
    with opened.write() as tx:
        tx.index.enter(
            [
                arrival(
                    f"{uid}.{series}.{n}",
                    study=uid,
                    series=f"{uid}.{series}",
                    patient=PATIENT[uid],
                    name=f"Doe^{PATIENT[uid]}",
                    modality="CT" if series == 1 else "SR",
                )
                for uid in STUDIES
                for series in (1, 2)
                for n in (1, 2, 3)
            ]
        )
        for uid, sites in STUDIES.items():
            tx.connection.execute("UPDATE study SET sites = ? WHERE uid = ?", ("\\".join(sites), uid))
    yield opened
    opened.close()


plain = st.builds(
    Scope,
    st.none() | st.frozensets(st.sampled_from([*SITES, "", "Nor", "\0", "Nowhere"]), max_size=3),
    st.none() | st.frozensets(st.sampled_from([*STUDIES, "9.9", "\ud800"]), max_size=3),
)
scopes = plain | st.builds(lambda inner, outer: inner.narrowed(outer), plain, plain)
criteria = st.sampled_from(
    [
        {},
        {"PatientName": Name("doe*")},
        {"PatientID": Single("P1")},
        {"PatientID": Wildcard("P*")},
        {"StudyInstanceUID": Single("1.2.3")},
        {"StudyDate": Range("20240101", "20240131")},
        {"AccessionNumber": Single("A1")},
        {"ModalitiesInStudy": Single("SR")},
    ]
)


def seen(scope: Scope) -> list[str]:
    return [uid for uid, sites in STUDIES.items() if scope.sees(uid, sites)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scopes, criteria, st.sampled_from([Level.STUDY, Level.SERIES, Level.IMAGE]))
def test_only_what_is_in_the_scope_is_found(
    database: SqlDatabase, scope: Scope, wanted: dict[str, object], level: Level
) -> None:
    with database.read() as tx:
        everything = list(tx.index.search(Query(level, wanted)))  # type: ignore[arg-type]
        found = list(tx.index.search(Query(level, wanted, scope=scope)))  # type: ignore[arg-type]
    inside = set(seen(scope))
    assert found == [row for row in everything if row["StudyInstanceUID"] in inside]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scopes, criteria)
def test_patients_are_those_of_the_studies_and_counts_count_them(
    database: SqlDatabase, scope: Scope, wanted: dict[str, object]
) -> None:
    wanted = {k: v for k, v in wanted.items() if k in ("PatientName", "PatientID", "ModalitiesInStudy")}
    with database.read() as tx:
        found = list(tx.index.search(Query(Level.PATIENT, wanted, COUNTS, scope=scope)))  # type: ignore[arg-type]
    of = {p: [uid for uid in seen(scope) if PATIENT[uid] == p] for p in PATIENT.values()}
    expected = {
        p: uids
        for p, uids in of.items()
        if uids and wanted.get("PatientID") in (None, Single(p), Wildcard("P*"))
    }
    assert {row["PatientID"] for row in found} == expected.keys() and len(found) == len(expected)
    for row in found:
        uids = expected[row["PatientID"]]
        counts = tuple(row[f"NumberOfPatientRelated{what}"] for what in ("Studies", "Series", "Instances"))
        assert counts == (str(len(uids)), str(2 * len(uids)), str(6 * len(uids)))


def test_the_limit_counts_what_is_in_the_scope(database: SqlDatabase) -> None:
    scope = Scope(frozenset({"Süd"}))
    with database.read() as tx:
        rows = [
            row["StudyInstanceUID"]
            for offset in range(4)
            for row in tx.index.search(Query(Level.STUDY, limit=1, offset=offset, scope=scope))
        ]
    assert sorted(rows) == seen(scope) == ["1.2.3", "1.2.6", "1.2.9"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scopes, st.sampled_from([*STUDIES, "9.9", "\0", "\ud800", ""]))
def test_one_study_is_seen(database: SqlDatabase, scope: Scope, uid: str) -> None:
    with database.read() as tx:
        assert tx.index.study_seen(uid, scope) == (uid in seen(scope))


def test_the_unlimited_pay_nothing(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement is the one without a scope."""
    from hounsfield.adapters.sql import search as module

    statements = []
    made = module._statement

    def noted(*of: object) -> str:
        statements.append(made(*of))  # type: ignore[arg-type]
        return statements[-1]

    monkeypatch.setattr(module, "_statement", noted)
    with database.read() as tx:
        for scope in (None, EVERYTHING, EVERYTHING.narrowed(Scope())):
            list(tx.index.search(Query(Level.STUDY, {"PatientID": Single("P1")}, limit=5, scope=scope)))
    assert len(statements) == 3 and len(set(statements)) == 1 and "sites" not in statements[0]


def test_a_few_granted_studies_are_found_by_their_uids(database: SqlDatabase) -> None:
    """However many studies there are: no walk through all of them."""
    from hounsfield.adapters.sql.search_scope import scope_clause

    clause = scope_clause(Scope(studies=frozenset({"1.2.1"})), "sqlite")
    with database.read() as tx:
        if tx.connection.dialect != "sqlite":
            pytest.skip("PostgreSQL plans by how many rows there are")
        for sql in (
            f"SELECT s.uid FROM study s CROSS JOIN patient p WHERE s.patient_id = p.id AND {clause.sql}"
            " ORDER BY s.study_date DESC, s.study_time DESC, s.id DESC",
            "SELECT p.name FROM patient p"
            f" WHERE p.id IN (SELECT s.patient_id FROM study s WHERE {clause.sql}) ORDER BY p.name_key, p.id",
        ):
            plan = " ".join(
                str(r[3]) for r in tx.connection.execute(f"EXPLAIN QUERY PLAN {sql}", clause.parameters)
            )
            assert "uq_study_uid" in plan or "autoindex_study" in plan, plan
            assert "SCAN s " not in plan and "SCAN p" not in plan, plan
