"""Protocol data units of the DICOM Upper Layer as frozen values (PS3.8 9.3), except P-DATA-TF.

P-DATA-TF is never a value: its payload is handed on, and sent, without a copy (`connection`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from hounsfield.wire.ul.items import (
    MAX_CONTEXTS,
    AnsweredContext,
    PduError,
    ProposedContext,
    UserInformation,
    decode_answered,
    decode_proposed,
    encode_answered,
    encode_item,
    encode_proposed,
    text_of,
    walk,
)
from hounsfield.wire.ul.reasons import AbortReason, AbortSource, describe_abort, describe_reject
from hounsfield.wire.ul.user_information import decode_user_information, encode_user_information

#: DICOM Application Context Name (PS3.7 A.2.1).
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

_HEAD = struct.Struct(">BxL")
_ASSOCIATE = struct.Struct(">Hxx16s16s32x")


class PduType(IntEnum):
    """First byte of a PDU (PS3.8 9.3.1)."""

    A_ASSOCIATE_RQ = 1
    A_ASSOCIATE_AC = 2
    A_ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    A_RELEASE_RQ = 5
    A_RELEASE_RP = 6
    A_ABORT = 7


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). AE titles without padding; 16 bytes at most."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The AE titles repeat the request's and are not to be tested."""

    called: str
    calling: str
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4); numbers as in `reasons`. `str()` gives the words."""

    result: int
    source: int
    reason: int

    def __str__(self) -> str:
        return describe_reject(self.result, self.source, self.reason)


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


@dataclass(frozen=True, slots=True)
class ReleaseResponse:
    """A-RELEASE-RP (PS3.8 9.3.7)."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 9.3.8); numbers as in `reasons`. `str()` gives the words."""

    source: int = AbortSource.USER
    reason: int = AbortReason.NOT_SPECIFIED

    def __str__(self) -> str:
        return describe_abort(self.source, self.reason)


Pdu = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseResponse | Abort


def encode(pdu: Pdu) -> bytes:
    """The whole PDU with its header. Raises ValueError for what does not fit its field."""
    if isinstance(pdu, AssociateRequest):
        contexts = [encode_proposed(context) for context in pdu.contexts]
        return _associate(PduType.A_ASSOCIATE_RQ, pdu, contexts)
    if isinstance(pdu, AssociateAccept):
        contexts = [encode_answered(context) for context in pdu.contexts]
        return _associate(PduType.A_ASSOCIATE_AC, pdu, contexts)
    if isinstance(pdu, AssociateReject):
        return _short(PduType.A_ASSOCIATE_RJ, pdu.result, pdu.source, pdu.reason)
    if isinstance(pdu, Abort):
        return _short(PduType.A_ABORT, 0, pdu.source, pdu.reason)
    return _short(PduType.A_RELEASE_RQ if isinstance(pdu, ReleaseRequest) else PduType.A_RELEASE_RP, 0, 0, 0)


def decode(pdu_type: int, body: bytes) -> Pdu:
    """The PDU whose value (without the 6 bytes of header) is `body`. Raises PduError, never anything else."""
    if pdu_type == PduType.A_ASSOCIATE_RQ:
        return _decode_request(body)
    if pdu_type == PduType.A_ASSOCIATE_AC:
        return _decode_accept(body)
    if len(body) != 4:
        raise PduError(f"PDU of type {pdu_type:02X}H has {len(body)} bytes where 4 belong")
    if pdu_type == PduType.A_ASSOCIATE_RJ:
        return AssociateReject(body[1], body[2], body[3])
    if pdu_type == PduType.A_RELEASE_RQ:
        return ReleaseRequest()
    if pdu_type == PduType.A_RELEASE_RP:
        return ReleaseResponse()
    if pdu_type == PduType.A_ABORT:
        return Abort(body[2], body[3])
    raise PduError(f"PDU type {pdu_type:02X}H is not known", AbortReason.UNRECOGNIZED_PDU)


def _short(pdu_type: int, first: int, second: int, third: int) -> bytes:
    return _HEAD.pack(pdu_type, 4) + bytes((0, first, second, third))


def _associate(pdu_type: int, pdu: AssociateRequest | AssociateAccept, contexts: list[bytes]) -> bytes:
    body = b"".join(
        (
            _ASSOCIATE.pack(pdu.protocol_version, _ae_title(pdu.called), _ae_title(pdu.calling)),
            encode_item(0x10, pdu.application_context.encode("latin-1")),
            *contexts,
            encode_user_information(pdu.user),
        )
    )
    return _HEAD.pack(pdu_type, len(body)) + body


def _ae_title(title: str) -> bytes:
    raw = title.encode("latin-1")
    if len(raw) > 16:
        raise ValueError(f"AE title {title!r} is longer than 16 bytes")
    return raw.ljust(16)


def _decode_request(body: bytes) -> AssociateRequest:
    version, called, calling = _fixed_fields(body)
    application, user = "", None
    contexts: list[ProposedContext] = []
    for item_type, first, after in walk(body, _ASSOCIATE.size, len(body), "A-ASSOCIATE-RQ"):
        if item_type == 0x20:
            contexts.append(decode_proposed(body, first, after))
            if len(contexts) > MAX_CONTEXTS:
                raise PduError(f"A-ASSOCIATE-RQ: more than {MAX_CONTEXTS} presentation contexts")
        elif item_type == 0x10:
            application = text_of(body[first:after])
        elif item_type == 0x50:
            user = decode_user_information(body, first, after, user)
    user = user or decode_user_information(b"", 0, 0)
    return AssociateRequest(called, calling, tuple(contexts), user, application, version)


def _decode_accept(body: bytes) -> AssociateAccept:
    version, called, calling = _fixed_fields(body)
    application, user = "", None
    contexts: list[AnsweredContext] = []
    for item_type, first, after in walk(body, _ASSOCIATE.size, len(body), "A-ASSOCIATE-AC"):
        if item_type == 0x21:
            contexts.append(decode_answered(body, first, after))
            if len(contexts) > MAX_CONTEXTS:
                raise PduError(f"A-ASSOCIATE-AC: more than {MAX_CONTEXTS} presentation contexts")
        elif item_type == 0x10:
            application = text_of(body[first:after])
        elif item_type == 0x50:
            user = decode_user_information(body, first, after, user)
    user = user or decode_user_information(b"", 0, 0)
    return AssociateAccept(called, calling, tuple(contexts), user, application, version)


def _fixed_fields(body: bytes) -> tuple[int, str, str]:
    if len(body) < _ASSOCIATE.size:
        raise PduError(
            f"A-ASSOCIATE PDU of {len(body)} bytes is shorter than its {_ASSOCIATE.size} fixed ones"
        )
    version, called, calling = _ASSOCIATE.unpack_from(body)
    return version, text_of(called), text_of(calling)
