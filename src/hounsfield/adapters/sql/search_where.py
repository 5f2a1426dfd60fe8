"""Criteria of a query as conditions in SQL, which find what `domain.matching` accepts.

A condition that SQL can only say roughly lets more rows through and is marked as not exact: the search then
asks `domain.matching` about each row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from hounsfield.adapters.sql.connection import SQLITE
from hounsfield.domain.attributes import ATTRIBUTES, Attribute, Kind
from hounsfield.domain.matching import (
    NOTHING,
    is_universal,
    key_sounds,
    key_span,
    moment_span,
    name_patterns,
    whole,
)
from hounsfield.domain.query import Criterion, Moment, Name, OneOf, Single, Wildcard

#: Where each keyword is kept. p, s, e, i: patient, study, series, instance; c, t: terms of the instance.
COLUMNS: Mapping[str, str] = {
    "PatientName": "p.name",
    "PatientID": "p.patient_id",
    "IssuerOfPatientID": "p.issuer",
    "PatientBirthDate": "p.birth_date",
    "PatientSex": "p.sex",
    "StudyInstanceUID": "s.uid",
    "StudyDate": "s.study_date",
    "StudyTime": "s.study_time",
    "AccessionNumber": "s.accession",
    "StudyID": "s.study_id",
    "StudyDescription": "s.description",
    "ReferringPhysicianName": "s.referring",
    "InstitutionName": "s.institution",
    "TimezoneOffsetFromUTC": "s.timezone",
    "ModalitiesInStudy": "s.modalities",
    "SOPClassesInStudy": "s.sop_classes",
    "NumberOfStudyRelatedSeries": "s.n_series",
    "NumberOfStudyRelatedInstances": "s.n_instances",
    "SeriesInstanceUID": "e.uid",
    "Modality": "e.modality",
    "SeriesNumber": "e.number",
    "SeriesDescription": "e.description",
    "SeriesDate": "e.series_date",
    "SeriesTime": "e.series_time",
    "BodyPartExamined": "e.body_part",
    "Laterality": "e.laterality",
    "StationName": "e.station",
    "Manufacturer": "e.manufacturer",
    "ManufacturerModelName": "e.model",
    "ProtocolName": "e.protocol",
    "PerformedProcedureStepStartDate": "e.performed_date",
    "PerformedProcedureStepStartTime": "e.performed_time",
    "ScheduledProcedureStepID": "e.sps_id",
    "RequestedProcedureID": "e.rp_id",
    "NumberOfSeriesRelatedInstances": "e.n_instances",
    "SOPInstanceUID": "i.uid",
    "SOPClassUID": "c.value",
    "AvailableTransferSyntaxUID": "t.value",
    "InstanceNumber": "i.number",
    "Rows": "i.rows",
    "Columns": "i.columns",
    "BitsAllocated": "i.bits",
    "NumberOfFrames": "i.frames",
    "ContentDate": "i.content_date",
    "ContentTime": "i.content_time",
}
#: Kept as integers, 0 for absent.
INTEGERS = frozenset({"Rows", "Columns", "BitsAllocated", "NumberOfFrames"})
_NAME_KEYS = {"PatientName": "p.name_key", "ReferringPhysicianName": "s.referring_key"}

#: More stars than this in a pattern are left to `domain.matching`: databases backtrack.
_MOST_STARS = 3
#: More alternatives than this in a key are left to `domain.matching`.
_MOST_ALTERNATIVES = 50


class Clause(NamedTuple):
    sql: str
    parameters: tuple[Any, ...] = ()
    exact: bool = True
    indexed: bool = False  # an index on the column can find its rows


NEVER = Clause("1 = 0", indexed=True)
ANYTHING = Clause("1 = 1", (), False)


def clause_of(keyword: str, criterion: Criterion, dialect: str, *, scan: bool = False) -> Clause:
    """The condition for one criterion. `scan`: do not let SQLite choose an index for it."""
    attribute = ATTRIBUTES[keyword]
    if is_universal(criterion, attribute):
        return Clause("1 = 1")
    make = _Maker(dialect, "+" if scan and dialect == SQLITE else "")
    if isinstance(criterion, Moment):
        return make.moment(criterion)
    if attribute.kind is Kind.NAME:
        return make.any_name(keyword, criterion)
    return make.plain(keyword, attribute, criterion)


def first_group_clause(criterion: Criterion, dialect: str) -> Clause:
    """The condition that the alphabetic group of the patient's name meets, fuzzy sounds aside."""
    return _Maker(dialect, "").names("p.name_key", _pattern(criterion))


def other_groups_clause(criterion: Criterion, dialect: str) -> Clause:
    """The condition that the ideographic or the phonetic group of the patient's name meets."""
    return _Maker(dialect, "").other_names(_pattern(criterion))


