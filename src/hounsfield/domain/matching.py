"""What a key matches: attribute matching of PS3.4 C.2.2.2, value by value.

The decisions where the standard leaves room:

- Spaces at both ends of a key and of a value never count. Text is case-sensitive, names are not.
- A key of nothing but '*' is universal and also matches an absent value; no other key does.
- A date or time of less than full precision means all of the span it names: the TM '10' is 10:00:00 to
  10:59:59.999999, the DA '2024' the whole year; both ends of a range belong to it. A range whose ends are
  reversed matches nothing, one that is open at both ends everything, one that cannot be read nothing.
- A value that is not a valid date or time is compared as the text it is.
- A person name matches when one of the key's component groups matches one of the value's. A key without wild
  cards has to be the whole group: 'DOE' matches 'Doe' and 'DOE^^', not 'DOE^JOHN'. A '*' runs across
  components, so 'DOE*' matches 'DOE^JOHN' and 'DOERING'; 'DOE^*' matches 'DOE^JOHN' and 'DOE'.
- Fuzzy also matches if each word of the key sounds like a word of the name, in whatever order.
- Several values in a key of text match like a list of UIDs: any of them. So do several values of a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hounsfield.domain.attributes import ATTRIBUTES, Attribute, Kind
from hounsfield.domain.moments import (
    InvalidKeyError,
    date_bounds,
    datetime_bounds,
    moment_bounds,
    time_bounds,
)
from hounsfield.domain.names import fold, group_key, group_keys, name_sounds, sound, words
from hounsfield.domain.query import Criterion, Moment, Name, OneOf, Range, Single, Wildcard

Test = Callable[[str], bool]


def matches(criterion: Criterion, attribute: Attribute, value: str) -> bool:
    """Whether `value`, as the index returns it ('' for absent), matches.

    For a `Moment` the value is that of the date and that of the time, joined by a backslash.
    """
    return test_of(criterion, attribute)(value)


def accepts(criteria: Mapping[str, Criterion], row: Mapping[str, str]) -> bool:
    """Whether a row of keyword -> value meets every criterion of a query."""
    for keyword, criterion in criteria.items():
        if isinstance(criterion, Moment):
            value = f"{row.get(criterion.date_keyword, '')}\\{row.get(criterion.time_keyword, '')}"
        else:
            value = row.get(keyword, "")
        if not test_of(criterion, ATTRIBUTES[keyword])(value):
            return False
    return True


def is_universal(criterion: Criterion, attribute: Attribute) -> bool:
    """Whether the criterion matches every value, also an absent one (C.2.2.2.3)."""
    if isinstance(criterion, Name) or (isinstance(criterion, Wildcard) and attribute.kind is Kind.NAME):
        return "*" in criterion.pattern and not name_patterns(criterion.pattern)
    if isinstance(criterion, Wildcard):
        return "*" in criterion.pattern and not criterion.pattern.strip(" *")
    if isinstance(criterion, Range | Moment):
        return not criterion.low and not criterion.high
    return False


@lru_cache(maxsize=1024)
def test_of(criterion: Criterion, attribute: Attribute) -> Test:
    """The test that `matches` makes, ready to be made on many values."""
    if is_universal(criterion, attribute):
        return lambda value: True
    match criterion:
        case Moment():
            return _moment_test(criterion)
        case Name():
            return _name_test(criterion)
        case OneOf(values):
            tests = [test_of(_one(value), attribute) for value in values]
            return lambda value: any(test(value) for test in tests)
        case Single(value) if attribute.kind is Kind.NAME:
            return _name_test(Name(value))
        case Wildcard(pattern) if attribute.kind is Kind.NAME:
            return _name_test(Name(pattern))
    span = key_span(criterion, attribute)
    if span is not None:
        low, high = span
        if attribute.vr == "DT":
            return _datetime_test(low, high)
        return lambda value: value != "" and low <= value and (not high or value <= high)
    return _text_test(criterion, attribute)


def _one(value: str) -> Criterion:
    return Wildcard(value) if "*" in value or "?" in value else Single(value)


#: A span that nothing is in.
NOTHING = ("\U0010ffff", "\x01")


@lru_cache(maxsize=1024)
def key_span(criterion: Criterion, attribute: Attribute) -> tuple[str, str] | None:
    """The first and the last text that match a date or time, both inclusive, '' for no end; None where the
    criterion is not such. An empty value is in no span."""
    if isinstance(criterion, Single):
        low = high = criterion.value.strip(" ")
    elif isinstance(criterion, Range):
        low, high = criterion.low.strip(" "), criterion.high.strip(" ")
    else:
        return None
    if not low and not high and attribute.kind in (Kind.DATE, Kind.TIME):
        return NOTHING if isinstance(criterion, Single) else ("", "")
    try:
        if attribute.vr == "DT":
            return datetime_bounds(low, high)
        if attribute.kind is Kind.DATE:
            return date_bounds(low, high)
        if attribute.kind is Kind.TIME:
            return time_bounds(low, high)
    except InvalidKeyError:
        return NOTHING
    return None


def _text_test(criterion: Criterion, attribute: Attribute) -> Test:
    if isinstance(criterion, Wildcard):
        glob = Glob(criterion.pattern.strip(" "))
        test: Test = lambda value: value != "" and glob.fits(value.strip(" "))  # noqa: E731
    elif isinstance(criterion, Single):
        key = criterion.value.strip(" ")
        if attribute.kind is Kind.NUMBER:
            number = whole(key)
            return lambda value: number is not None and whole(value) == number
        test = lambda value: value.strip(" ") == key != ""  # noqa: E731
    else:  # a range of what has no order
        return lambda value: False
    if attribute.kind is Kind.SET:
        return lambda value: any(test(part) for part in value.split("\\"))
    return test


_WHOLE = re.compile(r" *[+-]?[0-9]{1,12} *\Z")


def whole(text: str) -> int | None:
    """The number that an IS or US value holds; None where it holds none."""
    return int(text) if _WHOLE.match(text) else None


class Glob:
    """A pattern with '*' and '?', matched in a time that no pattern can blow up: piece after piece, each as
    far to the left as it fits."""

    def __init__(self, pattern: str) -> None:
        pieces = re.split(r"\*+", pattern)
        self._exact = len(pieces) == 1
        self._first = _piece(pieces[0])
        self._middle = [_piece(piece) for piece in pieces[1:-1] if piece]
        self._last = _piece(pieces[-1])
        self._last_length = len(pieces[-1])

    def fits(self, value: str) -> bool:
        if self._exact:
            return self._first.fullmatch(value) is not None
        found = self._first.match(value)
        end = len(value) - self._last_length
        if found is None or end < found.end() or self._last.match(value, end) is None:
            return False
        at = found.end()
        for piece in self._middle:
            found = piece.search(value, at, end)
            if found is None:
                return False
            at = found.end()
        return True


def _piece(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if c == "?" else re.escape(c) for c in text), re.DOTALL)


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One component group of a name key: folded, with wild cards. `open_end`: further components, whatever
    they are, may follow, or none."""

    text: str
    open_end: bool


