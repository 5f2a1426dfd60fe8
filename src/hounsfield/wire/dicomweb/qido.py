"""The query string of a search transaction (PS3.18 8.3.4, 10.6) as neutral values.

Knows tags, keywords and VRs of the dictionary, nothing of which attributes a level has or how they match.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from hounsfield.wire.dicomfile.dictionary import vr_of

MAX_QUERY: Final = 1 << 16  # bytes
MAX_PARAMETERS: Final = 512
MAX_DEPTH: Final = 8

_HEX_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_KEYWORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{1,99}\Z")
_WHOLE: Final = re.compile(r"[0-9]{1,18}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BOOLEANS: Final = {"true": True, "false": False}
#: VRs whose values have no commas: a comma separates values.
_LISTS: Final = frozenset({"UI", "CS"})


class QidoError(ValueError):
    """A query that cannot be read: status 400. `parameter` names the culprit (never its value)."""

    def __init__(self, parameter: str, why: str) -> None:
        super().__init__(f"{parameter}: {why}")
        self.parameter = parameter
        self.why = why


#: Tags from the root down: (0x00100010,), or (0x00400275, 0x00400009) for what is in the items of a sequence.
Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A key to match. `text`: values joined by backslash, wild cards and ranges as PS3.4 C.2.2.2 has them,
    '' where the key is only to be returned. `vr`: of the last tag ("UN" of private ones)."""

    path: Path
    text: str
    vr: str
    name: str  # as the client wrote it, for messages


@dataclass(frozen=True, slots=True)
class QidoQuery:
    """A search. `level`: "STUDY", "SERIES" or "IMAGE". `limit` None: not told. `keys`: UIDs in the URL's path
    first; each path of tags comes once."""

    level: str
    keys: tuple[Key, ...] = ()
    includefield: tuple[Path, ...] = ()
    include_all: bool = False
    limit: int | None = None
    offset: int = 0
    fuzzymatching: bool = False
    emptyvaluematching: bool = False
    multiplevaluematching: bool = False
    accept: str = ""  # the `accept` query parameter (8.3.3.1), for `accept.parse_accept`
    charset: str = ""


def parse_query(raw: bytes, path_uids: Mapping[str, str], level: str) -> QidoQuery:
    """The query string `raw` (as in the ASGI scope, without '?'), asked at `level`.

    `path_uids`: UIDs in the path of the URL by keyword: {"StudyInstanceUID": "1.2.3"}.
    Percent-encoded UTF-8; '+' is a space. A list of UIDs or code strings may be separated by commas or
    backslashes, or the key repeated. Raises QidoError.
    """
    reader = _Reader()
    for keyword, uid in path_uids.items():
        path, vr = _path_and_vr(keyword)
        reader.keys[path] = Key(path, uid, vr, keyword)
    reader.fixed = frozenset(reader.keys)
    for name, value in _parameters(raw):
        reader.take(name, value)
    return reader.query(level)


def _parameters(raw: bytes) -> list[tuple[str, str]]:
    if len(raw) > MAX_QUERY:
        raise QidoError("query", f"more than {MAX_QUERY} bytes")
    if not raw:
        return []
    pairs = raw.split(b"&")
    if len(pairs) > MAX_PARAMETERS:
        raise QidoError("query", f"more than {MAX_PARAMETERS} parameters")
    found = []
    for number, pair in enumerate(pairs, 1):
        if pair:
            name, _, value = pair.partition(b"=")
            found.append((_decoded(name, f"parameter {number}"), _decoded(value, f"parameter {number}")))
    return found


def _decoded(raw: bytes, where: str) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise QidoError(where, "not percent-encoded UTF-8") from error
    if _CONTROL.search(text):
        raise QidoError(where, "a control character")
    return text