def member(column: str, value: str, dialect: str) -> Clause:
    """The condition that one of a column's values, joined by backslashes, is this one."""
    return _Maker(dialect, "").member(column, value)


def rows_first(clauses: list[Clause], table: str, dialect: str) -> Clause:
    """Conditions on one table as a list of its rows made first: from its indexes alone where they suffice,
    and lest PostgreSQL walk the whole table in the order of the result in search of the rows."""
    both = all_of(clauses)
    alias = table[0]
    rows = f"SELECT {alias}.id FROM {table} {alias} WHERE {both.sql}"
    one_of = f"{alias}.id IN ({rows})" if dialect == SQLITE else f"{alias}.id = ANY(ARRAY({rows}))"
    return both._replace(sql=one_of)


def all_of(clauses: list[Clause]) -> Clause:
    return Clause(
        " AND ".join(clause.sql for clause in clauses),
        tuple(parameter for clause in clauses for parameter in clause.parameters),
        all(clause.exact for clause in clauses),
        any(clause.indexed for clause in clauses),
    )


def _indexed(sql: str, *parameters: Any) -> Clause:
    return Clause(sql, parameters, indexed=True)


def _pattern(criterion: Criterion) -> str:
    match criterion:
        case Name(pattern) | Wildcard(pattern):
            return pattern
        case Single(value):
            return value
    raise ValueError(f"a person name cannot be matched by {criterion!r}")


def keepable(text: str) -> bool:
    """Whether a database could hold the text: PostgreSQL knows no NUL, neither knows half a character."""
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _literal_start(pattern: str) -> str:
    for at, letter in enumerate(pattern):
        if letter in "*?":
            return pattern[:at]
    return pattern


