"""The Native DICOM Model (PS3.19 A.1) read into the DICOM JSON Model: no DTD, no entities, within limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from xml.parsers import expat

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_SEPARATOR: Final = " "
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}\Z")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
#: Element -> those it stands in.
_PARENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "NativeDicomModel": ("",),
    "DicomAttribute": ("NativeDicomModel", "Item"),
    **dict.fromkeys(("Value", "Item", "PersonName", "InlineBinary", "BulkData"), ("DicomAttribute",)),
    **dict.fromkeys(_GROUPS, ("PersonName",)),
    **dict.fromkeys(_COMPONENTS, _GROUPS),
}
_OF_THEIR_OWN: Final = ("SQ", "PN")
_WITH_TEXT: Final = frozenset({"Value", "InlineBinary", *_COMPONENTS})


class XmlError(ValueError):
    """XML that is not a Native DICOM Model, or goes past a limit: status 400. Never holds values."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken in."""

    max_bytes: int = 1 << 26
    max_elements: int = 2_000_000  # of XML
    max_depth: int = 64  # sequences within sequences


DEFAULT_LIMITS: Final = Limits()


def xml_to_json(document: bytes, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """The data set of one XML document as DICOM JSON objects, numbers as their text, as `parse_json` does.

    A private element with a privateCreator comes into that creator's block, a new one where it has none.
    Raises XmlError.
    """
    if len(document) > limits.max_bytes:
        raise XmlError(f"XML of {len(document)} bytes where {limits.max_bytes} are taken")
    reader = _Reader(limits)
    parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartDoctypeDeclHandler = _no_dtd
    parser.EntityDeclHandler = _no_dtd
    parser.ExternalEntityRefHandler = _no_dtd
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise XmlError(f"not well-formed XML at line {error.lineno}") from error
    except XmlError:
        raise
    except (LookupError, ValueError) as error:  # also of codecs that are of several bytes, or are no text's
        raise XmlError("XML in an encoding that is not known here") from error
    return reader.root


def _no_dtd(*_: Any) -> NoReturn:
    raise XmlError("a document type or entity declaration, of which none is taken")


@dataclass(slots=True)
class _DataSet:
    """A data set or item being read. Private elements wait for all creators to be known."""

    members: dict[str, Any] = field(default_factory=dict)
    private: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # tag, creator, member


class _Reader:
    """Puts the data set together from the events of expat."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._elements = 0
        self._open: list[str] = [""]
        self._data_sets: list[_DataSet] = []
        self._attributes: list[tuple[str, str, dict[str, Any]]] = []  # the open ones: tag, creator, member
        self._text: list[str] = []
        self._name: dict[str, str] = {}
        self._components: list[str] = []
        self.root: dict[str, Any] = {}

    def start(self, qualified: str, attributes: dict[str, str]) -> None:
        namespace, _, name = qualified.rpartition(_SEPARATOR)
        parents = _PARENTS.get(name)
        if parents is None or namespace not in (NAMESPACE, "") or self._open[-1] not in parents:
            _bad("an element that is none of the Native DICOM Model there")
        self._elements += 1
        if self._elements > self._limits.max_elements:
            _bad(f"more than {self._limits.max_elements} elements")
        self._open.append(name)
        if name == "DicomAttribute":
            self._attribute(attributes)
        elif name in ("NativeDicomModel", "Item"):
            if len(self._data_sets) > self._limits.max_depth:
                _bad(f"sequences nested more than {self._limits.max_depth} deep")
            if name == "Item":
                self._place("SQ", attributes)
            self._data_sets.append(_DataSet())
        elif name == "Value":
            self._place("", attributes)
        elif name == "PersonName":
            self._place("PN", attributes)
            self._name = {}
        elif name in _GROUPS:
            self._components = [""] * len(_COMPONENTS)
        elif name == "BulkData":
            self._bulk(attributes)
        self._text = []

    def text(self, text: str) -> None:
        if self._open[-1] in _WITH_TEXT:
            self._text.append(text)
        elif not text.isspace():
            _bad("text outside of values")

    def end(self, qualified: str) -> None:
        name = self._open.pop()
        if name == "DicomAttribute":
            self._attribute_end()
        elif name == "NativeDicomModel":
            self.root = _finished(self._data_sets.pop())
        elif name == "Item":
            self._values()[-1] = _finished(self._data_sets.pop())
        elif name == "Value":
            self._values()[-1] = "".join(self._text) or None
        elif name == "PersonName":
            self._values()[-1] = self._name or None
        elif name in _GROUPS:
            if group := "^".join(self._components).rstrip("^"):
                self._name[name] = group
        elif name == "InlineBinary":
            self._alone("InlineBinary", "".join("".join(self._text).split()))
        elif name in _COMPONENTS:
            self._components[_COMPONENTS.index(name)] = "".join(self._text)

    def _attribute(self, attributes: dict[str, str]) -> None:
        tag, vr = attributes.get("tag", ""), attributes.get("vr", "")
        if not _TAG.match(tag):
            _bad("a tag that is not 8 hexadecimal digits")
        self._attributes.append((tag.upper(), attributes.get("privateCreator", ""), {"vr": vr} if vr else {}))

    def _attribute_end(self) -> None:
        tag, creator, member = self._attributes.pop()
        data_set = self._data_sets[-1]
        if creator and int(tag[3], 16) & 1:
            data_set.private.append((tag, creator, member))
        elif tag in data_set.members:
            _bad(f"{tag} is there twice")
        else:
            data_set.members[tag] = member

    def _place(self, vr: str, attributes: dict[str, str]) -> None:
        """Room for the value that begins, at the number it has. `vr`: SQ or PN, whose values have elements of
        their own, '' for the others."""
        tag, _, member = self._attributes[-1]
        if vr:
            member.setdefault("vr", vr)
        if (member.get("vr") in _OF_THEIR_OWN or vr) and member.get("vr") != vr:
            _bad(f"{tag} has values of another vr")
        if member.keys() & {"InlineBinary", "BulkDataURI"}:
            _bad(f"{tag} has values of two kinds")
        values: list[Any] = member.setdefault("Value", [])
        number = attributes.get("number", "")
        if not _NUMBER.match(number) or not len(values) < int(number) <= self._limits.max_elements:
            _bad("a value whose number is not in order")
        missing = int(number) - 1 - len(values)
        self._elements += missing
        if self._elements > self._limits.max_elements:
            _bad(f"more than {self._limits.max_elements} elements")
        values.extend([None] * (missing + 1))

    def _values(self) -> list[Any]:
        values: list[Any] = self._attributes[-1][2]["Value"]
        return values

    def _bulk(self, attributes: dict[str, str]) -> None:
        # PS3.19 has uuid for its own interface; DICOMweb uses uri
        self._alone("BulkDataURI", attributes.get("uri") or attributes.get("uuid", ""))

    def _alone(self, key: str, value: str) -> None:
        tag, _, member = self._attributes[-1]
        if member.keys() - {"vr"}:
            _bad(f"{tag} has values of two kinds")
        member[key] = value


def _finished(data_set: _DataSet) -> dict[str, Any]:
    """The members, private elements in the blocks of their creators (PS3.5 7.8.1)."""
    members = data_set.members
    blocks: dict[tuple[str, str], int] = {}
    for tag, member in members.items():
        if int(tag[3], 16) & 1 and tag[4:6] == "00" and int(tag[6:], 16) >= 0x10 and member.get("Value"):
            blocks.setdefault((tag[:4], str(member["Value"][0]).strip(" ")), int(tag[6:], 16))
    free: dict[str, Iterator[int]] = {}  # blocks that were not looked at yet, by group
    for tag, creator, member in data_set.private:
        group = tag[:4]
        key = (group, creator.strip(" "))
        block = blocks.get(key)
        if block is None:
            left = free.setdefault(group, iter(range(0x10, 0x100)))
            block = next((one for one in left if f"{group}00{one:02X}" not in members), 0)
            if not block:
                _bad(f"more private creators in group {group} than there are blocks")
            blocks[key] = block
            members[f"{group}00{block:02X}"] = {"vr": "LO", "Value": [creator]}
        placed = f"{group}{block:02X}{tag[6:]}"
        if placed in members:
            _bad(f"{placed} is there twice")
        members[placed] = member
    return {tag: members[tag] for tag in sorted(members)}


def _bad(why: str) -> NoReturn:
    raise XmlError(why)
