"""Encoding and decoding of the user information item (PS3.8 9.3.2.3, PS3.7 Annex D.3.3)."""

from __future__ import annotations

import struct

from hounsfield.wire.ul.items import (
    ASSUMED_MAX_LENGTH,
    AsyncOperations,
    PduError,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
    UserInformation,
    encode_item,
    text_of,
    walk,
)
from hounsfield.wire.ul.reasons import AbortReason

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">L")
_WHERE = "user information"


def encode_user_information(user: UserInformation) -> bytes:
    """The item with its header, sub-items in order of their type. Raises ValueError for what does not fit."""
    parts = [encode_item(0x51, _U32.pack(user.max_length))]
    if user.implementation_class_uid:
        parts.append(encode_item(0x52, user.implementation_class_uid.encode("latin-1")))
    if user.async_ops is not None:
        parts.append(
            encode_item(0x53, _U16.pack(user.async_ops.invoked), _U16.pack(user.async_ops.performed))
        )
    for role in user.roles:
        parts.append(encode_item(0x54, _prefixed(role.sop_class_uid), bytes((role.scu, role.scp))))
    if user.implementation_version:
        parts.append(encode_item(0x55, user.implementation_version.encode("latin-1")))
    for extended in user.extended:
        parts.append(encode_item(0x56, _prefixed(extended.sop_class_uid), extended.info))
    for common in user.common_extended:
        parts.append(_encode_common(common))
    if user.user_identity is not None:
        identity = user.user_identity
        head = bytes((identity.kind, identity.response_requested))
        parts.append(encode_item(0x58, head, _prefixed(identity.primary), _prefixed(identity.secondary)))
    if user.user_identity_response is not None:
        parts.append(encode_item(0x59, _prefixed(user.user_identity_response)))
    return encode_item(0x50, *parts)


def decode_user_information(
    data: bytes, start: int, end: int, earlier: UserInformation | None = None
) -> UserInformation:
    """The item whose value is data[start:end]. Raises PduError, also when there was an `earlier` one."""
    if earlier is not None:
        raise PduError("a second user information item", AbortReason.UNEXPECTED_PDU_PARAMETER)
    max_length, class_uid, version = ASSUMED_MAX_LENGTH, "", ""
    async_ops, identity, response = None, None, None
    roles: list[RoleSelection] = []
    extended: list[SopClassExtended] = []
    common: list[SopClassCommonExtended] = []
    for item_type, first, after in walk(data, start, end, _WHERE):
        value = data[first:after]
        if item_type == 0x51:
            max_length = int.from_bytes(_exactly(value, 4, "maximum length"), "big")
        elif item_type == 0x52:
            class_uid = text_of(value)
        elif item_type == 0x53:
            _exactly(value, 4, "asynchronous operations window")
            async_ops = AsyncOperations(_U16.unpack_from(value)[0], _U16.unpack_from(value, 2)[0])
        elif item_type == 0x54:
            uid, rest = _split(value, "role selection")
            _exactly(rest, 2, "role selection")
            roles.append(RoleSelection(text_of(uid), rest[0] == 1, rest[1] == 1))
        elif item_type == 0x55:
            version = text_of(value)
        elif item_type == 0x56:
            uid, rest = _split(value, "extended negotiation")
            extended.append(SopClassExtended(text_of(uid), rest))
        elif item_type == 0x57:
            common.append(_decode_common(value))
        elif item_type == 0x58:
            identity = _decode_identity(value)
        elif item_type == 0x59:
            response = _split(value, "user identity response")[0]
    return UserInformation(
        max_length,
        class_uid,
        version,
        async_ops,
        tuple(roles),
        tuple(extended),
        tuple(common),
        identity,
        response,
    )


def _prefixed(value: str | bytes) -> bytes:
    raw = value.encode("latin-1") if isinstance(value, str) else value
    if len(raw) > 0xFFFF:
        raise ValueError(f"A field of {len(raw)} bytes; 65535 fit")
    return _U16.pack(len(raw)) + raw


def _split(value: bytes, what: str) -> tuple[bytes, bytes]:
    """A field with its length in front, and what follows it."""
    if len(value) < 2:
        raise PduError(f"{_WHERE}: {what} has no length")
    after = 2 + int.from_bytes(value[:2], "big")
    if after > len(value):
        raise PduError(f"{_WHERE}: a field of {what} claims {after - 2} bytes of {len(value) - 2}")
    return value[2:after], value[after:]


def _exactly(value: bytes, length: int, what: str) -> bytes:
    if len(value) != length:
        raise PduError(f"{_WHERE}: {what} has {len(value)} bytes where {length} belong")
    return value


def _encode_common(common: SopClassCommonExtended) -> bytes:
    related = b"".join(_prefixed(uid) for uid in common.related_sop_class_uids)
    return encode_item(
        0x57, _prefixed(common.sop_class_uid), _prefixed(common.service_class_uid), _prefixed(related)
    )


def _decode_common(value: bytes) -> SopClassCommonExtended:
    what = "common extended negotiation"
    sop_class, rest = _split(value, what)
    service_class, rest = _split(rest, what)
    # Anything behind the list is reserved (PS3.7 Table D.3-12) and not looked at.
    listed = _split(rest, what)[0] if rest else b""
    related: list[str] = []
    while listed:
        uid, listed = _split(listed, what)
        related.append(text_of(uid))
    return SopClassCommonExtended(text_of(sop_class), text_of(service_class), tuple(related))


def _decode_identity(value: bytes) -> UserIdentity:
    if len(value) < 2:
        raise PduError(f"{_WHERE}: user identity has no type")
    primary, rest = _split(value[2:], "user identity")
    secondary = _split(rest, "user identity")[0] if rest else b""
    return UserIdentity(value[0], primary, secondary, value[1] == 1)
