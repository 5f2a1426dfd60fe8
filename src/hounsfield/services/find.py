"""C-FIND (PS3.4 C.4.1): what an identifier asks for, and the identifiers that answer it.

Where the standard leaves room: keys of the levels above are matched and returned in a hierarchical query too;
keys below the level, and keys that the index does not have, are returned empty, and the matches are sent with
the status that says so (FF01); Modality in a query of studies is taken for Modalities in Study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from struct import pack

from hounsfield.domain.attributes import ATTRIBUTES, UNIQUE_KEY, Attribute
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.matching import whole
from hounsfield.domain.query import Adjustment, Level, Query
from hounsfield.domain.timezones import offset_of
from hounsfield.ports.index import Index
from hounsfield.services.search import BY_TAG, OF_REQUEST, REQUEST_ATTRIBUTES, Criteria, UnreadableKeyError
from hounsfield.wire.dicomfile.elements import Element
from hounsfield.wire.dicomfile.text import choose_character_set, decode_text, encode_text

#: Identifier does not match SOP Class; unable to process (PS3.4 Table C.4-1).
MISMATCH, UNABLE = 0xA900, 0xC000
#: Matches are continuing; the same, with optional keys that are not supported.
PENDING, PENDING_UNSUPPORTED = 0xFF00, 0xFF01

CHARACTER_SET, LEVEL, RETRIEVE_AE, AVAILABILITY = 0x00080005, 0x00080052, 0x00080054, 0x00080056
#: Keys that say how to ask or how to answer, not what is looked for.
_NOT_KEYS = frozenset({CHARACTER_SET, LEVEL, 0x00080053, RETRIEVE_AE, AVAILABILITY})

#: The levels of each information model (PS3.4 C.6).
MODELS: Mapping[str, tuple[Level, ...]] = {
    "patient": (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    "study": (Level.STUDY, Level.SERIES, Level.IMAGE),
    "patient-study-only": (Level.PATIENT, Level.STUDY),
}
Identifier = Mapping[int, Element]
#: (tag, VR, value field or items), as `elements.encode` takes it.
Item = tuple[int, str, "bytes | list[list[Item]]"]


class IdentifierRefusedError(RefusedError):
    """An identifier that cannot be answered: `status` for the response, `what` as its Error Comment (at most
    64 characters), `offending` as its Offending Element."""

    def __init__(self, status: int, comment: str, offending: int) -> None:
        super().__init__(comment[:64])
        self.status = status
        self.offending = offending


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A C-FIND request: its information model (a key of MODELS), its decoded identifier, what the association
    negotiated (PS3.4 C.5.1.1), the character set that the asking device is known for ('' for none), and the
    zone of studies that name none."""

    model: str
    identifier: Identifier
    relational: bool = False
    fuzzy: bool = False
    combined_date_time: bool = False
    timezone_adjustment: bool = False
    character_set: str = ""
    timezone: tzinfo = UTC


@dataclass(slots=True)
class _Field:
    """One element of the answers: of the row, or fixed, or Request Attributes Sequence with `nested` keys."""

    tag: int
    vr: str
    keyword: str = ""
    value: bytes | list[list[Item]] = b""
    nested: tuple[tuple[int, str], ...] = ()
    optional: bool = False  # left out where the row has no value


