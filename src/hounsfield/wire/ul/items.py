"""Items and sub-items of A-ASSOCIATE PDUs as frozen values (PS3.8 9.3.2, Annex D; PS3.7 Annex D.3.3)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from hounsfield.wire.ul.reasons import AbortReason, ContextResult

#: More presentation contexts than there are ids (odd, 1 to 255), with room for peers that also use even ones.
MAX_CONTEXTS = 256
#: Transfer syntaxes of one proposed context.
MAX_TRANSFER_SYNTAXES = 256
#: What is taken for a peer that names no maximum length: what every implementation can receive.
ASSUMED_MAX_LENGTH = 16384

_HEAD = struct.Struct(">BxH")
_U16 = struct.Struct(">H")


class PduError(ValueError):
    """Bytes that are not a valid PDU; `reason` is what an A-ABORT answers (Evt19 of PS3.8 Table 9-10)."""

    def __init__(self, what: str, reason: AbortReason = AbortReason.INVALID_PDU_PARAMETER_VALUE) -> None:
        super().__init__(what)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed (PS3.8 9.3.2.2). What the peer left out is empty."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """A presentation context as answered (PS3.8 9.3.3.2). `transfer_syntax` counts only when accepted."""

    id: int
    result: int
    transfer_syntax: str = ""

    @property
    def accepted(self) -> bool:
        return self.result == ContextResult.ACCEPTED


@dataclass(frozen=True, slots=True)
class AsyncOperations:
    """Asynchronous operations window (PS3.7 D.3.3.3); 0 means unlimited."""

    invoked: int = 1
    performed: int = 1


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU role selection (PS3.7 D.3.3.4): the roles of the association's requestor."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class SopClassExtended:
    """SOP class extended negotiation (PS3.7 D.3.3.5); what `info` means is the service class's affair."""

    sop_class_uid: str
    info: bytes


@dataclass(frozen=True, slots=True)
class SopClassCommonExtended:
    """SOP class common extended negotiation (PS3.7 D.3.3.6); only in requests."""

    sop_class_uid: str
    service_class_uid: str
    related_sop_class_uids: tuple[str, ...] = ()


class IdentityKind(IntEnum):
    """User Identity Type (PS3.7 D.3.3.7.1)."""

    USERNAME = 1
    USERNAME_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True, repr=False)
class UserIdentity:
    """User identity negotiation (PS3.7 D.3.3.7); only in requests. `kind` may be one that is not known."""

    kind: int
    primary: bytes
    secondary: bytes = b""
    response_requested: bool = False

    def __repr__(self) -> str:  # the fields are credentials and must not reach a log
        return f"UserIdentity(kind={self.kind})"


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item (PS3.8 9.3.2.3). Sub-items of unknown type are not kept.

    `max_length` is the largest P-DATA-TF variable field in bytes that the sender can receive, 0 for no limit.
    `user_identity_response` (accept only) is the server response; None when there is none.
    """

    max_length: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    async_ops: AsyncOperations | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[SopClassExtended, ...] = ()
    common_extended: tuple[SopClassCommonExtended, ...] = ()
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = None


def encode_item(item_type: int, *parts: bytes) -> bytes:
    """Type, reserved byte, two bytes of length, value. Raises ValueError when the value does not fit."""
    return _item(item_type, 0, parts)


def text_of(raw: bytes) -> str:
    """A UID, AE title or version name as the field sends it, without NULs and spaces around it."""
    return raw.decode("latin-1").strip("\0 ")


def walk(data: bytes, start: int, end: int, where: str) -> Iterator[tuple[int, int, int]]:
    """(type, first byte, byte after the last) of each item in data[start:end]. Raises PduError."""
    while start < end:
        if end - start < 4:
            raise PduError(f"{where}: {end - start} bytes left over, too few for an item")
        item_type, length = _HEAD.unpack_from(data, start)
        start += 4
        if length > end - start:
            raise PduError(f"{where}: item {item_type:02X}H claims {length} bytes of {end - start}")
        yield item_type, start, start + length
        start += length


def encode_proposed(context: ProposedContext) -> bytes:
    return encode_item(
        0x20,
        bytes((context.id, 0, 0, 0)),
        _uid_item(0x30, context.abstract_syntax),
        *[_uid_item(0x40, uid) for uid in context.transfer_syntaxes],
    )


def decode_proposed(data: bytes, start: int, end: int) -> ProposedContext:
    """Raises PduError."""
    where = "presentation context"
    if end - start < 4:
        raise PduError(f"{where}: shorter than its 4 fixed bytes")
    abstract = ""
    syntaxes: list[str] = []
    for item_type, first, after in walk(data, start + 4, end, where):
        if item_type == 0x30:
            abstract = text_of(data[first:after])
        elif item_type == 0x40:
            syntaxes.append(text_of(data[first:after]))
            if len(syntaxes) > MAX_TRANSFER_SYNTAXES:
                raise PduError(f"{where}: more than {MAX_TRANSFER_SYNTAXES} transfer syntaxes")
    return ProposedContext(data[start], abstract, tuple(syntaxes))


def encode_answered(context: AnsweredContext) -> bytes:
    head = bytes((context.id, 0, context.result, 0))
    return encode_item(0x21, head, _uid_item(0x40, context.transfer_syntax))


def decode_answered(data: bytes, start: int, end: int) -> AnsweredContext:
    """Raises PduError."""
    where = "presentation context"
    if end - start < 4:
        raise PduError(f"{where}: shorter than its 4 fixed bytes")
    syntax = ""
    for item_type, first, after in walk(data, start + 4, end, where):
        if item_type == 0x40:
            syntax = text_of(data[first:after])
    return AnsweredContext(data[start], data[start + 2], syntax)


def _item(item_type: int, second: int, parts: tuple[bytes, ...]) -> bytes:
    value = b"".join(parts)
    if len(value) > 0xFFFF:
        raise ValueError(f"Item {item_type:02X}H has {len(value)} bytes; 65535 fit")
    return bytes((item_type, second)) + _U16.pack(len(value)) + value


def _uid_item(item_type: int, uid: str) -> bytes:
    return encode_item(item_type, uid.encode("latin-1"))
