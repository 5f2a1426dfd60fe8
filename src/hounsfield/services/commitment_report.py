"""The event information of a commitment report (PS3.4 Table J.3-2), whoever sends it."""

from __future__ import annotations

from collections.abc import Sequence

TRANSACTION_UID = 0x00081195
REFERENCED_SOP_SEQUENCE = 0x00081199
FAILED_SOP_SEQUENCE = 0x00081198
REFERENCED_SOP_CLASS = 0x00081150
REFERENCED_SOP_INSTANCE = 0x00081155
FAILURE_REASON = 0x00081197

#: Elements as `wire.dicomfile.elements.encode` takes them.
Items = list[tuple[int, str, bytes | list[object]]]


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


def _reference(sop_class: str, sop_instance: str) -> Items:
    return [
        (REFERENCED_SOP_CLASS, "UI", sop_class.encode("ascii", "replace")),
        (REFERENCED_SOP_INSTANCE, "UI", sop_instance.encode("ascii", "replace")),
    ]
