"""From the header of an object to its keys, or to the reason why it cannot be kept.

The policy of UIDs: digits and dots, at most 64 characters (leading zeros are tolerated); anything else
cannot be asked for by a peer and is refused. Text is cut at `MAX_TEXT` characters for the index alone: the
kept object is never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.study import Instance, ObjectKeys, Patient, Series, Study

#: Longest text that goes into the index: well over every VR's limit, under what a B-tree takes.
MAX_TEXT = 256
#: Largest number kept of an IS or US element.
MAX_NUMBER = 2**31 - 1

#: C-STORE statuses (PS3.4 B.2.3).
DATA_SET_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

#: Storage SOP classes of the non-patient object IOD module set (PS3.3 A.43 and following): they have
#: neither patient nor study, so their class stands in for both.
NON_PATIENT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol
        "1.2.840.10008.5.1.4.39.1",  # Color Palette
        "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template
        "1.2.840.10008.5.1.4.44.1",  # Implant Assembly Template
        "1.2.840.10008.5.1.4.45.1",  # Implant Template Group
        "1.2.840.10008.5.1.4.1.1.200.1",  # CT Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.200.3",  # Protocol Approval
        "1.2.840.10008.5.1.4.1.1.200.7",  # XA Defined Procedure Protocol
        "1.2.840.10008.5.1.4.1.1.201.1",  # Inventory
    }
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an object is not kept: a C-STORE status and an Error Comment."""

    status: int
    reason: str


def identify(
    values: Mapping[int, str],
    request: Mapping[int, str],
    *,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
    handed_over: bool = False,
) -> ObjectKeys | Refusal:
    """Keys from a header (`values`: tag -> text; `request`: of the first Request Attributes item).

    `sop_class_uid` and `sop_instance_uid` are what the C-STORE-RQ or the file meta group claimed; ''
    where nothing did. They must agree with the data set (PS3.4 B.2.3: A900).
    """
    get = values.get
    sop_class = get(0x00080016, "") or sop_class_uid
    sop = get(0x00080018, "") or sop_instance_uid
    study = get(0x0020000D, "")
    series = get(0x0020000E, "")
    if sop_class_uid and sop_class != sop_class_uid:
        return Refusal(DATA_SET_DOES_NOT_MATCH, "SOP Class UID of data set and request differ")
    if sop_instance_uid and sop != sop_instance_uid:
        return Refusal(DATA_SET_DOES_NOT_MATCH, "SOP Instance UID of data set and request differ")
    if not study and sop_class in NON_PATIENT_CLASSES:
        study = _derived_uid("study", sop_class)
        series = series or _derived_uid("series", sop_class)
    for name, uid in (
        ("SOP Class UID", sop_class),
        ("SOP Instance UID", sop),
        ("Study Instance UID", study),
        ("Series Instance UID", series),
    ):
        if not is_tolerated_uid(uid):
            return Refusal(CANNOT_UNDERSTAND, f"{name} {'is not a UID' if uid else 'is missing'}")

    def text(tag: int) -> str:
        value = get(tag, "")
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT]

    return ObjectKeys(
        Patient(text(0x00100020), text(0x00100021), text(0x00100010), text(0x00100030), text(0x00100040)),
        Study(
            study,
            text(0x00080020),
            text(0x00080030),
            text(0x00080050),
            text(0x00200010),
            text(0x00081030),
            text(0x00080090),
            text(0x00080080),
            text(0x00080201),
        ),
        Series(
            series,
            text(0x00080060),
            text(0x00200011),
            text(0x0008103E),
            text(0x00080021),
            text(0x00080031),
            text(0x00180015),
            text(0x00200060),
            text(0x00081010),
            text(0x00080070),
            text(0x00081090),
            text(0x00181030),
            text(0x00400244),
            text(0x00400245),
            request.get(0x00400009, "")[:MAX_TEXT],
            request.get(0x00401001, "")[:MAX_TEXT],
        ),
        Instance(
            sop,
            sop_class,
            text(0x00200013),
            _number(get(0x00280010, "")),
            _number(get(0x00280011, "")),
            _number(get(0x00280100, "")),
            _number(get(0x00280008, "")),
            text(0x00080023),
            text(0x00080033),
        ),
        handed_over,
    )


def identify_next(
    before: ObjectKeys,
    values: Mapping[int, str],
    *,
    sop_class_uid: str = "",
    sop_instance_uid: str = "",
) -> ObjectKeys | Refusal:
    """Keys of an object that has all of those of `before` but its SOP Instance UID, instance number, and
    content date and time, which are in `values`. As `identify`."""
    get = values.get
    like = before.instance
    sop = get(0x00080018, "") or sop_instance_uid
    if sop_class_uid and like.sop_class_uid != sop_class_uid:
        return Refusal(DATA_SET_DOES_NOT_MATCH, "SOP Class UID of data set and request differ")
    if sop_instance_uid and sop != sop_instance_uid:
        return Refusal(DATA_SET_DOES_NOT_MATCH, "SOP Instance UID of data set and request differ")
    if not is_tolerated_uid(sop):
        return Refusal(CANNOT_UNDERSTAND, f"SOP Instance UID {'is not a UID' if sop else 'is missing'}")
    instance = Instance(
        sop,
        like.sop_class_uid,
        get(0x00200013, "")[:MAX_TEXT],
        like.rows,
        like.columns,
        like.bits_allocated,
        like.frames,
        get(0x00080023, "")[:MAX_TEXT],
        get(0x00080033, "")[:MAX_TEXT],
    )
    return ObjectKeys(before.patient, before.study, before.series, instance)


def _number(text: str) -> int:
    """The first value as a number within 0..MAX_NUMBER; 0 where it is none (the object stays as it is)."""
    first = text.split("\\", 1)[0].strip()
    if not first.isascii() or not first.isdigit() or len(first) > 19:
        return 0
    return min(int(first), MAX_NUMBER)


def _derived_uid(level: str, sop_class_uid: str) -> str:
    digest = hashlib.blake2b(f"{level} of {sop_class_uid}".encode(), digest_size=16).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"
