"""Content negotiation (PS3.18 8.7, RFC 9110 12.5.1): Accept headers and the `accept` query parameter.

Parameters are taken quoted and unquoted: a media type within `type=` needs quotes by RFC 9110, and half of
all viewers leave them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

DICOM: Final = "application/dicom"
JSON: Final = "application/dicom+json"
PLAIN_JSON: Final = "application/json"
XML: Final = "application/dicom+xml"
OCTET_STREAM: Final = "application/octet-stream"
RELATED: Final = "multipart/related"

_JPEG: Final = "1.2.840.10008.1.2.4"

MAX_HEADER: Final = 8192
MAX_RANGES: Final = 64


class AcceptError(ValueError):
    """An Accept header, `accept` parameter or Content-Type that cannot be read: status 400."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header. Type, subtype and names of parameters are in lower case; `parameters`
    are without q, their quotes removed; `from_query`: it stood in the `accept` query parameter."""

    type: str
    subtype: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    q: float = 1.0
    from_query: bool = False

    @property
    def media_type(self) -> str:
        return f"{self.type}/{self.subtype}"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a resource can be sent as: `media_type` alone, or parts of it in multipart/related."""

    media_type: str
    multipart: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The offer that is wanted most. `transfer_syntaxes`: the UIDs named with it in order of preference, '*'
    for any as stored, '' where a range names none (PS3.18 8.7.3.5.2: then the default of the media type)."""

    offer: Offer
    transfer_syntaxes: tuple[str, ...] = ("",)

    @property
    def media_type(self) -> str:
        return self.offer.media_type

    @property
    def multipart(self) -> bool:
        return self.offer.multipart


#: For data sets without bulk data (PS3.18 8.7.3.2): search results, metadata, answers to STOW.
METADATA_OFFERS: Final = (Offer(JSON), Offer(PLAIN_JSON), Offer(XML, multipart=True), Offer(XML))
#: For whole instances.
INSTANCE_OFFERS: Final = (Offer(DICOM, multipart=True), Offer(DICOM))


#: For rendered images, the default first (PS3.18 8.7.4).
IMAGE_OFFERS: Final = (Offer("image/jpeg"), Offer("image/png"), Offer("image/gif"), Offer("image/jxl"))

#: Media types of compressed bulk data and their transfer syntaxes, the default first (PS3.18 8.7.3.3.2).
BULK_MEDIA_TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "image/jpeg": (f"{_JPEG}.70", f"{_JPEG}.50", f"{_JPEG}.51", f"{_JPEG}.57"),
    "image/dicom-rle": ("1.2.840.10008.1.2.5",),
    "image/jls": (f"{_JPEG}.80", f"{_JPEG}.81"),
    "image/jp2": (f"{_JPEG}.90", f"{_JPEG}.91"),
    "image/jpx": (f"{_JPEG}.92", f"{_JPEG}.93"),
    "image/jphc": (f"{_JPEG}.201", f"{_JPEG}.202", f"{_JPEG}.203"),
    "image/jxl": (f"{_JPEG}.110", f"{_JPEG}.111", f"{_JPEG}.112"),
    "video/mpeg": (f"{_JPEG}.100", f"{_JPEG}.101"),
    "video/mp4": tuple(f"{_JPEG}.{number}" for number in range(102, 109)),
}
#: The other way round.
BULK_MEDIA_TYPE_OF: Final[Mapping[str, str]] = {
    uid: media_type for media_type, uids in BULK_MEDIA_TYPES.items() for uid in uids
}

_TYPE: Final = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:/([!#$%&'*+.^_`|~0-9A-Za-z-]+))?[ \t]*")
#: Quotes left out, a value goes on to the next separator: "type=application/dicom".
_PARAMETER: Final = re.compile(
    r";[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    r'(?:=(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"|([^\s;,"\x00-\x1f\x7f]*)))?)?[ \t]*'
)
_Q: Final = re.compile(r"(?:0?(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")
_ESCAPED: Final = re.compile(r"\\(.)")


def parse_accept(header: str, query_accept: str = "") -> Sequence[MediaRange]:
    """The media ranges wanted, most wanted first: those of the `accept` query parameter (its value, percent-
    decoded), then those of the header; by q, then by place. Ranges with q=0 are kept: they exclude.

    Without either it is */*. Raises AcceptError.
    """
    return _parsed(header, query_accept)


@lru_cache(maxsize=512)  # a client repeats itself
def _parsed(header: str, query_accept: str) -> tuple[MediaRange, ...]:
    found = _ordered(query_accept, "The accept parameter", True)
    found += _ordered(header, "The Accept header", False)
    return tuple(found) or (MediaRange("*", "*"),)


def _ordered(text: str, where: str, from_query: bool) -> list[MediaRange]:
    if len(text) > MAX_HEADER:
        raise AcceptError(f"{where} has more than {MAX_HEADER} characters")
    ranges: list[MediaRange] = []
    position = 0
    while position < len(text):
        if text[position] in ", \t":  # empty elements are allowed (RFC 9110 5.6.1)
            position += 1
            continue
        media_range, position = _media_range(text, position, where, from_query)
        if position < len(text) and text[position] != ",":
            raise AcceptError(f"{where} cannot be read from character {position + 1} on")
        ranges.append(media_range)
        if len(ranges) > MAX_RANGES:
            raise AcceptError(f"{where} has more than {MAX_RANGES} media types")
    ranges.sort(key=lambda media_range: -media_range.q)
    return ranges


def _media_range(text: str, position: int, where: str, from_query: bool) -> tuple[MediaRange, int]:
    """The media range at `position`, and the place behind it."""
    found = _TYPE.match(text, position)
    if found is None:
        raise AcceptError(f"{where} has no media type at character {position + 1}")
    major, minor = found[1].lower(), (found[2] or "").lower()
    if major == "*" and not minor:
        minor = "*"  # what Java sends
    if not minor or (major == "*" and minor != "*"):
        raise AcceptError(f"{where} has no media type at character {position + 1}")
    parameters: dict[str, str] = {}
    q = 1.0
    position = found.end()
    while (found := _PARAMETER.match(text, position)) is not None:
        position = found.end()
        name, quoted, bare = found.groups()
        if name is None:  # "; ;"
            continue
        name = name.lower()
        value = bare or "" if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if name == "q":
            q = _quality(value, where)
        else:
            parameters.setdefault(name, value)
    return MediaRange(major, minor, parameters, q, from_query), position


def _quality(value: str, where: str) -> float:
    if not value or value == "." or not _Q.match(value):
        raise AcceptError(f"{where} has a q that is no number from 0 to 1")
    return float(value)


def negotiate(ranges: Sequence[MediaRange], offered: Sequence[str | Offer]) -> Choice | None:
    """The offer that fits `ranges` best, a str being a single part; None where none does (status 406).

    The most specific range that fits an offer says how much it is wanted; among equals the place in the
    header decides, then the place in `offered`.
    """
    offers = [Offer(offer) if isinstance(offer, str) else offer for offer in offered]
    from_query = [media_range for media_range in ranges if media_range.from_query]
    from_header = [media_range for media_range in ranges if not media_range.from_query]
    return _best(from_query, offers) or _best(from_header, offers)


def _best(ranges: list[MediaRange], offers: list[Offer]) -> Choice | None:
    best: tuple[float, int] = (0.0, 0)
    choice: Choice | None = None
    for offer in offers:
        fitting = [(fit, at) for at, media_range in enumerate(ranges) if (fit := _fit(media_range, offer))]
        if not fitting:
            continue
        most, _ = max(fitting)
        at = min(at for fit, at in fitting if fit == most)  # ranges are in the order of q
        if any(ranges[at].q == 0 and fit == most and _syntax(ranges[at]) is None for fit, at in fitting):
            continue
        wanted = (ranges[at].q, -at)
        if wanted[0] > 0 and (choice is None or wanted > best):
            syntaxes = dict.fromkeys(_syntax(ranges[at]) or "" for _, at in fitting if ranges[at].q)
            best, choice = wanted, Choice(offer, tuple(syntaxes))
    return choice


def _fit(media_range: MediaRange, offer: Offer) -> int:
    """How closely a range names an offer: 0 not at all, 1 by */*, 2 by image/* and the like, 3 by name."""
    if media_range.type == "*":
        return 1
    if not offer.multipart:
        return _fit_type(media_range.media_type, offer.media_type)
    if media_range.type != "multipart" or media_range.subtype not in ("related", "*"):
        return 0
    return _fit_type(_part_type(media_range), offer.media_type)


def _fit_type(pattern: str, media_type: str) -> int:
    if pattern == media_type:
        return 3
    if pattern == "*/*":
        return 1
    return 2 if pattern.endswith("/*") and media_type.startswith(pattern[:-1]) else 0


