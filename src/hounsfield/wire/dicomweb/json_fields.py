"""Values of DICOM JSON (PS3.18 F.2) as value fields, little endian: one function for each kind of VR."""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Callable
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, NoReturn

from hounsfield.wire.dicomfile.layouts import BINARY_VRS, NUMBERS, STRING_VRS
from hounsfield.wire.dicomfile.text import TEXT_VRS
from hounsfield.wire.dicomweb.errors import JsonError

#: Bytes of a decimal or integer string (PS3.5 6.2).
_MAX_DS: Final = 16
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})
_AT: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}\Z")
_FLOAT_WHOLE: Final = re.compile(r"([+-]?[0-9]{1,20})\.0+\Z")

#: Turns (values, path) into a value field without padding.
Field = Callable[[list[Any], str], bytes]


class NumberText(str):
    """A number of JSON as the text it was written as: "1.50" stays "1.50"."""

    __slots__ = ()


def field_of(vr: str, values: list[Any], path: str) -> bytes:
    """The value field of `values`, unpadded; text is UTF-8. Raises JsonError."""
    return _FIELDS[vr](values, path) if values else b""


def inline_binary(encoded: Any, path: str) -> bytes:
    """The bytes of InlineBinary (F.2.7). Raises JsonError."""
    if not isinstance(encoded, str):
        _bad("InlineBinary is a string", path)
    try:
        return b64decode("".join(encoded.split()), validate=True)
    except ValueError as error:
        raise JsonError("InlineBinary is not base64", path) from error


def _string(vr: str) -> Field:
    wide = vr in TEXT_VRS
    single = vr in _SINGLE_VALUED

    def field(values: list[Any], path: str) -> bytes:
        if single and len(values) > 1:
            _bad(f"a {vr} has one value", path)
        return _encoded("\\".join([_text(value, path) for value in values]), wide, path)

    return field


def _encoded(text: str, wide: bool, path: str) -> bytes:
    try:
        # VRs of the default repertoire are read as Latin-1 everywhere here
        return text.encode("utf-8" if wide else "latin-1")
    except UnicodeEncodeError as error:
        why = "a lone surrogate" if wide else "a character that its VR does not have"
        raise JsonError(why, path) from error


def _text(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)
    raise JsonError("a value that is no string, number or null", path)


def _names(values: list[Any], path: str) -> bytes:
    names = []
    for value in values:
        if isinstance(value, dict):
            if value.keys() - set(_PN_GROUPS):
                _bad("a name has Alphabetic, Ideographic and Phonetic", path)
            groups = [_text(value.get(group), path) for group in _PN_GROUPS]
            names.append("=".join(groups).rstrip("="))
        else:
            names.append(_text(value, path))  # a plain string: not F.2.2, but unmistakable
    return _encoded("\\".join(names), True, path)


def _decimals(values: list[Any], path: str) -> bytes:
    return _encoded("\\".join([_decimal(value, path) for value in values]), False, path)


def _decimal(value: Any, path: str) -> str:
    """A decimal string: text as it is, a number too long for one with as many digits as fit."""
    text = _text(value, path)
    if len(text) <= _MAX_DS or (isinstance(value, str) and not isinstance(value, NumberText)):
        return text
    number = float(text)
    if not math.isfinite(number):
        raise JsonError("a number that a DS cannot hold", path)
    for digits in range(16, 0, -1):
        short = f"{number:.{digits}g}"
        if len(short) <= _MAX_DS:
            break
    return short


def _integers(values: list[Any], path: str) -> bytes:
    texts = [_FLOAT_WHOLE.sub(r"\1", _text(value, path)) for value in values]
    return _encoded("\\".join(texts), False, path)


def _binary_numbers(vr: str) -> Field:
    code, _ = NUMBERS[vr]
    convert: Callable[[Any, str], int | float] = _real if vr in ("FL", "FD") else _whole

    def field(values: list[Any], path: str) -> bytes:
        if values == [None]:
            return b""
        try:
            return Struct(f"<{len(values)}{code}").pack(*[convert(value, path) for value in values])
        except (struct_error, OverflowError) as error:
            raise JsonError(f"a number that a {vr} cannot hold", path) from error

    return field


def _whole(value: Any, path: str) -> int:
    text = _FLOAT_WHOLE.sub(r"\1", _text(value, path).strip())
    if not _INTEGER.match(text):
        _bad("a value that is no whole number", path)
    return int(text)


def _real(value: Any, path: str) -> float:
    text = _text(value, path).strip()
    try:
        return float(text if "_" not in text else "")
    except ValueError as error:
        raise JsonError("a value that is no number", path) from error


def _tags(values: list[Any], path: str) -> bytes:
    if values == [None]:
        return b""
    parts = []
    for value in values:
        text = _text(value, path)
        if not _AT.match(text):
            _bad("a value that is no tag of 8 hexadecimal digits", path)
        parts.append(int(text[:4], 16).to_bytes(2, "little") + int(text[4:], 16).to_bytes(2, "little"))
    return b"".join(parts)


def _no_value(values: list[Any], path: str) -> bytes:
    if values == [None]:
        return b""
    raise JsonError("its VR has InlineBinary or BulkDataURI, no Value", path)


def _bad(why: str, path: str) -> NoReturn:
    raise JsonError(why, path)


_FIELDS: Final[dict[str, Field]] = {
    **{vr: _string(vr) for vr in STRING_VRS},
    **{vr: _binary_numbers(vr) for vr in NUMBERS},
    **dict.fromkeys(BINARY_VRS, _no_value),
    "PN": _names,
    "DS": _decimals,
    "IS": _integers,
    "AT": _tags,
}