class _Reader:
    """A query being read, parameter by parameter."""

    def __init__(self) -> None:
        self.keys: dict[Path, Key] = {}
        self.fixed: frozenset[Path] = frozenset()  # those of the path of the URL
        self._include: dict[Path, None] = {}
        self._include_all = False
        self._options: dict[str, str] = {}

    def take(self, name: str, value: str) -> None:
        option = name.lower()
        if option == "includefield":
            self._included(value)
        elif option in _OPTIONS:
            if self._options.setdefault(option, value) != value:
                raise QidoError(option, "given twice with different values")
        else:
            self._key(name, value)

    def query(self, level: str) -> QidoQuery:
        options = self._options
        limit = _whole("limit", options["limit"]) if "limit" in options else None
        return QidoQuery(
            level,
            tuple(self.keys.values()),
            tuple(self._include),
            self._include_all,
            limit,
            _whole("offset", options.get("offset", "0")),
            _boolean("fuzzymatching", options),
            _boolean("emptyvaluematching", options),
            _boolean("multiplevaluematching", options),
            options.get("accept", ""),
            options.get("charset", ""),
        )

    def _included(self, value: str) -> None:
        for name in value.split(","):
            name = name.strip()
            if name.lower() == "all":
                self._include_all = True
            elif name:
                try:
                    self._include[_path_and_vr(name)[0]] = None
                except QidoError as error:
                    raise QidoError("includefield", str(error)) from error

    def _key(self, name: str, value: str) -> None:
        path, vr = _path_and_vr(name)
        if vr == "SQ" and value:
            raise QidoError(name, "a sequence is asked for by its attributes: sequence.attribute=value")
        if vr in _LISTS and value:
            values = [part.strip() for part in value.replace(",", "\\").split("\\")]
            value = "\\".join(dict.fromkeys(part for part in values if part))
        known = self.keys.get(path)
        if known is None or not known.text:
            self.keys[path] = Key(path, value, vr, name)
        elif not value or value == known.text:
            return
        elif path in self.fixed:
            if known.text not in value.split("\\"):
                raise QidoError(name, "contradicts the path of the URL")
        elif vr in _LISTS:
            joined = dict.fromkeys(f"{known.text}\\{value}".split("\\"))
            self.keys[path] = Key(path, "\\".join(joined), vr, name)
        else:
            raise QidoError(name, "given twice with different values")


_OPTIONS: Final = frozenset(
    {"limit", "offset", "fuzzymatching", "emptyvaluematching", "multiplevaluematching", "accept", "charset"}
)


def _whole(name: str, value: str) -> int:
    if not _WHOLE.match(value):
        raise QidoError(name, "not a whole number from 0 up")
    return int(value)


def _boolean(name: str, options: Mapping[str, str]) -> bool:
    found = _BOOLEANS.get(options.get(name, "false").lower())
    if found is None:
        raise QidoError(name, "neither true nor false")
    return found


def attribute_path(name: str) -> Path:
    """The tags of "PatientName", "00100010", "RequestAttributesSequence.00400009". Raises QidoError."""
    return _path_and_vr(name)[0]


@lru_cache(maxsize=4096)
def _path_and_vr(name: str) -> tuple[Path, str]:
    shown = name if _CONTROL.search(name) is None and 0 < len(name) <= 200 else "a parameter"
    names = name.split(".", MAX_DEPTH)
    if len(names) > MAX_DEPTH:
        raise QidoError(shown, f"sequences nested more than {MAX_DEPTH - 1} deep")
    path = tuple(_tag(part, shown) for part in names)
    for tag in path[:-1]:
        if vr_of(tag) != "SQ":
            raise QidoError(shown, f"{tag:08X} is no sequence")
    return path, vr_of(path[-1]).split(" ", 1)[0]


def _tag(name: str, shown: str) -> int:
    if _HEX_TAG.match(name):
        tag = int(name, 16)
        if not 0x00080000 <= tag < 0xFFFE0000 or not tag & 0xFFFF:
            raise QidoError(shown, "no tag that a data set can be searched by")
        return tag
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(name) if _KEYWORD.match(name) else None
    if found is None or found < 0x00080000:
        raise QidoError(shown, "neither a keyword of PS3.6 nor a tag of 8 hexadecimal digits")
    return int(found)