def _part_type(media_range: MediaRange) -> str:
    return media_range.parameters.get("type", "").strip().lower() or "*/*"


def _syntax(media_range: MediaRange) -> str | None:
    return media_range.parameters.get("transfer-syntax")


def wanted_multipart(ranges: Sequence[MediaRange]) -> list[tuple[str, str | None]]:
    """The (type of the parts, transfer syntax) of each multipart/related range, most wanted first, without
    those of q=0. The type is '*/*' where not told; the transfer syntax '*' for any, None where not told."""
    return [
        (_part_type(wanted), _syntax(wanted)) for wanted in ranges if wanted.q and wanted.type == "multipart"
    ]


def wanted_single(ranges: Sequence[MediaRange]) -> list[tuple[str, str | None]]:
    """The same of all ranges that are not multipart: ("image/jpeg", None), ("*/*", None)."""
    single = [wanted for wanted in ranges if wanted.q and wanted.type != "multipart"]
    return [(wanted.media_type, _syntax(wanted)) for wanted in single]


@lru_cache(maxsize=512)
def parse_media_type(header: str) -> MediaRange:
    """A Content-Type: type, subtype, parameters. Raises AcceptError."""
    if len(header) > MAX_HEADER:
        raise AcceptError(f"The Content-Type has more than {MAX_HEADER} characters")
    media_type, end = _media_range(header, 0, "The Content-Type", False)
    if end != len(header) or "*" in (media_type.type, media_type.subtype):
        raise AcceptError("The Content-Type is no media type")
    return media_type
