"""DIMSE command sets (PS3.7 6.3.1, 9.3, 10.3, Annex E): group 0000 in Implicit VR Little Endian."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from hounsfield.wire.dimse import fields as f

Value = int | str | bytes | tuple[int, ...]

#: No command of the standard comes near; what is longer is refused.
MAX_COMMAND_LENGTH = 64 * 1024
#: Error Comment (0000,0902) is LO.
MAX_COMMENT_LENGTH = 64

_ELEMENT = struct.Struct("<HHL")
_GROUP_LENGTH = struct.Struct("<HHLL")
_US = struct.Struct("<H")
_US_ELEMENT = struct.Struct("<HHLH")


class CommandError(ValueError):
    """Bytes that are not a command set, or a command that cannot even be answered."""


class Command:
    """A command set. `values` is tag (group 0000, so just the element number) -> value as encoded.

    The properties decode on demand: text without padding, "" or None where the element is absent. A command
    from `decode_command` has `field` and `data_set_type`, its message id (or the one responded to) and, being
    a response, `status`; for what else its field requires see `missing`.
    """

    __slots__ = ("values",)

    def __init__(self, values: dict[int, bytes]) -> None:
        self.values = values

    @classmethod
    def of(cls, items: Mapping[int, Value | None]) -> Command:
        """A command of plain values; None leaves the element out. Raises ValueError for one out of range."""
        return cls({tag: _encode_value(tag, value) for tag, value in items.items() if value is not None})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Command) and self.values == other.values

    def __hash__(self) -> int:
        return hash(frozenset(self.values.items()))

    def __repr__(self) -> str:
        return f"Command({self.name}, message {self.message_id or self.message_id_responded_to})"

    @property
    def field(self) -> int:
        return self._number(f.COMMAND_FIELD) or 0

    @property
    def name(self) -> str:
        """Such as C-STORE-RQ, for words."""
        return f.NAMES.get(self.field, f"command {self.field:04X}H")

    @property
    def is_response(self) -> bool:
        return self.field & f.RESPONSE != 0

    @property
    def message_id(self) -> int:
        return self._number(f.MESSAGE_ID) or 0

    @property
    def message_id_responded_to(self) -> int:
        return self._number(f.MESSAGE_ID_RESPONDED_TO) or 0

    @property
    def affected_sop_class_uid(self) -> str:
        return self._text(f.AFFECTED_SOP_CLASS_UID)

    @property
    def affected_sop_instance_uid(self) -> str:
        return self._text(f.AFFECTED_SOP_INSTANCE_UID)

    @property
    def requested_sop_class_uid(self) -> str:
        return self._text(f.REQUESTED_SOP_CLASS_UID)

    @property
    def requested_sop_instance_uid(self) -> str:
        return self._text(f.REQUESTED_SOP_INSTANCE_UID)

    @property
    def priority(self) -> int:
        return self._number(f.PRIORITY) or 0

    @property
    def data_set_type(self) -> int:
        number = self._number(f.DATA_SET_TYPE)
        return f.NO_DATA_SET if number is None else number

    @property
    def has_data_set(self) -> bool:
        return self.data_set_type != f.NO_DATA_SET

    @property
    def status(self) -> int:
        return self._number(f.STATUS) or 0

    @property
    def error_comment(self) -> str:
        return self._text(f.ERROR_COMMENT)

    @property
    def error_id(self) -> int | None:
        return self._number(f.ERROR_ID)

    @property
    def offending_element(self) -> tuple[int, ...]:
        """Tags as 32-bit numbers, group first."""
        return self._tags(f.OFFENDING_ELEMENT)

    @property
    def attribute_identifiers(self) -> tuple[int, ...]:
        """Tags as 32-bit numbers, group first."""
        return self._tags(f.ATTRIBUTE_IDENTIFIERS)

    @property
    def move_destination(self) -> str:
        return self._text(f.MOVE_DESTINATION)

    @property
    def move_originator_ae(self) -> str:
        return self._text(f.MOVE_ORIGINATOR_AE)

    @property
    def move_originator_id(self) -> int | None:
        return self._number(f.MOVE_ORIGINATOR_ID)

    @property
    def remaining(self) -> int | None:
        """Number of Remaining Sub-operations."""
        return self._number(f.REMAINING)

    @property
    def completed(self) -> int | None:
        """Number of Completed Sub-operations."""
        return self._number(f.COMPLETED)

    @property
    def failed(self) -> int | None:
        """Number of Failed Sub-operations."""
        return self._number(f.FAILED)

    @property
    def warning(self) -> int | None:
        """Number of Warning Sub-operations."""
        return self._number(f.WARNING)

    @property
    def event_type(self) -> int | None:
        return self._number(f.EVENT_TYPE)

    @property
    def action_type(self) -> int | None:
        return self._number(f.ACTION_TYPE)

    def missing(self) -> list[int]:
        """Tags of required elements that are absent or empty; the answer is Missing Attribute (0120H)."""
        return [tag for tag in f.REQUIRED.get(self.field, ()) if not self.values.get(tag)]

    def encode(self) -> bytes:
        return encode_command(self.values)

    def _number(self, tag: int) -> int | None:
        raw = self.values.get(tag)
        return None if raw is None else raw[0] | raw[1] << 8

    def _text(self, tag: int) -> str:
        raw = self.values.get(tag)
        return raw.decode("latin-1").strip("\0 ") if raw else ""

    def _tags(self, tag: int) -> tuple[int, ...]:
        raw = self.values.get(tag, b"")
        return tuple(
            group << 16 | element for group, element in struct.iter_unpack("<HH", raw[: len(raw) & ~3])
        )


def encode_command(values: Mapping[int, bytes]) -> bytes:
    """The command set in order of its tags behind its group length (PS3.7 6.3.1); values already encoded."""
    parts = []
    for tag in sorted(values):
        if tag:
            value = values[tag]
            parts.append(_ELEMENT.pack(0, tag, len(value)) + value)
    body = b"".join(parts)
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def decode_command(data: bytes | bytearray | memoryview) -> Command:
    """The command set in `data`, without its group length. Raises CommandError.

    Taken as they come: any order, a missing or wrong group length, odd lengths, elements that are not known.
    """
    raw = data if isinstance(data, bytes) else bytes(data)
    end = len(raw)
    if end > MAX_COMMAND_LENGTH:
        raise CommandError(f"Command of {end} bytes; {MAX_COMMAND_LENGTH} are allowed")
    values: dict[int, bytes] = {}
    unpack, us_tags = _ELEMENT.unpack_from, f.US_TAGS
    pos, count = 0, 0
    while pos < end:
        if end - pos < 8:
            raise CommandError(f"Command ends within an element's header, at offset {pos}")
        group, tag, length = unpack(raw, pos)
        pos += 8
        if group or length > end - pos:
            raise CommandError(_describe_bad_element(group, tag, length, end - pos))
        if length != 2 and tag in us_tags:
            raise CommandError(f"Element (0000,{tag:04X}) has {length} bytes where 2 belong")
        values[tag] = raw[pos : pos + length]
        pos += length
        count += 1
    if count != len(values):
        raise CommandError("An element is in the command twice")
    values.pop(f.GROUP_LENGTH, None)
    _check_answerable(values)
    return Command(values)


def _check_answerable(values: dict[int, bytes]) -> None:
    if f.COMMAND_FIELD not in values:
        raise CommandError("Command without Command Field (0000,0100)")
    if f.DATA_SET_TYPE not in values:
        raise CommandError("Command without Command Data Set Type (0000,0800)")
    (field,) = _US.unpack(values[f.COMMAND_FIELD])
    if field & f.RESPONSE:
        if f.MESSAGE_ID_RESPONDED_TO not in values or f.STATUS not in values:
            raise CommandError(
                "Response without Message ID Being Responded To (0000,0120) or Status (0000,0900)"
            )
    elif field == f.C_CANCEL_RQ:
        if f.MESSAGE_ID_RESPONDED_TO not in values:
            raise CommandError("C-CANCEL-RQ without Message ID Being Responded To (0000,0120)")
    elif f.MESSAGE_ID not in values:
        raise CommandError("Request without Message ID (0000,0110)")


def _describe_bad_element(group: int, tag: int, length: int, left: int) -> str:
    if group:
        return f"Element ({group:04X},{tag:04X}) in a command, where only group 0000 belongs"
    return f"Element (0000,{tag:04X}) claims {length} bytes of {left}"


def _encode_value(tag: int, value: Value) -> bytes:
    if isinstance(value, bytes):
        return value + b"\0" if len(value) & 1 else value
    if isinstance(value, int):
        if tag not in f.US_TAGS or not 0 <= value <= 0xFFFF:
            raise ValueError(f"Element (0000,{tag:04X}) cannot hold {value}")
        return _US.pack(value)
    if isinstance(value, tuple):
        return encode_tags(value)
    raw = value.encode("latin-1", "replace")
    if len(raw) & 1:
        raw += b"\0" if tag in f.UI_TAGS else b" "
    return raw


def encode_tags(tags: Iterable[int]) -> bytes:
    """A value of VR AT: group first, both parts little endian."""
    return b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in tags)


def shorten_comment(comment: str) -> str:
    """An Error Comment as LO allows it: 64 characters of the default repertoire, no backslash or control."""
    plain = "".join(
        character if " " <= character <= "~" and character != "\\" else "?" for character in comment
    )
    return plain if len(plain) <= MAX_COMMENT_LENGTH else plain[: MAX_COMMENT_LENGTH - 3] + "..."
