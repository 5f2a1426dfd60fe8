"""`Index.search`: a query as a statement for either database, and its rows, streamed.

The statement starts from one table, the one whose condition finds fewest rows, and takes its order from an
index there, so that neither a broad query nor a limit makes the database sort the archive:

- from a UID, a Patient ID or an accession number: newest study first;
- from the patient's name, birth date, or the start of a Patient ID or accession number: in its order, the
  newest study of each patient first;
- from dates, or where nothing narrows it down: newest study first;

below that by series number and instance number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from hounsfield.adapters.sql.connection import SQLITE, Connection
from hounsfield.adapters.sql.search_scope import scope_clause
from hounsfield.adapters.sql.search_where import (
    ANYTHING,
    COLUMNS,
    INTEGERS,
    Clause,
    clause_of,
    first_group_clause,
    other_groups_clause,
    rows_first,
)
from hounsfield.domain.attributes import ATTRIBUTES, Kind
from hounsfield.domain.matching import accepts, is_universal, test_of
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
from hounsfield.domain.timezones import adjusted, widened

#: A limit up to which the rows are fetched at once.
_AT_ONCE = 1000
#: As far as a condition's rows are counted to compare it with another.
_PROBE = 4000
#: A limit that is none.
_ALL = 2**62

Row = Mapping[str, str]

_TABLE_OF = {Level.PATIENT: "p", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
_ALIASES = "psei"
_TABLES = {
    "p": "patient p",
    "s": "study s",
    "e": "series e",
    "i": "instance i",
    "c": "term c",
    "t": "term t",
}
_JOINS = {
    "s": "s.patient_id = p.id",
    "e": "e.study_id = s.id",
    "i": "i.series_id = e.id",
    "c": "c.id = i.class_id",
    "t": "t.id = i.syntax_id",
}
_RELATED = {
    "NumberOfPatientRelatedStudies": "SELECT count(*) FROM study x WHERE x.patient_id = p.id",
    "NumberOfPatientRelatedSeries": "SELECT sum(x.n_series) FROM study x WHERE x.patient_id = p.id",
    "NumberOfPatientRelatedInstances": "SELECT sum(x.n_instances) FROM study x WHERE x.patient_id = p.id",
}


class Start(NamedTuple):
    """Where a statement starts: at which table, by which criterion, in which order of that table's rows."""

    table: str
    keyword: str = ""
    order: str = ""


def search(connection: Connection, query: Query) -> Iterator[Row]:
    """Rows of the query's level with the attributes of the levels above: what `domain.matching` accepts.

    A criterion of a level below the query's is a ValueError, except Modalities in Study and SOP Classes in
    Study (without wild cards) at patient level, which are met by a patient with such a study.
    """
    _check(query)
    if query.adjustment is not None:
        return _adjusted(connection, query, query.adjustment)
    start = _start(connection, query)
    limit = query.offset + query.limit if query.limit else 0
    if start.keyword == "PatientName":
        rows = _by_name(connection, query, start, limit)
    else:
        clauses = _clauses(query, connection.dialect, start)
        if all(clause.exact for clause in clauses):
            return _rows(connection, query, start, clauses, query.limit, query.offset)
        rows = (row for row in _rows(connection, query, start, clauses) if _meets(query, row))
    return islice(rows, query.offset, limit or None)


def _adjusted(connection: Connection, query: Query, adjustment: Adjustment) -> Iterator[Row]:
    """The rows of a wider query, each seen from the zone asked for before it is looked at."""
    found = (adjusted(row, adjustment) for row in search(connection, widened(query)))
    rows = (row for row in found if _meets(query, row))
    return islice(rows, query.offset, query.offset + query.limit if query.limit else None)


def _check(query: Query) -> None:
    for keyword, criterion in query.criteria.items():
        attribute = ATTRIBUTES[keyword]
        if attribute.kind is Kind.COUNT and not is_universal(criterion, attribute):
            raise ValueError(f"{keyword} is counted, not matched")
        if attribute.level <= query.level:
            continue
        if attribute.kind is not Kind.SET or isinstance(criterion, Wildcard):
            raise ValueError(f"{keyword} is below the {query.level.name} level of the query")


def _meets(query: Query, row: Row) -> bool:
    own = {k: c for k, c in query.criteria.items() if ATTRIBUTES[k].level <= query.level}
    return accepts(own, row)


# Where to start


