"""The event information of a commitment report (PS3.4 Table J.3-2), whoever sends it, and the same items in
the request for one (Table J.3-1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hounsfield.ports.peers import CommitmentAnswer
from hounsfield.services.commitment import MOST_OBJECTS, PROCESSING_FAILURE
from hounsfield.wire.dicomfile.elements import Element, Limits, decode
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.sop_classes import STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE
from hounsfield.wire.dicomfile.text import decode_text
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.status import Status

TRANSACTION_UID = 0x00081195
REFERENCED_SOP_SEQUENCE = 0x00081199
FAILED_SOP_SEQUENCE = 0x00081198
REFERENCED_SOP_CLASS = 0x00081150
REFERENCED_SOP_INSTANCE = 0x00081155
FAILURE_REASON = 0x00081197

#: Elements and items in a report of as many objects as we ask for, all of them failed.
MOST_ELEMENTS = 4 * MOST_OBJECTS + 100

#: Elements as `wire.dicomfile.elements.encode` takes them.
Items = list[tuple[int, str, bytes | list[object]]]


class ReportRefusedError(Exception):
    """A report that is answered with a failure: `status`, and `comment` for the Error Comment."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def check_report(command: Command, abstract_syntax: str) -> None:
    """Whether an N-EVENT-REPORT is one of storage commitment (PS3.4 J.3.3). Raises ReportRefusedError."""
    if abstract_syntax != STORAGE_COMMITMENT_PUSH:
        raise ReportRefusedError(Status.NO_SUCH_SOP_CLASS, "events are those of storage commitment alone")
    if command.affected_sop_instance_uid != STORAGE_COMMITMENT_PUSH_INSTANCE:
        raise ReportRefusedError(Status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance")
    if command.event_type not in (1, 2):
        raise ReportRefusedError(Status.NO_SUCH_EVENT_TYPE, f"event type {command.event_type} is not known")


def read_report(data: bytes, *, explicit: bool) -> tuple[str, CommitmentAnswer]:
    """Transaction UID and what is told of it. What is named as failed is not committed, whatever else is
    said of it. Raises ReportRefusedError."""
    try:
        limits = Limits(max_elements=MOST_ELEMENTS, max_bytes=len(data))
        elements = decode(data, explicit=explicit, limits=limits)
    except MalformedError as error:
        raise ReportRefusedError(
            Status.PROCESSING_FAILURE, f"the event information cannot be read: {error}"
        ) from error
    failed = {
        (uid_of(item, REFERENCED_SOP_CLASS), uid_of(item, REFERENCED_SOP_INSTANCE)): _reason(item)
        for item in items_of(elements, FAILED_SOP_SEQUENCE)
    }
    not_kept = {sop for _, sop in failed}
    committed = dict.fromkeys(
        (uid_of(item, REFERENCED_SOP_CLASS), uid_of(item, REFERENCED_SOP_INSTANCE))
        for item in items_of(elements, REFERENCED_SOP_SEQUENCE)
    )
    return uid_of(elements, TRANSACTION_UID), CommitmentAnswer(
        tuple(pair for pair in committed if pair[1] not in not_kept),
        tuple((sop_class, sop, reason) for (sop_class, sop), reason in failed.items()),
    )


def items_of(elements: Mapping[int, Element], tag: int) -> list[dict[int, Element]]:
    """The items of a sequence, none where it is absent."""
    sequence = elements.get(tag)
    return [] if sequence is None or isinstance(sequence.value, bytes) else sequence.value


def uid_of(elements: Mapping[int, Element], tag: int) -> str:
    """A UID as text, '' where it is absent."""
    element = elements.get(tag)
    if element is None or not isinstance(element.value, bytes):
        return ""
    return decode_text(element.value, "", "UI")


def commitment_items(
    transaction_uid: str,
    committed: Sequence[tuple[str, str]],
    failed: Sequence[tuple[str, str, int]],
) -> Items:
    """Transaction UID, what is committed, and what is not with its Failure Reason."""
    items: Items = [(TRANSACTION_UID, "UI", transaction_uid.encode("ascii"))]
    if failed:
        reasons: list[object] = [
            [*_reference(c, i), (FAILURE_REASON, "US", reason.to_bytes(2, "little"))]
            for c, i, reason in failed
        ]
        items.append((FAILED_SOP_SEQUENCE, "SQ", reasons))
    if committed:
        items.append((REFERENCED_SOP_SEQUENCE, "SQ", [_reference(c, i) for c, i in committed]))
    return items


def _reason(item: Mapping[int, Element]) -> int:
    """Failure Reason; where a peer leaves it out, processing failure."""
    element = item.get(FAILURE_REASON)
    if element is None or not isinstance(element.value, bytes) or len(element.value) < 2:
        return PROCESSING_FAILURE
    return int.from_bytes(element.value[:2], "little")


def _reference(sop_class: str, sop_instance: str) -> Items:
    return [
        (REFERENCED_SOP_CLASS, "UI", sop_class.encode("ascii", "replace")),
        (REFERENCED_SOP_INSTANCE, "UI", sop_instance.encode("ascii", "replace")),
    ]