@dataclass(frozen=True, slots=True)
class Plan:
    """A request understood: the query of the index, and how to answer with a row of it."""

    query: Query
    #: Whether the index knows all keys that are asked for.
    supported: bool
    _fields: tuple[_Field, ...]
    _character_sets: tuple[str, ...]

    @property
    def pending(self) -> int:
        """The status that goes with each match."""
        return PENDING if self.supported else PENDING_UNSUPPORTED

    @property
    def matched(self) -> list[str]:
        """The keywords that are matched on: for the ledger, without their values."""
        return sorted(self.query.criteria)

    def answers(self, index: Index) -> Iterator[list[Item]]:
        """The identifiers of the matches, streamed within the transaction of `index`."""
        return map(self.answer, index.search(self.query))

    def answer(self, row: Mapping[str, str]) -> list[Item]:
        """The identifier of one match, its elements in the order of their tags."""
        character_set = ""
        if not "".join(row.values()).isascii():
            character_set = self._character_set(row)
        items: list[Item] = [(CHARACTER_SET, "CS", character_set.encode())] if character_set else []
        for found in self._fields:
            if not found.keyword:
                value = self._nested(found, row, character_set) if found.nested else found.value
            elif not (text := row[found.keyword]):
                if found.optional:
                    continue
                value = b""
            elif text.isascii():
                value = _unsigned(text) if found.vr == "US" else text.encode()
            else:
                value = encode_text(text, character_set, found.vr)
            items.append((found.tag, found.vr, value))
        return items

    def _nested(self, found: _Field, row: Mapping[str, str], character_set: str) -> list[list[Item]]:
        """One item where the series came of a request, else none."""
        if not any(row[attribute.keyword] for attribute in OF_REQUEST.values()):
            return []
        item: list[Item] = []
        for tag, vr in found.nested:
            text = row[OF_REQUEST[tag].keyword] if tag in OF_REQUEST else ""
            item.append((tag, vr, encode_text(text, character_set, vr)))
        return [item]

    def _character_set(self, row: Mapping[str, str]) -> str:
        """'' where the answer is ASCII, else the first of the sets we would rather use that has all of it."""
        keywords = [found.keyword for found in self._fields if found.keyword]
        if any(found.nested for found in self._fields):
            keywords += [attribute.keyword for attribute in OF_REQUEST.values()]
        texts = [text for keyword in keywords if not (text := row[keyword]).isascii()]
        if not texts:
            return ""
        for preferred in self._character_sets:
            if choose_character_set(texts, preferred) == preferred:
                return preferred
        return "ISO_IR 192"


def _unsigned(text: str) -> bytes:
    number = whole(text)
    return b"" if number is None or not 0 <= number < 65536 else pack("<H", number)


def understand(request: FindRequest, ae_title: str) -> Plan:
    """What is asked for, and how to answer. `ae_title` is where the matches can be retrieved from.

    Raises IdentifierRefusedError: no level or one that the model does not have, a unique key of a level above
    missing from a hierarchical query or not a single value, a key that cannot be read.
    """
    return _Reader(request).plan(ae_title)


