"""One table of DIMSE status codes (PS3.7 Annex C; PS3.4 B.2.3, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4, J.3).

Codes are plain numbers. Some mean one thing in one service and another in the next: `describe` takes the
command field for that.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from hounsfield.wire.dimse import fields as f

Category = Literal["success", "pending", "cancel", "warning", "failure"]


class Status(IntEnum):
    """The codes that have a name of their own. Of a range (A7xx, A9xx, Cxxx) the first."""

    SUCCESS = 0x0000
    OPTIONAL_ATTRIBUTES_NOT_SUPPORTED = 0x0001
    NO_SUCH_ATTRIBUTE = 0x0105
    INVALID_ATTRIBUTE_VALUE = 0x0106
    ATTRIBUTE_LIST_ERROR = 0x0107
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    NO_SUCH_ARGUMENT = 0x0114
    INVALID_ARGUMENT_VALUE = 0x0115
    ATTRIBUTE_VALUE_OUT_OF_RANGE = 0x0116
    INVALID_SOP_INSTANCE = 0x0117
    NO_SUCH_SOP_CLASS = 0x0118
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION_TYPE = 0x0123
    NOT_AUTHORIZED = 0x0124
    DUPLICATE_TRANSACTION_UID = 0x0131  # a Failure Reason of storage commitment (PS3.3 C.14.1.1)
    DUPLICATE_INVOCATION = 0x0210
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    OUT_OF_RESOURCES_MATCHES = 0xA701
    OUT_OF_RESOURCES_SUBOPERATIONS = 0xA702
    INVALID_PRIOR_RECORD_KEY = 0xA710
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    COERCION_OF_DATA_ELEMENTS = 0xB000
    SUBOPERATIONS_WITH_FAILURES = 0xB000  # of C-GET and C-MOVE
    ELEMENTS_DISCARDED = 0xB006
    DATA_SET_DOES_NOT_MATCH_WARNING = 0xB007
    CANNOT_UNDERSTAND = 0xC000  # of C-STORE
    UNABLE_TO_PROCESS = 0xC000  # of C-FIND, C-GET and C-MOVE
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_OPTIONAL_KEYS_NOT_SUPPORTED = 0xFF01


_WORDS: dict[int, str] = {
    0x0000: "success",
    0x0001: "requested optional attributes are not supported",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class and instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "refused: SOP class not supported",
    0x0123: "no such action type",
    0x0124: "refused: not authorized",
    0x0131: "duplicate transaction UID",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA701: "refused: out of resources, unable to calculate the number of matches",
    0xA702: "refused: out of resources, unable to perform sub-operations",
    0xA710: "invalid prior record key",
    0xA801: "refused: move destination unknown",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class",
    0xFE00: "cancelled",
    0xFF00: "pending",
    0xFF01: "pending: one or more optional keys are not supported",
}

_RETRIEVE = (f.C_GET_RQ, f.C_MOVE_RQ)
#: What a code means in one service only, by (request field, code).
_WORDS_OF: dict[tuple[int, int], str] = {
    **{(field, 0xB000): "sub-operations complete, one or more failures or warnings" for field in _RETRIEVE},
    **{(field, 0xFE00): "sub-operations ended by cancel" for field in _RETRIEVE},
    **{(field, 0xFF00): "sub-operations are continuing" for field in _RETRIEVE},
    **{(field, 0x0000): "sub-operations complete, no failures or warnings" for field in _RETRIEVE},
    (f.C_FIND_RQ, 0xFE00): "matching ended by cancel",
    (f.C_FIND_RQ, 0xFF00): "matches are continuing",
    (f.C_FIND_RQ, 0xFF01): "matches are continuing, one or more optional keys are not supported",
}
#: Ranges of codes, by their leading digits: (request field or 0 for any, mask, code) -> words, in this order.
_RANGES: tuple[tuple[int, int, int, str], ...] = (
    (f.C_STORE_RQ, 0xF000, 0xC000, "cannot understand"),
    (0, 0xFF00, 0xA700, "refused: out of resources"),
    (f.C_STORE_RQ, 0xFF00, 0xA900, "data set does not match SOP class"),
    (0, 0xFF00, 0xA900, "identifier does not match SOP class"),
    (0, 0xF000, 0xC000, "unable to process"),
)

_CATEGORY: dict[int, Category] = {
    0x0000: "success",
    0x0001: "warning",
    0x0107: "warning",
    0x0116: "warning",
    0xFE00: "cancel",
    0xFF00: "pending",
    0xFF01: "pending",
}


def category(code: int) -> Category:
    """What kind of answer a status is (PS3.7 C.1 to C.6). A code that is not known is a failure."""
    return _CATEGORY.get(code) or ("warning" if code & 0xF000 == 0xB000 else "failure")


def describe(code: int, field: int = 0) -> str:
    """Words of a status, such as "refused: out of resources (A700H)".

    `field`: the command field of the request or response, where known.
    """
    request = field & ~f.RESPONSE
    words = _WORDS_OF.get((request, code)) or _WORDS.get(code)
    if words is None:
        words = next(
            (text for only, mask, of, text in _RANGES if code & mask == of and only in (0, request)),
            category(code),
        )
    return f"{words} ({code:04X}H)"
