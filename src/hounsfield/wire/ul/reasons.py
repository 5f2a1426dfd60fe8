"""Results, sources and reasons that the Upper Layer sends as numbers, with their words (PS3.8 9.3)."""

from __future__ import annotations

from enum import IntEnum


class ContextResult(IntEnum):
    """Result of one proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTED = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


class RejectResult(IntEnum):
    """A-ASSOCIATE-RJ Result (PS3.8 Table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectSource(IntEnum):
    """A-ASSOCIATE-RJ Source (PS3.8 Table 9-21)."""

    USER = 1
    PROVIDER_ACSE = 2
    PROVIDER_PRESENTATION = 3


class UserReason(IntEnum):
    """A-ASSOCIATE-RJ Reason of source USER."""

    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NOT_SUPPORTED = 2
    CALLING_AE_TITLE_NOT_RECOGNIZED = 3
    CALLED_AE_TITLE_NOT_RECOGNIZED = 7


class AcseReason(IntEnum):
    """A-ASSOCIATE-RJ Reason of source PROVIDER_ACSE."""

    NO_REASON_GIVEN = 1
    PROTOCOL_VERSION_NOT_SUPPORTED = 2


class PresentationReason(IntEnum):
    """A-ASSOCIATE-RJ Reason of source PROVIDER_PRESENTATION."""

    TEMPORARY_CONGESTION = 1
    LOCAL_LIMIT_EXCEEDED = 2


class AbortSource(IntEnum):
    """A-ABORT Source (PS3.8 Table 9-26)."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """A-ABORT Reason/Diag. of source PROVIDER (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PDU_PARAMETER = 4
    UNEXPECTED_PDU_PARAMETER = 5
    INVALID_PDU_PARAMETER_VALUE = 6


_CONTEXT_WORDS: dict[int, str] = {
    ContextResult.ACCEPTED: "accepted",
    ContextResult.USER_REJECTION: "rejected by the user",
    ContextResult.NO_REASON: "rejected without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "abstract syntax not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "none of the transfer syntaxes supported",
}
_RESULT_WORDS: dict[int, str] = {
    RejectResult.PERMANENT: "rejected permanently",
    RejectResult.TRANSIENT: "rejected for now",
}
_SOURCE_WORDS: dict[int, str] = {
    RejectSource.USER: "by the application",
    RejectSource.PROVIDER_ACSE: "by the service provider (ACSE)",
    RejectSource.PROVIDER_PRESENTATION: "by the service provider (presentation)",
}
_REASON_WORDS: dict[tuple[int, int], str] = {
    (RejectSource.USER, UserReason.NO_REASON_GIVEN): "no reason given",
    (
        RejectSource.USER,
        UserReason.APPLICATION_CONTEXT_NOT_SUPPORTED,
    ): "application context name not supported",
    (RejectSource.USER, UserReason.CALLING_AE_TITLE_NOT_RECOGNIZED): "calling AE title not recognized",
    (RejectSource.USER, UserReason.CALLED_AE_TITLE_NOT_RECOGNIZED): "called AE title not recognized",
    (RejectSource.PROVIDER_ACSE, AcseReason.NO_REASON_GIVEN): "no reason given",
    (RejectSource.PROVIDER_ACSE, AcseReason.PROTOCOL_VERSION_NOT_SUPPORTED): "protocol version not supported",
    (RejectSource.PROVIDER_PRESENTATION, PresentationReason.TEMPORARY_CONGESTION): "temporary congestion",
    (RejectSource.PROVIDER_PRESENTATION, PresentationReason.LOCAL_LIMIT_EXCEEDED): "local limit exceeded",
}
_ABORT_WORDS: dict[int, str] = {
    AbortReason.NOT_SPECIFIED: "reason not specified",
    AbortReason.UNRECOGNIZED_PDU: "unrecognized PDU",
    AbortReason.UNEXPECTED_PDU: "unexpected PDU",
    AbortReason.UNRECOGNIZED_PDU_PARAMETER: "unrecognized PDU parameter",
    AbortReason.UNEXPECTED_PDU_PARAMETER: "unexpected PDU parameter",
    AbortReason.INVALID_PDU_PARAMETER_VALUE: "invalid PDU parameter value",
}


def describe_context(result: int) -> str:
    """Words of a presentation context's result, also of a number the standard does not know."""
    return _CONTEXT_WORDS.get(result, f"result {result}")


def describe_reject(result: int, source: int, reason: int) -> str:
    """Words of an A-ASSOCIATE-RJ, also of numbers the standard does not know."""
    how = _RESULT_WORDS.get(result, f"rejected (result {result})")
    who = _SOURCE_WORDS.get(source, f"by source {source}")
    return f"{how} {who}: {_REASON_WORDS.get((source, reason), f'reason {reason}')}"


def describe_abort(source: int, reason: int) -> str:
    """Words of an A-ABORT. The reason means nothing when the application aborted (PS3.8 9.3.8)."""
    if source == AbortSource.USER:
        return "aborted by the application"
    return f"aborted by the service provider: {_ABORT_WORDS.get(reason, f'reason {reason}')}"
