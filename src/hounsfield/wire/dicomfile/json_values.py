"""Value fields as JSON text (PS3.18 F.2): one function for each kind of VR."""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable
from json.encoder import encode_basestring as _quote
from struct import Struct
from typing import Final

from hounsfield.wire.dicomfile.layouts import BINARY_VRS, NUMBERS, STRING_VRS
from hounsfield.wire.dicomfile.text import decode_text

_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?\Z")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\Z")
_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})

#: Turns (value field, character set, byte order) into `"Value":[...]` or the like, '' for an empty value.
Writer = Callable[[bytes, str, str], str]

quote: Final = _quote


def _string(vr: str) -> Writer:
    single = vr in _SINGLE_VALUED

    def write(raw: bytes, character_set: str, order: str) -> str:
        if single or b"\x1b" in raw or not raw.isascii():
            text = decode_text(raw, character_set, vr)
        else:
            text = raw.decode("ascii").strip(" \0")
        if not text:
            return ""
        if single or "\\" not in text:
            return f'"Value":[{_quote(text)}]'
        parts = [part.strip(" \0") for part in text.split("\\")]
        return f'"Value":[{",".join([_quote(part) if part else "null" for part in parts])}]'

    return write


def _name(raw: bytes, character_set: str, order: str) -> str:
    """Person names: an object of component groups (PS3.18 F.2.2), empty groups left out."""
    text = decode_text(raw, character_set, "PN")
    if not text:
        return ""
    names = []
    for name in text.split("\\"):
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), name.split("="), strict=False)
        members = ",".join([f'"{key}":{_quote(group)}' for key, group in groups if group])
        names.append(f"{{{members}}}" if members else "null")
    return f'"Value":[{",".join(names)}]'


def _decimal(part: str) -> str:
    if _NUMBER.match(part):
        return part
    if not part:
        return "null"
    try:
        number = float(part)
    except ValueError:
        return _quote(part)  # PS3.18 F.2.3 lets DS and IS be strings
    return repr(number) if math.isfinite(number) and "_" not in part else _quote(part)


def _integer(part: str) -> str:
    if _INTEGER.match(part):
        return part
    if not part:
        return "null"
    try:
        number = int(part) if len(part) < 20 and "_" not in part else None
    except ValueError:
        number = None
    return _quote(part) if number is None else str(number)


def _number_string(convert: Callable[[str], str]) -> Writer:
    def write(raw: bytes, character_set: str, order: str) -> str:
        text = raw.decode("latin-1").strip(" \0")
        if not text:
            return ""
        if "\\" not in text:
            return f'"Value":[{convert(text)}]'
        return f'"Value":[{",".join([convert(part.strip(" ")) for part in text.split(chr(92))])}]'

    return write


def _binary_number(vr: str) -> Writer:
    code, width = NUMBERS[vr]
    one = {order: Struct(order + code).unpack for order in "<>"}
    floating = vr in ("FL", "FD")

    def write(raw: bytes, character_set: str, order: str) -> str:
        if len(raw) == width:
            values = one[order](raw)
        else:
            count, rest = divmod(len(raw), width)
            if rest or not count:
                return _binary(raw, character_set, order)
            values = Struct(f"{order}{count}{code}").unpack(raw)
        if floating:
            return f'"Value":[{",".join([_float(value) for value in values])}]'
        return f'"Value":[{",".join(map(str, values))}]'

    return write


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'


def _attribute_tag(raw: bytes, character_set: str, order: str) -> str:
    count, rest = divmod(len(raw), 4)
    if rest or not count:
        return _binary(raw, character_set, order)
    words = Struct(f"{order}{count * 2}H").unpack(raw)
    tags = [f'"{words[i]:04X}{words[i + 1]:04X}"' for i in range(0, count * 2, 2)]
    return f'"Value":[{",".join(tags)}]'


def _binary(raw: bytes, character_set: str, order: str) -> str:
    return f'"InlineBinary":"{b64encode(raw).decode("ascii")}"' if raw else ""


WRITERS: Final[dict[str, Writer]] = {
    **{vr: _string(vr) for vr in STRING_VRS},
    **{vr: _binary_number(vr) for vr in NUMBERS},
    **dict.fromkeys(BINARY_VRS, _binary),
    "PN": _name,
    "DS": _number_string(_decimal),
    "IS": _number_string(_integer),
    "AT": _attribute_tag,
}
