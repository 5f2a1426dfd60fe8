"""What a search over HTTP asks for and answers (QIDO-RS, PS3.18 10.6): rows of the index as DICOM JSON.

Where the standard leaves room:

- A key that the index does not have is not matched on: it is left out of the search, and told (`unmatched`).
- `includefield=all` are all attributes that the index has, of the level of the search and those above.
- At instance level an attribute that the index does not have is taken from the object itself, where
  `includefield` or a key names it; such answers are cut after FROM_OBJECTS matches.
- Attributes that a level has to return stand in each answer, without a value where they have none.
- The date and the time of a range are matched as one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hounsfield.domain.access import Scope
from hounsfield.domain.attributes import ATTRIBUTES, UNIQUE_KEY, Attribute, Kind
from hounsfield.domain.query import Level, Query
from hounsfield.services.search import BY_TAG, OF_REQUEST, REQUEST_ATTRIBUTES, Criteria
from hounsfield.wire.dicomfile.json_values import WRITERS, quote
from hounsfield.wire.dicomweb.qido import Path, QidoQuery

#: Most matches of an answer for which each object has to be looked into.
FROM_OBJECTS = 200

CHARACTER_SET, AVAILABILITY, RETRIEVE_URL = 0x00080005, 0x00080056, 0x00081190
#: Of every answer: written by us, not kept.
_OURS = frozenset({CHARACTER_SET, AVAILABILITY, RETRIEVE_URL})

#: What each level has to return (PS3.18 Tables 10.6.3-3 to 10.6.3-5), and Study Description, which every
#: viewer shows.
REQUIRED: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ModalitiesInStudy",
        "ReferringPhysicianName",
        "StudyDescription",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyID",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality",
        "SeriesDescription",
        "SeriesInstanceUID",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
    ),
    Level.IMAGE: ("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
}
#: What they return where it is known.
KNOWN: Mapping[Level, tuple[str, ...]] = {
    Level.STUDY: ("TimezoneOffsetFromUTC",),
    Level.SERIES: ("TimezoneOffsetFromUTC",),
    Level.IMAGE: (
        "TimezoneOffsetFromUTC",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
        "AvailableTransferSyntaxUID",
    ),
}

Row = Mapping[str, str]
#: A row as one member of a DICOM JSON object, '' for none.
Member = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Plan:
    """A search understood. `query` looks for one match more than `limit`: are there others?"""

    query: Query
    limit: int
    #: Names, as the client wrote them, of keys that are not matched on.
    unmatched: tuple[str, ...]
    #: Tags that only the objects themselves have.
    beyond: tuple[int, ...]
    _members: tuple[Member, ...]

    def members(self, row: Row) -> list[str]:
        """The members of the JSON object of one match, in the order of their tags."""
        return [text for member in self._members if (text := member(row))]

    def answer(self, row: Row) -> str:
        """The JSON object of one match."""
        return "{" + ",".join(self.members(row)) + "}"


def understand(
    asked: QidoQuery, within: Level | None, *, most: int, service: str, scope: Scope | None
) -> Plan:
    """What `asked` asks for. `within`: the level of the resource in which it searches (a study or a series),
    None for all. `most`: matches of one answer. `service`: the address that RetrieveURL begins with.

    Raises UnreadableKeyError.
    """
    level = Level[asked.level]
    criteria = Criteria(level, fuzzy=asked.fuzzymatching)
    wanted = _wanted(level, within)
    unmatched: list[str] = []
    asked_for = list(asked.includefield)
    for key in asked.keys:
        attribute = criteria.attribute(key.path)
        if attribute is not None:
            criteria.match(attribute, key.text)
        elif key.text.strip(" *\\"):
            unmatched.append(key.name)
        asked_for.append(key.path)
    criteria.combine_dates_and_times()
    if asked.include_all:
        wanted |= {keyword: True for keyword, found in ATTRIBUTES.items() if found.level <= level}
    beyond = _return(asked_for, criteria, wanted)
    limit = most if asked.limit is None else min(asked.limit, most)
    if beyond:
        limit = min(limit, FROM_OBJECTS)
    query = Query(
        level,
        criteria.found,
        frozenset(wanted),
        limit=limit + 1,
        offset=min(asked.offset, 2**40),
        scope=scope,
    )
    members = _all_members(level, wanted, service)
    return Plan(query, limit, tuple(unmatched), tuple(sorted(beyond)), members)


def _wanted(level: Level, within: Level | None) -> dict[str, bool]:
    """Keywords to return, and whether also without a value: of the level, and of the levels above as far as
    the resource does not say them."""
    wanted: dict[str, bool] = {}
    for own in (Level.STUDY, Level.SERIES, Level.IMAGE):
        if own > level:
            break
        if own is level or within is None or own > within:
            wanted |= dict.fromkeys(REQUIRED[own], True) | dict.fromkeys(KNOWN[own], False)
        else:
            wanted[UNIQUE_KEY[own]] = True
    return wanted


def _return(paths: list[Path], criteria: Criteria, wanted: dict[str, bool]) -> set[int]:
    """Add the attributes that are asked for; the tags of those that only objects have."""
    beyond: set[int] = set()
    for path in paths:
        attribute = BY_TAG.get(path[0])
        if path[0] == REQUEST_ATTRIBUTES:
            if criteria.level >= Level.SERIES:
                wanted |= {found.keyword: True for found in OF_REQUEST.values()}
        elif attribute is not None:
            if attribute.level <= criteria.level:
                wanted[attribute.keyword] = True
        elif criteria.level is Level.IMAGE and path[0] not in _OURS:
            beyond.add(path[0])
    return beyond


def _all_members(level: Level, wanted: Mapping[str, bool], service: str) -> tuple[Member, ...]:
    members = {
        CHARACTER_SET: _always(f'"{CHARACTER_SET:08X}":{{"vr":"CS","Value":["ISO_IR 192"]}}'),
        AVAILABILITY: _always(f'"{AVAILABILITY:08X}":{{"vr":"CS","Value":["ONLINE"]}}'),
        RETRIEVE_URL: _retrieve_url(level, service),
    }
    for keyword, always in wanted.items():
        attribute = ATTRIBUTES[keyword]
        if attribute.tag not in OF_REQUEST:
            members[attribute.tag] = _member(attribute, always)
    if level >= Level.SERIES and (wanted.keys() & {"Modality", "ScheduledProcedureStepID"}):
        members[REQUEST_ATTRIBUTES] = _request_attributes
    return tuple(members[tag] for tag in sorted(members))


def _always(text: str) -> Member:
    return lambda row: text


def _member(attribute: Attribute, always: bool) -> Member:
    keyword, vr = attribute.keyword, attribute.vr
    begin = f'"{attribute.tag:08X}":{{"vr":"{vr}"'
    empty = begin + "}" if always else ""
    # names and numbers have forms of their own; of the other texts a backslash alone says more than one value
    write = WRITERS[vr] if vr in ("PN", "IS") else None

    def plain(row: Row) -> str:
        text = row[keyword]
        if not text:
            return empty
        if "\\" in text:
            values = ",".join([quote(part) if part else "null" for part in text.split("\\")])
            return f'{begin},"Value":[{values}]}}'
        return f'{begin},"Value":[{quote(text)}]}}'

    def number(row: Row) -> str:
        text = row[keyword]
        return f'{begin},"Value":[{text}]}}' if text else empty

    def other(row: Row) -> str:
        text = row[keyword]
        if not text or write is None:
            return empty
        value = write(text.encode("utf-8", "replace"), "ISO_IR 192", "<")
        return f"{begin},{value}}}" if value else empty

    if vr == "US" or attribute.kind is Kind.COUNT:
        return number
    return plain if write is None else other


def _retrieve_url(level: Level, service: str) -> Member:
    begin = f'"{RETRIEVE_URL:08X}":{{"vr":"UR","Value":[{quote(service + "/studies/")[:-1]}'
    if level is Level.STUDY:
        return lambda row: f'{begin}{row["StudyInstanceUID"]}"]}}'
    if level is Level.SERIES:
        return lambda row: f'{begin}{row["StudyInstanceUID"]}/series/{row["SeriesInstanceUID"]}"]}}'
    return lambda row: (
        f"{begin}{row['StudyInstanceUID']}/series/{row['SeriesInstanceUID']}"
        f'/instances/{row["SOPInstanceUID"]}"]}}'
    )


def _request_attributes(row: Row) -> str:
    """The sequence, with one item where the series came of a request."""
    begin = f'"{REQUEST_ATTRIBUTES:08X}":{{"vr":"SQ"'
    if not any(row[attribute.keyword] for attribute in OF_REQUEST.values()):
        return begin + "}"
    nested = ",".join([_member(OF_REQUEST[tag], True)(row) for tag in sorted(OF_REQUEST)])
    return f'{begin},"Value":[{{{nested}}}]}}'