_OPEN_END = re.compile(r"(?:\^\*+)+\Z")


@lru_cache(maxsize=1024)
def name_patterns(pattern: str) -> tuple[NamePattern, ...]:
    """The groups of a name key that say something: none where it is empty or universal."""
    found = []
    for group in pattern.split("=")[:3]:
        key = group_key(group)
        text = _OPEN_END.sub("", key)
        if text.strip("*"):
            found.append(NamePattern(text, text != key))
    return tuple(found)


@lru_cache(maxsize=1024)
def key_sounds(pattern: str) -> tuple[str, ...]:
    """What `domain.names.name_sounds` of a value must all contain to match the key fuzzily; () where the key
    has no words."""
    found = []
    for word in words(fold(pattern)):
        stem = word.partition("*")[0].replace("?", "")
        if stem:
            found.append(f" {sound(stem)}" if "*" in word else f" {sound(stem)} ")
    return tuple(dict.fromkeys(found))


def _name_test(criterion: Name) -> Test:
    globs: list[Glob] = []
    for key in name_patterns(criterion.pattern):
        globs.append(Glob(key.text))
        if key.open_end:
            globs.append(Glob(key.text + "^*"))

    def plain(value: str) -> bool:
        return any(glob.fits(group) for group in group_keys(value) if group for glob in globs)

    sounds = key_sounds(criterion.pattern) if criterion.fuzzy else ()
    if not sounds:
        return plain

    def fuzzy(value: str) -> bool:
        heard = name_sounds(value)
        return all(one in heard for one in sounds) or plain(value)

    return fuzzy


Span = tuple[str, str]


def moment_span(criterion: Moment) -> tuple[Span, Span] | None:
    """First and last text of the date alone, and of date and time written one behind the other; None where
    the criterion cannot be read."""
    try:
        return moment_bounds(criterion.low, criterion.high)
    except InvalidKeyError:
        return None


def _moment_test(criterion: Moment) -> Test:
    spans = moment_span(criterion)
    if spans is None:
        return lambda value: False
    (first_day, last_day), (low, high) = spans

    def test(value: str) -> bool:
        day, _, time = value.partition("\\")
        if not day or day < first_day or (last_day and day > last_day):
            return False
        return low <= day + time and (not high or day + time <= high)

    return test


def _datetime_test(low: str, high: str) -> Test:
    def test(value: str) -> bool:
        try:
            first, last = datetime_bounds(value, value)
        except InvalidKeyError:
            return False
        return low <= last and (not high or first <= high)

    return test
