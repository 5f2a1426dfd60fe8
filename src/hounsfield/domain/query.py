"""A query of the index: a level and criteria, as PS3.4 C.2.2.2 knows them.

Criteria are values without a database; `domain.matching` says what each matches, the SQL adapter turns
them into statements that agree with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import IntEnum

from hounsfield.domain.access import Scope


class Level(IntEnum):
    """Query/Retrieve level (PS3.4 C.6), ordered from the root down."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class Single:
    """Single value matching (C.2.2.2.1): case-sensitive, except for person names."""

    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """List of UID matching (C.2.2.2.2)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wild card matching (C.2.2.2.4): '*' any sequence of characters, also none; '?' any one character."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Name:
    """Person name matching: without regard to case, accents and component groups; with wild cards.

    `fuzzy` also matches names that sound alike and components in another order.
    """

    pattern: str
    fuzzy: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """Range matching (C.2.2.2.5) of DA, TM or DT. '' leaves an end open; both ends belong to it."""

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Combined date and time matching (C.2.2.2.5.4): `date_keyword` and `time_keyword` as one moment.

    `low` and `high` are "YYYYMMDDHHMMSS.FFFFFF" or a prefix of it, '' leaves an end open.
    """

    date_keyword: str
    time_keyword: str
    low: str
    high: str


Criterion = Single | OneOf | Wildcard | Name | Range | Moment


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Timezone query adjustment (PS3.4 C.5.1.1): dates and times are meant, and wanted, at the offset `asked`
    from UTC, as "+0100"; those of studies that name no offset are taken to be in `assumed`."""

    asked: str
    assumed: tzinfo


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. `criteria` maps a keyword of `domain.attributes` to its criterion.

    Universal matching (C.2.2.2.3) is the absence of a criterion. A `Moment` stands under its date keyword.
    `wanted` names the keywords to return (counts are only computed when wanted). With an `adjustment` the
    rows are those of `domain.timezones.adjusted`: they are matched and returned so. With a `scope` there is
    nothing outside of it: a patient without a study in it is not found, and counts count what is in it.
    """

    level: Level
    criteria: Mapping[str, Criterion] = field(default_factory=dict)
    wanted: frozenset[str] = frozenset()
    limit: int = 0  # 0: all
    offset: int = 0
    adjustment: Adjustment | None = None
    scope: Scope | None = None