class _Reader:
    """An identifier being read, key by key."""

    def __init__(self, request: FindRequest) -> None:
        self.request = request
        found = request.identifier.get(CHARACTER_SET)
        sent = found.value.decode("latin-1").strip(" \0") if found and isinstance(found.value, bytes) else ""
        self.character_set = sent or request.character_set
        self.level = self._level()
        self.criteria = Criteria(self.level, fuzzy=request.fuzzy)
        self.wanted: set[str] = set()
        self.supported = True
        self.fields: dict[int, _Field] = {}
        self.sent = sent

    def plan(self, ae_title: str) -> Plan:
        if not self.request.relational:
            self._check_keys_above()
        for tag in sorted(self.request.identifier):
            if tag > CHARACTER_SET and tag & 0xFFFF and tag not in _NOT_KEYS:
                self._key(tag, self.request.identifier[tag])
        for level in MODELS[self.request.model]:
            if level <= self.level:
                self._return(ATTRIBUTES[UNIQUE_KEY[level]])
        timezone = ATTRIBUTES["TimezoneOffsetFromUTC"]
        if timezone.tag not in self.fields and self.level >= timezone.level:
            self.fields[timezone.tag] = _Field(timezone.tag, timezone.vr, timezone.keyword, optional=True)
        for tag, vr, text in (
            (LEVEL, "CS", self.level.name),
            (RETRIEVE_AE, "AE", ae_title),
            (AVAILABILITY, "CS", "ONLINE"),
        ):
            self.fields[tag] = _Field(tag, vr, value=text.encode())
        if self.request.combined_date_time:
            self.criteria.combine_dates_and_times()
        wanted, adjustment = frozenset(self.wanted), self._adjustment()
        query = Query(self.level, self.criteria.found, wanted, adjustment=adjustment)
        preferred = dict.fromkeys(found for found in (self.request.character_set, self.sent) if found)
        fields = tuple(self.fields[tag] for tag in sorted(self.fields))
        return Plan(query, self.supported, fields, tuple(preferred))

    def _level(self) -> Level:
        levels = {level.name: level for level in MODELS[self.request.model]}
        found = self.request.identifier.get(LEVEL)
        text = found.value.decode("latin-1").strip(" \0") if found and isinstance(found.value, bytes) else ""
        if not text:
            raise IdentifierRefusedError(MISMATCH, "Query/Retrieve Level is missing", LEVEL)
        if text not in levels:
            known = ", ".join(levels)
            raise IdentifierRefusedError(MISMATCH, f"Query/Retrieve Level is not one of {known}", LEVEL)
        return levels[text]

    def _adjustment(self) -> Adjustment | None:
        """Where it was negotiated, and the identifier names a zone (PS3.4 C.2.2.2.1.3)."""
        attribute = ATTRIBUTES["TimezoneOffsetFromUTC"]
        found = self.request.identifier.get(attribute.tag)
        asked = self._text(found, attribute.vr) if found and self.request.timezone_adjustment else ""
        if not asked:
            return None
        if offset_of(asked) is None:
            why = f"{attribute.keyword} cannot be read; +0100 is one"
            raise IdentifierRefusedError(UNABLE, why, attribute.tag)
        return Adjustment(asked, self.request.timezone)

    def _text(self, element: Element, vr: str) -> str:
        if not isinstance(element.value, bytes):
            return ""
        return decode_text(element.value, self.character_set, vr)

    def _check_keys_above(self) -> None:
        """A hierarchical query names one entity of each level above its own (PS3.4 C.4.1.2.2.1)."""
        for level in MODELS[self.request.model]:
            if level >= self.level:
                break
            attribute = ATTRIBUTES[UNIQUE_KEY[level]]
            found = self.request.identifier.get(attribute.tag)
            text = self._text(found, attribute.vr) if found else ""
            if not text:
                why = f"{attribute.keyword} is missing from a hierarchical query"
                raise IdentifierRefusedError(MISMATCH, why, attribute.tag)
            if any(c in text for c in "*?\\"):
                why = f"{attribute.keyword} must be a single value"
                raise IdentifierRefusedError(MISMATCH, why, attribute.tag)

    def _key(self, tag: int, element: Element) -> None:
        if isinstance(element.value, list):
            self._sequence(tag, element.value)
            return
        attribute = self.criteria.attribute((tag,))
        if attribute is None:
            self.supported = False
        else:
            self._match(attribute, element)
            if attribute.tag == tag:
                self._return(attribute)
                return
        own = BY_TAG.get(tag)
        self.fields[tag] = _Field(tag, own.vr if own else element.vr)

    def _return(self, attribute: Attribute) -> None:
        self.wanted.add(attribute.keyword)
        self.fields[attribute.tag] = _Field(attribute.tag, attribute.vr, attribute.keyword)

    def _sequence(self, tag: int, items: list[dict[int, Element]]) -> None:
        if tag != REQUEST_ATTRIBUTES or self.level < Level.SERIES:
            self.supported = False
            self.fields[tag] = _Field(tag, "SQ", value=[])
            return
        keys = items[0] if items else {}
        for nested, element in keys.items():
            attribute = self.criteria.attribute((tag, nested))
            if attribute is None:
                self.supported = False
            else:
                self._match(attribute, element)
        asked = [
            (nested, keys[nested].vr) for nested in sorted(keys) if not isinstance(keys[nested].value, list)
        ]
        shown = [(nested, OF_REQUEST[nested].vr if nested in OF_REQUEST else vr) for nested, vr in asked]
        self.fields[tag] = _Field(
            tag, "SQ", nested=tuple(shown or [(t, a.vr) for t, a in OF_REQUEST.items()])
        )
        self.wanted.update(attribute.keyword for attribute in OF_REQUEST.values())

    def _match(self, attribute: Attribute, element: Element) -> None:
        """Raises IdentifierRefusedError."""
        if attribute.vr == "US" and isinstance(element.value, bytes):
            text = "\\".join(str(int.from_bytes(pair, "little")) for pair in _pairs(element.value))
        else:
            text = self._text(element, attribute.vr)
        try:
            self.criteria.match(attribute, text)
        except UnreadableKeyError as error:
            raise IdentifierRefusedError(UNABLE, error.what, attribute.tag) from error


def _pairs(value: bytes) -> list[bytes]:
    return [value[at : at + 2] for at in range(0, len(value) - 1, 2)]