def _start(connection: Connection, query: Query) -> Start:
    """The lowest unique key, else the condition that finds fewest rows."""
    unique = ""
    candidates: list[tuple[Start, Clause]] = []
    for keyword, criterion in query.criteria.items():
        if ATTRIBUTES[keyword].level > query.level:
            continue
        if keyword.endswith("InstanceUID") and isinstance(criterion, Single | OneOf):
            unique = max(unique, keyword, key=lambda k: ATTRIBUTES[k].level if k else -1)
        elif keyword in _START_ORDER:
            clause = _start_clause(keyword, criterion, connection.dialect)
            if clause.indexed:
                order = "" if isinstance(criterion, Single | OneOf) else _START_ORDER[keyword]
                candidates.append((Start(COLUMNS[keyword][0], keyword, order), clause))
    if unique:
        return Start(COLUMNS[unique][0], unique)
    if len(candidates) > 1:
        return min(candidates, key=lambda candidate: _count(connection, *candidate))[0]
    if candidates:
        return candidates[0][0]
    return Start("p", "", "p.name_key, p.id") if query.level is Level.PATIENT else Start("s")


#: The conditions to start from, and the order of their index ('': newest study first).
_START_ORDER = {
    "PatientID": "p.patient_id, p.id",
    "AccessionNumber": "s.accession, s.id",
    "PatientName": "p.name_key, p.id",
    "StudyDate": "",
    "PatientBirthDate": "p.birth_date, p.id",
}


def _start_clause(keyword: str, criterion: Criterion, dialect: str) -> Clause:
    if is_universal(criterion, ATTRIBUTES[keyword]):
        return ANYTHING
    if keyword != "PatientName":
        return clause_of(keyword, criterion, dialect)
    if isinstance(criterion, OneOf) or (isinstance(criterion, Name) and criterion.fuzzy):
        return ANYTHING
    return first_group_clause(criterion, dialect)


def _count(connection: Connection, start: Start, clause: Clause, most: int = _PROBE) -> int:
    """How many rows of the table to start from the condition finds, counted no further than `most`."""
    table = _TABLES[start.table]
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {clause.sql} LIMIT {most}) AS probe"
    return int(connection.execute(sql, clause.parameters).fetchone()[0])


# The statement


def _clauses(query: Query, dialect: str, start: Start) -> list[Clause]:
    """All conditions but that on the patient's name where the search starts from it."""
    found: list[Clause] = []
    of_studies: list[Clause] = []
    of_index: list[Clause] = []
    by_index = _answered_by_index(query, dialect, start)
    by_patient = False
    if query.scope is not None and not query.scope.unlimited:
        within = scope_clause(query.scope, dialect)
        (of_studies if query.level is Level.PATIENT else found).append(within)
        by_patient = within.indexed  # a few studies by their UIDs: from them to the patients
    for keyword, criterion in query.criteria.items():
        if keyword == start.keyword == "PatientName":
            continue
        clause = clause_of(keyword, criterion, dialect, scan=keyword != start.keyword)
        if ATTRIBUTES[keyword].level > query.level:
            of_studies.append(clause)
        else:
            (of_index if keyword in by_index else found).append(clause)
    if of_index:
        found.append(rows_first(of_index, "study", dialect))
    if of_studies:
        conditions = " AND ".join(clause.sql for clause in of_studies)
        sql = (
            f"p.id IN (SELECT s.patient_id FROM study s WHERE {conditions})"
            if by_patient
            else f"EXISTS (SELECT 1 FROM study s WHERE s.patient_id = p.id AND {conditions})"
        )
        found.append(Clause(sql, tuple(v for c in of_studies for v in c.parameters)))
    return found


def _answered_by_index(query: Query, dialect: str, start: Start) -> tuple[str, ...]:
    """The keywords that PostgreSQL shall look for in the index of study dates before it reads a study: where
    the days are few, so that the list of studies is short. SQLite does so by itself."""
    if dialect == SQLITE or start.keyword != "StudyDate" or "ModalitiesInStudy" not in query.criteria:
        return ()
    match query.criteria["StudyDate"]:
        case Single():
            few = True
        case Range(low, high) | Moment(low=low, high=high):
            few = 0 <= _month(high) - _month(low) <= 1
        case _:
            few = False
    return ("StudyDate", "StudyTime", "ModalitiesInStudy") if few else ()


def _month(date: str) -> int:
    """Months since the year 0; far before any where it cannot be told."""
    digits = date.replace(".", "")[:6]
    return int(digits[:4]) * 12 + int(digits[4:]) if len(digits) == 6 and digits.isdecimal() else -(2**31)