def _after(prefix: str) -> str:
    """The first text behind all that begin with `prefix`; '' where there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if code <= 0x10FFFF:
            return prefix[:at] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)
    return ""


def either(clauses: list[Clause]) -> Clause:
    if len(clauses) == 1:
        return clauses[0]
    return Clause(
        "(" + " OR ".join(clause.sql for clause in clauses) + ")",
        tuple(parameter for clause in clauses for parameter in clause.parameters),
        all(clause.exact for clause in clauses),
        all(clause.indexed for clause in clauses),
    )


class _Maker:
    """The conditions in one dialect; `no_index` stands before each column."""

    def __init__(self, dialect: str, no_index: str) -> None:
        self.sqlite = dialect == SQLITE
        self.no_index = no_index
        self.position = "instr" if self.sqlite else "strpos"

    def plain(self, keyword: str, attribute: Attribute, criterion: Criterion) -> Clause:
        column = self.no_index + COLUMNS[keyword]
        if isinstance(criterion, OneOf):
            return self.one_of(keyword, attribute, column, criterion)
        span = key_span(criterion, attribute)
        if span is not None:
            return self.span(column, span)
        if isinstance(criterion, Single):
            key = criterion.value.strip(" ")
            if attribute.kind is Kind.NUMBER:
                return self.number(keyword, column, key)
            if not key or not keepable(key):
                return NEVER
            if attribute.kind is Kind.SET:
                return self.member(column, key)
            return _indexed(f"{column} = ?", key)
        if not isinstance(criterion, Wildcard):
            return NEVER
        if attribute.kind is Kind.SET or keyword in INTEGERS:
            return ANYTHING
        return self.glob(column, criterion.pattern.strip(" "))

    def one_of(self, keyword: str, attribute: Attribute, column: str, criterion: OneOf) -> Clause:
        values = [value for value in dict.fromkeys(criterion.values) if keepable(value)]
        if attribute.kind in (Kind.UID, Kind.TEXT) and not any("*" in v or "?" in v for v in values):
            keys = [key for value in values if (key := value.strip(" "))]
            if self.sqlite:
                return _indexed(f"{column} IN (SELECT value FROM json_each(?))", json.dumps(keys))
            return _indexed(f"{column} = ANY(?)", keys)
        if len(values) > _MOST_ALTERNATIVES:
            return ANYTHING
        each = [Wildcard(value) if "*" in value or "?" in value else Single(value) for value in values]
        if any(is_universal(one, attribute) for one in each):
            return Clause("1 = 1")
        return either([self.plain(keyword, attribute, one) for one in each]) if each else NEVER

    def span(self, column: str, span: tuple[str, str]) -> Clause:
        if span == NOTHING:
            return NEVER
        low, high = span
        if low and high:
            return _indexed(f"({column} >= ? AND {column} <= ?)", low, high)
        if low:
            return _indexed(f"{column} >= ?", low)
        return _indexed(f"({column} > '' AND {column} <= ?)", high)

    def moment(self, criterion: Moment) -> Clause:
        spans = moment_span(criterion)
        if spans is None:
            return NEVER
        (first_day, last_day), (low, high) = spans
        date, time = COLUMNS[criterion.date_keyword], COLUMNS[criterion.time_keyword]
        days = self.span(self.no_index + date, (first_day, last_day))
        moments = self.span(f"({date} || {time})", (low, high))
        return _indexed(f"({days.sql} AND {moments.sql})", *days.parameters, *moments.parameters)

    def number(self, keyword: str, column: str, key: str) -> Clause:
        number = whole(key)
        if number is None:
            return NEVER
        if keyword in INTEGERS:
            return Clause(f"{column} = ?", (number,)) if 0 < number < 2**31 else NEVER
        return Clause(f"{self.position}({column}, ?) > 0", (str(abs(number)),), False)

    def member(self, column: str, key: str) -> Clause:
        if "\\" in key:
            return NEVER
        # the first, cheaper look leaves few rows for the second
        within = f"{self.position}({column}, ?) > 0"
        whole_value = f"{self.position}('\\' || {column} || '\\', ?) > 0"
        return Clause(f"({within} AND {whole_value})", (key, f"\\{key}\\"))

    def prefix(self, column: str, prefix: str) -> Clause:
        end = _after(prefix)
        if not end:
            return _indexed(f"{column} >= ?", prefix)
        return _indexed(f"({column} >= ? AND {column} < ?)", prefix, end)

    def glob(self, column: str, pattern: str) -> Clause:
        """Wild card matching: as a range where the pattern begins with text, for the index."""
        if not keepable(pattern):
            return NEVER
        start = _literal_start(pattern)
        if start == pattern:
            return _indexed(f"{column} = ?", pattern) if pattern else NEVER
        rest = pattern[len(start) :]
        if not start:
            within = ANYTHING
        else:
            within = self.prefix(column, start)
            if not rest.strip("*"):
                return within
        if len([piece for piece in rest.split("*") if piece]) > _MOST_STARS:
            return within._replace(exact=False)
        likeness = self.likeness(column, pattern)
        both = f"({within.sql} AND {likeness.sql})"
        return Clause(both, within.parameters + likeness.parameters, indexed=within.indexed)

    def likeness(self, column: str, pattern: str) -> Clause:
        while "**" in pattern:
            pattern = pattern.replace("**", "*")
        if self.sqlite:
            return Clause(f"{column} GLOB ?", (pattern.replace("[", "[[]"),))
        for special in "\\%_":
            pattern = pattern.replace(special, "\\" + special)
        return Clause(f"{column} LIKE ?", (pattern.replace("*", "%").replace("?", "_"),))

    def names(self, column: str, pattern: str) -> Clause:
        """Name matching against a column of name keys."""
        clauses = []
        for key in name_patterns(pattern):
            if not keepable(key.text):
                clauses.append(NEVER)
            elif not key.open_end:
                clauses.append(self.glob(column, key.text))
            elif _literal_start(key.text) == key.text:
                # one range for both, so that the index can be walked in order
                low, high = key.text + "^", _after(key.text + "^")
                sql = f"({column} >= ? AND {column} < ? AND ({column} = ? OR {column} >= ?))"
                clauses.append(_indexed(sql, key.text, high, key.text, low))
            else:
                clauses.append(self.glob(column, key.text))
                clauses.append(self.glob(column, key.text + "^*"))
        return either(clauses) if clauses else NEVER

    def other_names(self, pattern: str) -> Clause:
        """Name matching against the ideographic and the phonetic group, whose indexes know no empty ones."""
        found = []
        for column in ("p.ideographic_key", "p.phonetic_key"):
            names = self.names(column, pattern)
            found.append(names._replace(sql=f"({column} <> '' AND {names.sql})"))
        return either(found)

    def any_name(self, keyword: str, criterion: Criterion) -> Clause:
        """Name matching in all groups and, if fuzzy, by sound."""
        if isinstance(criterion, OneOf):
            each = [self.any_name(keyword, Name(value)) for value in criterion.values[:_MOST_ALTERNATIVES]]
            return either(each) if 0 < len(each) == len(criterion.values) else ANYTHING
        pattern = _pattern(criterion)
        fuzzy = isinstance(criterion, Name) and criterion.fuzzy
        clauses = [self.names(self.no_index + _NAME_KEYS[keyword], pattern)]
        if keyword == "PatientName":
            clauses.append(self.other_names(pattern))
            sounds = key_sounds(pattern) if fuzzy else ()
            if sounds:
                heard = " AND ".join([f"{self.position}(p.sounds, ?) > 0"] * len(sounds))
                clauses.append(Clause(f"({heard})", sounds))
        elif fuzzy:
            return ANYTHING
        else:
            column = COLUMNS[keyword]
            clauses.append(Clause(f"{self.position}({column}, '=') > 0", (), False))
        return either(clauses)
