"""Text of data elements: Specific Character Set and code extensions (PS3.5 6.1, PS3.3 C.12.1.1.2).

A `character_set` is the value of (0008,0005) as it stands: defined terms joined by backslash, '' for the
default repertoire. Bytes beyond ASCII under the default repertoire are read as Latin-1, as everybody does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_ESC: Final = b"\x1b"

#: Defined term without its "ISO_IR " or "ISO 2022 IR " -> Python codec.
_CODECS: Final = {
    "6": "latin-1",
    "13": "shift_jis",
    "58": "gb2312",
    "87": "iso2022_jp",
    "100": "latin-1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "euc_kr",
    "159": "iso2022_jp_2",
    "166": "tis_620",
    "192": "utf-8",
    "203": "iso8859_15",
}
#: What some makers write instead of a defined term, and the terms without a number.
_OTHER_NAMES: Final = {
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO 2022 GBK": "gbk",
    "ISO 2022 58": "gb2312",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "LATIN1": "latin-1",
    "LATIN_1": "latin-1",
    "LATIN-1": "latin-1",
    "ISO8859-1": "latin-1",
    "ISO-8859-1": "latin-1",
    "SHIFT_JIS": "shift_jis",
    "EUC_KR": "euc_kr",
}
_TERM: Final = re.compile(r"ISO.?(?:2022.)?IR.? ?([0-9]+)\Z")
_STAND_ALONE: Final = frozenset({"utf-8", "gb18030", "gbk"})

#: Escape sequence -> (which code element, codec); PS3.3 Tables C.12-3 and C.12-4.
_ESCAPES: Final = {
    b"(B": ("G0", "ascii"),
    b"(J": ("G0", "ascii"),  # JIS X 0201 Romaji: ASCII but for yen sign and overline, read as ASCII
    b")I": ("G1", "shift_jis"),
    b"-A": ("G1", "latin-1"),
    b"-B": ("G1", "iso8859_2"),
    b"-C": ("G1", "iso8859_3"),
    b"-D": ("G1", "iso8859_4"),
    b"-F": ("G1", "iso8859_7"),
    b"-G": ("G1", "iso8859_6"),
    b"-H": ("G1", "iso8859_8"),
    b"-L": ("G1", "iso8859_5"),
    b"-M": ("G1", "iso8859_9"),
    b"-T": ("G1", "tis_620"),
    b"-b": ("G1", "iso8859_15"),
    b"$B": ("G0", "iso2022_jp"),
    b"$@": ("G0", "iso2022_jp"),
    b"$(D": ("G0", "iso2022_jp_2"),
    b"$)C": ("G1", "euc_kr"),
    b"$)A": ("G1", "gb2312"),
}
_ESCAPE_OF: Final = {
    codec: _ESC + code for code, (_, codec) in reversed(_ESCAPES.items()) if codec != "ascii"
}
_JAPANESE: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})

#: Where the code of Value 1 is active again (PS3.5 6.1.2.5.3). Backslash ends a value of the VRs that can
#: have several; caret and equals sign end components and component groups of a person name.
_LINE_ENDS: Final = "\t\n\f\r"
_RESETS: Final = {"PN": _LINE_ENDS + "\\^=", "LT": _LINE_ENDS, "ST": _LINE_ENDS, "UT": _LINE_ENDS}
_RESETS_OTHERWISE: Final = _LINE_ENDS + "\\"
_RESET_BYTES: Final = {
    vr: re.compile(b"[" + re.escape(chars.encode()) + b"]") for vr, chars in _RESETS.items()
}
_RESET_BYTES_OTHERWISE: Final = re.compile(b"[" + re.escape(_RESETS_OTHERWISE.encode()) + b"]")
_RUNS: Final = {vr: re.compile(f"([{re.escape(chars)}])") for vr, chars in _RESETS.items()}
_RUNS_OTHERWISE: Final = re.compile(f"([{re.escape(_RESETS_OTHERWISE)}])")

#: VRs whose text follows (0008,0005); all others are of the default repertoire (PS3.5 6.1.2.3).
TEXT_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
#: VRs that are one value, with backslashes, leading and inner spaces belonging to it.
_SINGLE: Final = frozenset({"LT", "ST", "UT", "UR"})
_PADDING: Final = " \0"


class CharacterSet(NamedTuple):
    """What a value of (0008,0005) means: Python codecs of its values, the first in force at the start."""

    first: str
    others: tuple[str, ...]
    #: Whether bytes below 0x80 without ESC are ASCII. True for all that can be first.
    default: bool  # Value 1 is empty or the default repertoire


@lru_cache(maxsize=512)
def _term(term: str) -> str:
    """The codec of one defined term; Latin-1 for one that nobody defined."""
    term = term.strip(_PADDING).upper()
    if not term:
        return "latin-1"
    if (named := _OTHER_NAMES.get(term)) is not None:
        return named
    matched = _TERM.match(term)
    return _CODECS.get(matched[1].lstrip("0"), "latin-1") if matched else "latin-1"


@lru_cache(maxsize=512)
def character_set_of(character_set: str) -> CharacterSet:
    """Read a value of (0008,0005). Terms that nobody defined count as the default repertoire."""
    codecs = [_term(term) for term in character_set[:1024].split("\\")]
    first = codecs[0]
    if first in _STAND_ALONE:  # no code extensions with it (PS3.3 C.12.1.1.2)
        return CharacterSet(first, (), False)
    others = tuple(dict.fromkeys(c for c in codecs[1:] if c not in _STAND_ALONE and c != first))
    head = character_set.split("\\", 1)[0].strip(_PADDING).upper()
    return CharacterSet(first, others, not head or head.endswith("IR 6"))


def decode_text(raw: bytes, character_set: str, vr: str) -> str:
    """The text of a value field: decoded, without padding, multiple values joined by backslash.

    Never raises: bytes that the character set does not have become U+FFFD. Leading spaces go too where
    PS3.5 6.2 calls them insignificant; a person name loses empty component groups at its end.
    """
    if vr not in TEXT_VRS:
        text = raw.decode("latin-1")
    elif raw.isascii() and _ESC not in raw:
        text = raw.decode("ascii")
    else:
        text = _decode(raw, character_set_of(character_set), vr)
    return clean(text, vr)


def clean(text: str, vr: str) -> str:
    """Decoded text without the padding of each value."""
    if vr in _SINGLE:
        return text.rstrip(_PADDING)
    if vr == "PN":
        if "\\" in text:
            return "\\".join([clean(value, "PN") for value in text.split("\\")])
        text = text.rstrip(_PADDING)
        return text.rstrip("=") if text.endswith("=") else text
    if "\\" in text:
        return "\\".join([value.strip(_PADDING) for value in text.rstrip(_PADDING).split("\\")])
    return text.strip(_PADDING)


def _plain(raw: bytes, codec: str) -> str:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return raw.decode(codec, errors="replace")


def _decode(raw: bytes, characters: CharacterSet, vr: str) -> str:
    if _ESC not in raw or characters.first in _STAND_ALONE:
        return _plain(raw, characters.first)
    resets = _RESET_BYTES.get(vr, _RESET_BYTES_OTHERWISE)
    fragments = raw.split(_ESC)
    parts = [_plain(fragments[0], characters.first)]
    g0, g1 = "ascii", characters.first
    for fragment in fragments[1:]:
        size = 3 if fragment[:2] in (b"$(", b"$)") else 2
        escape = _ESCAPES.get(fragment[:size])
        if escape is None:  # not one that DICOM knows: shown as it is
            parts.append("\x1b" + _plain(fragment, characters.first))
            continue
        element, codec = escape
        if element == "G0":
            g0 = codec
        else:
            g1 = codec
        body = fragment[size:]
        if g0 in _JAPANESE:
            parts.append(_japanese(body, g0, g1))
            continue
        end = resets.search(body)
        if end is None:
            parts.append(_plain(body, g1))
            continue
        cut = end.start()
        parts.append(_plain(body[:cut], g1))
        rest = body[cut:]
        # The default repertoire has no upper half: bytes of it can only belong to what was invoked last.
        parts.append(_plain(rest, g1 if characters.default and not rest.isascii() else characters.first))
        g0, g1 = "ascii", characters.first
    return "".join(parts)


def _japanese(body: bytes, g0: str, g1: str) -> str:
    """A run in which two bytes below 0x80 are one character of JIS X 0208 or 0212."""
    escape = _ESCAPE_OF[g0]
    if body.isascii():
        return _plain(escape + body, g0)
    parts = re.split(rb"([\x80-\xff]+)", body)
    return "".join(_plain(part, g1) if i % 2 else _plain(escape + part, g0) for i, part in enumerate(parts))


def encode_text(text: str, character_set: str, vr: str) -> bytes:
    """`text` (values joined by backslash) as bytes, without padding. What cannot be encoded becomes '?'."""
    if text.isascii():
        return text.encode("ascii")
    if vr not in TEXT_VRS:
        return text.encode("ascii", errors="replace")
    characters = character_set_of(character_set)
    if not characters.others:
        encoded = _encode_first(text, characters)
        return encoded if encoded is not None else _encode_characters(text, characters)
    runs = _RUNS.get(vr, _RUNS_OTHERWISE).split(text)
    return b"".join(_encode_run(run, characters) for run in runs if run)


def _encode_first(text: str, characters: CharacterSet) -> bytes | None:
    """In the character set of Value 1; None where it has not all of `text`."""
    codec = "ascii" if characters.default else characters.first
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    if codec == "shift_jis" and len(encoded) != len(text):
        return None  # ISO_IR 13 is the half-width half of it
    return encoded


def _encode_extension(text: str, codec: str, characters: CharacterSet) -> bytes | None:
    """With code extension `codec` invoked; the code of Value 1 is active again at the end."""
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    if codec in _JAPANESE:
        if not all(
            part[:2] in (b"$B", b"(B", b"(J") or part[:3] == b"$(D" for part in encoded.split(_ESC)[1:]
        ):
            return None
        if characters.first == "shift_jis" and encoded.endswith(b"\x1b(B"):
            encoded = encoded[:-1] + b"J"
        return encoded
    if codec == "shift_jis" and len(encoded) != len(text):
        return None
    return _ESCAPE_OF[codec] + encoded


def _encode_run(run: str, characters: CharacterSet) -> bytes:
    """One stretch between delimiters: in one character set where that is possible."""
    if run.isascii():
        return run.encode("ascii")
    encoded = _encode_first(run, characters)
    if encoded is not None:
        return encoded
    for codec in characters.others:
        encoded = _encode_extension(run, codec, characters)
        if encoded is not None:
            return encoded
    return _encode_characters(run, characters)


def _encode_characters(text: str, characters: CharacterSet) -> bytes:
    """Character by character; '?' for what no set has."""
    parts: list[bytes] = []
    first_active = True  # whether the upper half is that of Value 1
    for character in text:
        encoded = _encode_first(character, characters)
        if encoded is not None:
            if not first_active and not character.isascii():
                encoded = _ESCAPE_OF.get(characters.first, b"") + encoded
                first_active = True
        else:
            for codec in characters.others:
                encoded = _encode_extension(character, codec, characters)
                if encoded is not None:
                    first_active = first_active and codec in _JAPANESE
                    break
        parts.append(b"?" if encoded is None else encoded)
    return b"".join(parts)


def choose_character_set(texts: list[str] | tuple[str, ...], preferred: str) -> str:
    """The value of (0008,0005) to write `texts` with: '' where all is ASCII, `preferred` where it has every
    character, else Latin-1 (ISO_IR 100), else UTF-8 (ISO_IR 192)."""
    beyond = "".join(text for text in texts if not text.isascii())
    if not beyond:
        return ""
    if preferred and _has_all(beyond, preferred):
        return preferred
    return "ISO_IR 100" if _has_all(beyond, "ISO_IR 100") else "ISO_IR 192"


def _has_all(text: str, character_set: str) -> bool:
    characters = character_set_of(character_set)
    return all(
        character.isascii()
        or _encode_first(character, characters) is not None
        or any(_encode_extension(character, codec, characters) is not None for codec in characters.others)
        for character in frozenset(text)
    )
