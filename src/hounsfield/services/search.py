"""From keys to the criteria of a query: what C-FIND and QIDO-RS read alike.

A key is the path of its tag (of Request Attributes Sequence, where it is in an item of it) and a text, as an
identifier or a query string has it. What the index does not have at a level cannot be matched on there;
Modality in a query of studies is taken for Modalities in Study.
"""

from __future__ import annotations

from collections.abc import Sequence

from hounsfield.domain.attributes import ATTRIBUTES, DATE_AND_TIME, Attribute, Kind
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.matching import NOTHING, is_universal, key_span, whole
from hounsfield.domain.query import Criterion, Level, Moment, Name, OneOf, Range, Single, Wildcard

REQUEST_ATTRIBUTES = 0x00400275
#: In the items of Request Attributes Sequence; elsewhere these tags are other attributes.
OF_REQUEST = {ATTRIBUTES[k].tag: ATTRIBUTES[k] for k in ("ScheduledProcedureStepID", "RequestedProcedureID")}
BY_TAG = {found.tag: found for found in ATTRIBUTES.values() if found.tag not in OF_REQUEST}


class UnreadableKeyError(RefusedError):
    """A key whose value is no date, time or number though its attribute is one."""

    def __init__(self, attribute: Attribute) -> None:
        super().__init__(f"{attribute.keyword} cannot be read")
        self.attribute = attribute


class Criteria:
    """The criteria of one query of `level`, read key by key; `found` maps keywords to them.

    `fuzzy`: person names match by their sound too.
    """

    def __init__(self, level: Level, *, fuzzy: bool = False) -> None:
        self.level = level
        self.fuzzy = fuzzy
        self.found: dict[str, Criterion] = {}

    def attribute(self, path: Sequence[int]) -> Attribute | None:
        """What the index matches a key with this path on; None where it has nothing of the kind."""
        if len(path) == 2:
            of_request = path[0] == REQUEST_ATTRIBUTES and self.level >= Level.SERIES
            return OF_REQUEST.get(path[1]) if of_request else None
        attribute = BY_TAG.get(path[0]) if len(path) == 1 else None
        if attribute is None or attribute.level <= self.level:
            return attribute
        if attribute.keyword == "Modality" and self.level is Level.STUDY:
            return ATTRIBUTES["ModalitiesInStudy"]
        return None

    def match(self, attribute: Attribute, text: str) -> None:
        """Add the criterion of one key, unless it is universal or of what is only returned. Of two keys for
        the same attribute the first holds.

        Raises UnreadableKeyError.
        """
        if attribute.kind is Kind.COUNT or attribute.keyword == "TimezoneOffsetFromUTC":
            return
        if not text.strip(" *\\"):
            return
        criterion = self._criterion(attribute, text)
        unreadable = key_span(criterion, attribute) == NOTHING
        if attribute.kind is Kind.NUMBER:
            unreadable = any(whole(value) is None for value in text.split("\\"))
        if unreadable:
            raise UnreadableKeyError(attribute)
        if not is_universal(criterion, attribute):
            self.found.setdefault(attribute.keyword, criterion)

    def _criterion(self, attribute: Attribute, text: str) -> Criterion:
        if attribute.kind is Kind.NAME:
            return Name(text, self.fuzzy)
        if attribute.kind in (Kind.DATE, Kind.TIME) and "-" in text:
            low, _, high = text.partition("-")
            return Range(low.strip(), high.strip())
        if "\\" in text:
            return OneOf(tuple(value for value in text.split("\\") if value.strip()))
        if attribute.kind in (Kind.TEXT, Kind.SET, Kind.UID) and ("*" in text or "?" in text):
            return Wildcard(text)
        return Single(text)

    def combine_dates_and_times(self) -> None:
        """Ranges of a date and its time become one of moments (PS3.4 C.2.2.2.5.4)."""
        for date_keyword, time_keyword in DATE_AND_TIME:
            days, times = self.found.get(date_keyword), self.found.get(time_keyword)
            if not isinstance(days, Single | Range) or not isinstance(times, Single | Range):
                continue
            first, last = _ends(days, ".")
            earliest, latest = _ends(times, ":")
            low = first + earliest if len(first) == 8 else first
            high = last + latest if len(last) == 8 else last
            self.found[date_keyword] = Moment(date_keyword, time_keyword, low, high)
            del self.found[time_keyword]


def _ends(criterion: Single | Range, separators: str) -> tuple[str, str]:
    ends = (criterion.value,) * 2 if isinstance(criterion, Single) else (criterion.low, criterion.high)
    low, high = (end.translate({ord(c): None for c in separators}) for end in ends)
    return low, high
