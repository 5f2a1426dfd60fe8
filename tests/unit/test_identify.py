"""From a header to keys, or to the reason why an object cannot be kept."""

from __future__ import annotations

import pytest

from hounsfield.domain.identify import MAX_NUMBER, MAX_TEXT, Refusal, identify
from hounsfield.domain.study import ObjectKeys

HEADER = {
    0x00080016: "1.2.840.10008.5.1.4.1.1.2",
    0x00080018: "1.2.3.4",
    0x0020000D: "1.2.3",
    0x0020000E: "1.2.3.1",
}


def keys(more: dict[int, str], **claimed: str) -> ObjectKeys:
    found = identify(HEADER | more, {}, **claimed)
    assert isinstance(found, ObjectKeys), found
    return found


def refusal(more: dict[int, str], **claimed: str) -> Refusal:
    found = identify({tag: v for tag, v in (HEADER | more).items() if v}, {}, **claimed)
    assert isinstance(found, Refusal)
    return found


def test_what_the_header_says() -> None:
    found = keys({0x00100020: "P1", 0x00080060: "CT", 0x00280010: "512", 0x00200013: "7"})
    assert (found.patient.patient_id, found.series.modality) == ("P1", "CT")
    assert (found.instance.rows, found.instance.instance_number) == (512, "7")
    assert found.study.study_instance_uid == "1.2.3"


@pytest.mark.parametrize("tag", HEADER)
@pytest.mark.parametrize("bad", ["../../x", "/etc/x", "", "1" * 65, "1.2\0", "1.2\n", "1..2", "a", "1.2."])
def test_uids_that_are_none(tag: int, bad: str) -> None:
    found = refusal({tag: bad})
    assert found.status == 0xC000
    assert ("is missing" in found.reason) is (bad == "")
    assert len(found.reason) <= 64, "an Error Comment"


def test_leading_zeros_are_tolerated() -> None:
    assert keys({0x0020000D: "1.2.03"}).study.study_instance_uid == "1.2.03"


def test_what_the_request_claimed() -> None:
    assert keys({}, sop_class_uid=HEADER[0x00080016], sop_instance_uid="1.2.3.4")
    assert refusal({}, sop_class_uid="1.2.3").status == 0xA900
    assert refusal({}, sop_instance_uid="1.2.3").status == 0xA900
    missing = {0x00080016: "", 0x00080018: ""}
    found = identify(
        {t: v for t, v in (HEADER | missing).items() if v}, {}, sop_class_uid="1.2", sop_instance_uid="1.3"
    )
    assert isinstance(found, ObjectKeys) and found.instance.sop_instance_uid == "1.3"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1), ("", 0), ("-1", 0), ("x", 0), ("2147483648", MAX_NUMBER), ("9" * 30, 0), ("3\\4", 3),
        ("\u0663", 0), (" 5 ", 5), ("1e9", 0),
    ],
)  # fmt: skip
def test_numbers(text: str, number: int) -> None:
    assert keys({0x00280008: text}).instance.frames == number


def test_long_text_is_cut_for_the_index() -> None:
    assert keys({0x00081030: "x" * 5000}).study.description == "x" * MAX_TEXT


def test_classes_without_patient_and_study() -> None:
    palette = {0x00080016: "1.2.840.10008.5.1.4.39.1", 0x00080018: "1.2.3.4"}
    first, second = identify(palette, {}), identify(palette | {0x00080018: "1.2.3.5"}, {})
    assert isinstance(first, ObjectKeys) and isinstance(second, ObjectKeys)
    assert first.study.study_instance_uid == second.study.study_instance_uid != ""
    assert first.series.series_instance_uid != first.study.study_instance_uid
