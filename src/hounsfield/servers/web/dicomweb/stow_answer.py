"""The answer to a store request (PS3.18 10.5.3, Annex I): what became of each object, as DICOM JSON."""

from __future__ import annotations

from collections.abc import Sequence

from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.upload import Fate
from hounsfield.wire.dicomfile.json_values import quote

ERROR_COMMENT = "00000902"
SOP_CLASS, SOP_INSTANCE, RETRIEVE_URL, REASON = "00081150", "00081155", "00081190", "00081197"
FAILED, REFERENCED, OTHER_FAILURES = "00081198", "00081199", "0008119A"


def status_of(fates: Sequence[Fate]) -> int:
    """200: all are kept. 202: some. 409: none. 503: none, for want of room; it may be tried again."""
    kept = sum(not fate.status for fate in fates)
    if kept:
        return 200 if kept == len(fates) else 202
    return 503 if all(fate.status == OUT_OF_RESOURCES for fate in fates) else 409


def answer(fates: Sequence[Fate], service: str) -> str:
    """The JSON object of the Store Instances Response Module. `service`: what RetrieveURL begins with.

    An object without a SOP Instance UID stands in Other Failures Sequence. Error Comment says in words what
    Failure Reason says as a number.
    """
    kept = [fate for fate in fates if not fate.status]
    failed = [fate for fate in fates if fate.status and fate.sop_instance_uid]
    others = [fate for fate in fates if fate.status and not fate.sop_instance_uid]
    members = []
    studies = {fate.study_instance_uid for fate in kept}
    if len(studies) == 1:
        members.append(_element(RETRIEVE_URL, "UR", quote(f"{service}/studies/{studies.pop()}")))
    if failed:
        members.append(_element(FAILED, "SQ", ",".join(map(_failure, failed))))
    if kept:
        members.append(_element(REFERENCED, "SQ", ",".join([_reference(fate, service) for fate in kept])))
    if others:
        members.append(_element(OTHER_FAILURES, "SQ", ",".join(map(_failure, others))))
    return "{" + ",".join(members) + "}"


def _element(tag: str, vr: str, value: str) -> str:
    return f'"{tag}":{{"vr":"{vr}","Value":[{value}]}}' if value else f'"{tag}":{{"vr":"{vr}"}}'


def _reference(fate: Fate, service: str) -> str:
    url = (
        f"{service}/studies/{fate.study_instance_uid}/series/{fate.series_instance_uid}"
        f"/instances/{fate.sop_instance_uid}"
    )
    members = (
        _element(SOP_CLASS, "UI", quote(fate.sop_class_uid)),
        _element(SOP_INSTANCE, "UI", quote(fate.sop_instance_uid)),
        _element(RETRIEVE_URL, "UR", quote(url)),
    )
    return "{" + ",".join(members) + "}"


def _failure(fate: Fate) -> str:
    members = [_element(ERROR_COMMENT, "LO", quote(fate.why[:64].strip()) if fate.why else "")]
    if fate.sop_instance_uid:
        members.append(_element(SOP_CLASS, "UI", quote(fate.sop_class_uid) if fate.sop_class_uid else ""))
        members.append(_element(SOP_INSTANCE, "UI", quote(fate.sop_instance_uid)))
    members.append(_element(REASON, "US", str(fate.status)))
    return "{" + ",".join(members) + "}"