def _by_name(connection: Connection, query: Query, start: Start, limit: int) -> Iterator[Row]:
    """By the index of alphabetic groups first; then those of whom only another group matches."""
    criterion = query.criteria["PatientName"]
    others = _clauses(query, connection.dialect, start)
    clauses = [first_group_clause(criterion, connection.dialect), *others]
    if all(clause.exact for clause in clauses):
        yield from _rows(connection, query, start, clauses, limit)
    else:
        yield from (row for row in _rows(connection, query, start, clauses) if _meets(query, row))
    other = other_groups_clause(criterion, connection.dialect)
    if not _count(connection, start, other, 1):
        return
    fits = test_of(criterion, ATTRIBUTES["PatientName"])
    clauses = [rows_first([other], "patient", connection.dialect), *others]
    for row in _rows(connection, query, start, clauses):
        if not fits(row["PatientName"].partition("=")[0]) and _meets(query, row):
            yield row


def _rows(
    connection: Connection, query: Query, start: Start, clauses: list[Clause], limit: int = 0, offset: int = 0
) -> Iterator[Row]:
    related = tuple(keyword for keyword in _RELATED if keyword in query.wanted)
    wheres = tuple(clause.sql for clause in clauses)
    limited = bool(limit or offset)
    counted = ANYTHING
    if related and query.scope is not None and not query.scope.unlimited:
        counted = scope_clause(query.scope, connection.dialect, "x")
    sql = _statement(query.level, start.table, start.order, related, counted.sql, wheres, limited)
    parameters = [*counted.parameters] * len(related)
    parameters += [value for clause in clauses for value in clause.parameters]
    if limited:
        parameters += (limit or _ALL, offset)
    if 0 < limit <= _AT_ONCE or _finds_few(query, start):
        found: Iterator[tuple[Any, ...]] = iter(connection.execute(sql, parameters))
    else:
        found = connection.stream(sql, parameters)
    texts, numbers, counts = _columns(query.level, related)
    keywords = (*texts, *numbers, *counts)
    for values in found:
        row = dict(zip(keywords, values, strict=False))
        for keyword in numbers:
            row[keyword] = str(row[keyword]) if row[keyword] else ""
        for keyword in counts:
            row[keyword] = str(row[keyword] or 0)
        yield row


def _finds_few(query: Query, start: Start) -> bool:
    """Whether the result can be fetched at once: one study or series, or the studies of one patient."""
    if not isinstance(query.criteria.get(start.keyword), Single):
        return False
    of_patient = start.keyword in ("PatientID", "AccessionNumber") and query.level <= Level.STUDY
    return of_patient or start.keyword.endswith("InstanceUID")


@lru_cache(maxsize=16)
def _columns(
    level: Level, related: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Keywords of the columns of a row: texts, numbers that may be absent, counts."""
    known = [keyword for keyword in COLUMNS if ATTRIBUTES[keyword].level <= level]
    counts = [keyword for keyword in known if ATTRIBUTES[keyword].kind is Kind.COUNT]
    texts = [keyword for keyword in known if keyword not in INTEGERS and keyword not in counts]
    return tuple(texts), tuple(k for k in known if k in INTEGERS), (*counts, *related)


@lru_cache(maxsize=512)
def _statement(
    level: Level,
    table: str,
    order: str,
    related: tuple[str, ...],
    counted: str,
    wheres: tuple[str, ...],
    limited: bool,
) -> str:
    texts, numbers, counts = _columns(level, related)
    columns = [COLUMNS[keyword] for keyword in (*texts, *numbers, *counts) if keyword not in _RELATED]
    columns += [f"({_RELATED[keyword]} AND {counted})" for keyword in related]
    # The tables in the order to visit them: SQLite keeps to that of a CROSS JOIN, PostgreSQL makes a plan.
    deepest = _ALIASES.index(_TABLE_OF[level])
    at = _ALIASES.index(table)
    visited = [*_ALIASES[at::-1], *_ALIASES[at + 1 : deepest + 1]]
    if level is Level.IMAGE:
        visited += ["c", "t"]
    joins = [_JOINS[alias] for alias in visited if alias in _JOINS]
    sql = f"SELECT {', '.join(columns)} FROM {' CROSS JOIN '.join(_TABLES[alias] for alias in visited)}"
    if joins or wheres:
        sql += f" WHERE {' AND '.join([*joins, *wheres])}"
    sql += f" ORDER BY {_order(level, table, order)}"
    return sql + " LIMIT ? OFFSET ?" if limited else sql


def _order(level: Level, table: str, order: str) -> str:
    if level is Level.PATIENT:
        return order or "p.name_key, p.id"
    parts = [order] if order else []
    if not (order and table == "s"):
        parts.append("s.study_date DESC, s.study_time DESC, s.id DESC")
    if level >= Level.SERIES:
        parts.append("length(e.number), e.number, e.id")  # the order of numbers, for numbers that are texts
    if level is Level.IMAGE:
        parts.append("length(i.number), i.number, i.id")
    return ", ".join(parts)
