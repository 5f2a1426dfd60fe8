"""C-FIND: what an identifier asks for, and the identifiers that answer it (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from hounsfield.domain.attributes import ATTRIBUTES
from hounsfield.domain.query import Adjustment, Level, Moment, Name, OneOf, Query, Range, Single, Wildcard
from hounsfield.services.find import (
    AVAILABILITY,
    CHARACTER_SET,
    LEVEL,
    MISMATCH,
    PENDING,
    PENDING_UNSUPPORTED,
    REQUEST_ATTRIBUTES,
    RETRIEVE_AE,
    UNABLE,
    FindRequest,
    IdentifierRefusedError,
    Plan,
    understand,
)
from hounsfield.wire.dicomfile.elements import Element, decode, encode
from hounsfield.wire.dicomfile.text import encode_text

ROW = dict.fromkeys(ATTRIBUTES, "") | {
    "PatientName": "Müller^Jörg",
    "PatientID": "P1",
    "StudyInstanceUID": "1.2.3",
    "StudyDate": "20240102",
    "ModalitiesInStudy": "CT\\SR",
    "NumberOfStudyRelatedInstances": "160",
    "SeriesInstanceUID": "1.2.3.4",
    "SOPInstanceUID": "1.2.3.4.5",
    "Rows": "512",
    "InstanceNumber": "7",
}


def tag(keyword: str) -> int:
    known = {"QueryRetrieveLevel": LEVEL, "SpecificCharacterSet": CHARACTER_SET, "Private": 0x00091001}
    return known[keyword] if keyword in known else ATTRIBUTES[keyword].tag


def asked(model: str = "study", character_set: str = "", **keys: Any) -> FindRequest:
    """A request with keys by keyword: text, bytes as they stand, or items."""
    identifier = {}
    for keyword, value in keys.items():
        vr = ATTRIBUTES[keyword].vr if keyword in ATTRIBUTES else "LO"
        raw = (
            encode_text(value, keys.get("SpecificCharacterSet", ""), vr) if isinstance(value, str) else value
        )
        identifier[tag(keyword)] = Element(vr, raw)
    return FindRequest(model, identifier, character_set=character_set)


def plan(request: FindRequest) -> Plan:
    return understand(request, "HOUNSFIELD")


def answer(request: FindRequest, **row: str) -> dict[int, Any]:
    """One answer to it, by tag; its elements are in order."""
    items = plan(request).answer(ROW | row)
    assert [item[0] for item in items] == sorted(item[0] for item in items)
    return {item[0]: item[2] for item in items}


def refusal(request: FindRequest) -> IdentifierRefusedError:
    with pytest.raises(IdentifierRefusedError) as refused:
        plan(request)
    assert 0 < len(refused.value.what) <= 64
    return refused.value


@pytest.mark.parametrize(
    ("model", "level", "known"),
    [
        ("patient", "PATIENT", True),
        ("patient", "IMAGE", True),
        ("study", "PATIENT", False),
        ("study", "STUDY", True),
        ("patient-study-only", "STUDY", True),
        ("patient-study-only", "SERIES", False),
        ("study", "", False),
        ("study", "EXAM", False),
    ],
)
def test_levels(model: str, level: str, known: bool) -> None:
    request = replace(asked(model, QueryRetrieveLevel=level), relational=True)
    if known:
        assert plan(request).query.level is Level[level]
    else:
        assert (refusal(request).status, refusal(request).offending) == (MISMATCH, LEVEL)


def test_no_level() -> None:
    assert refusal(asked(PatientID="1")).offending == LEVEL


def test_a_hierarchical_query_names_one_entity_of_each_level_above() -> None:
    assert refusal(asked("patient", QueryRetrieveLevel="STUDY")).offending == tag("PatientID")
    assert refusal(asked("patient", QueryRetrieveLevel="STUDY", PatientID="*")).status == MISMATCH
    missing = asked("patient", QueryRetrieveLevel="IMAGE", PatientID="1", StudyInstanceUID="1.2")
    assert refusal(missing).offending == tag("SeriesInstanceUID")
    several = asked(QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2\\1.3")
    assert refusal(several).offending == tag("StudyInstanceUID")
    assert plan(asked(QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2")).query.level is Level.SERIES
    assert plan(asked(QueryRetrieveLevel="STUDY")).query.criteria == {}
    assert plan(replace(missing, relational=True)).query.criteria == {
        "PatientID": Single("1"),
        "StudyInstanceUID": Single("1.2"),
    }


@pytest.mark.parametrize(
    ("keyword", "value", "criterion"),
    [
        ("PatientID", "ABC ", Single("ABC")),
        ("PatientID", "A*", Wildcard("A*")),
        ("PatientID", "*", None),
        ("PatientID", "", None),
        ("PatientID", "A\\B", OneOf(("A", "B"))),
        ("PatientName", "Doe^J*", Name("Doe^J*")),
        ("PatientName", "*^*", None),
        ("StudyInstanceUID", b"1.2.3\0", Single("1.2.3")),
        ("StudyInstanceUID", "1.2\\1.3", OneOf(("1.2", "1.3"))),
        ("StudyDate", "20240101", Single("20240101")),
        ("StudyDate", "20240101-20240131", Range("20240101", "20240131")),
        ("StudyDate", "-20240131", Range("", "20240131")),
        ("StudyDate", "20240101-", Range("20240101", "")),
        ("StudyDate", "-", None),
        ("StudyTime", "10-12", Range("10", "12")),
        ("ModalitiesInStudy", "CT\\MR", OneOf(("CT", "MR"))),
        ("ModalitiesInStudy", "CT", Single("CT")),
        ("Modality", "SR", Single("SR")),
        ("NumberOfStudyRelatedInstances", "5", None),
        ("TimezoneOffsetFromUTC", "+0100", None),
    ],
)
def test_criteria_of_a_query_of_studies(keyword: str, value: str | bytes, criterion: object) -> None:
    found = plan(asked(QueryRetrieveLevel="STUDY", **{keyword: value})).query.criteria
    shown = "ModalitiesInStudy" if keyword == "Modality" else keyword
    assert found == ({} if criterion is None else {shown: criterion})


def test_numbers_of_an_image() -> None:
    request = asked(
        QueryRetrieveLevel="IMAGE",
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.3",
        InstanceNumber=" 7",
        Rows=b"\x00\x02",
        Columns=b"\x00\x02\x00\x04",
    )
    criteria = plan(request).query.criteria
    assert criteria["InstanceNumber"] == Single("7")
    assert criteria["Rows"] == Single("512")
    assert criteria["Columns"] == OneOf(("512", "1024"))
    assert answer(request)[tag("Rows")] == b"\x00\x02"
    assert answer(request, Rows="")[tag("Rows")] == b""
    assert answer(request, Rows="70000")[tag("Rows")] == b""


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "2024-01-01"),
        ("StudyDate", "01/02/2024"),
        ("StudyDate", "20240101-20240105-"),
        ("StudyTime", "9"),
        ("PatientBirthDate", "abc"),
    ],
)
def test_keys_that_cannot_be_read(keyword: str, value: str) -> None:
    refused = refusal(asked(QueryRetrieveLevel="STUDY", **{keyword: value}))
    assert (refused.status, refused.offending) == (UNABLE, tag(keyword))
    assert value not in refused.what  # what is asked for may name a patient


def test_fuzzy() -> None:
    request = replace(asked(QueryRetrieveLevel="STUDY", PatientName="Doe"), fuzzy=True)
    assert plan(request).query.criteria == {"PatientName": Name("Doe", fuzzy=True)}


@pytest.mark.parametrize(
    ("date", "time", "low", "high"),
    [
        ("20240101-20240102", "2200-0400", "202401012200", "202401020400"),
        ("20240101", "2200-", "202401012200", "20240101"),
        ("-20240102", "10:00-12:00", "", "202401021200"),
        ("2024.01.01-", "10", "2024010110", ""),
    ],
)
def test_date_and_time_combined(date: str, time: str, low: str, high: str) -> None:
    request = asked(QueryRetrieveLevel="STUDY", StudyDate=date, StudyTime=time)
    assert set(plan(request).query.criteria) == {"StudyDate", "StudyTime"}
    combined = plan(replace(request, combined_date_time=True)).query.criteria
    assert combined == {"StudyDate": Moment("StudyDate", "StudyTime", low, high)}


def test_a_date_alone_stays_a_date() -> None:
    request = replace(asked(QueryRetrieveLevel="STUDY", StudyDate="20240101"), combined_date_time=True)
    assert plan(request).query.criteria == {"StudyDate": Single("20240101")}


def test_an_answer_has_the_keys_asked_for_and_no_others() -> None:
    found = answer(
        asked(
            QueryRetrieveLevel="STUDY", StudyDate="", ModalitiesInStudy="", NumberOfStudyRelatedInstances=""
        )
    )
    assert found == {
        LEVEL: b"STUDY",
        RETRIEVE_AE: b"HOUNSFIELD",
        AVAILABILITY: b"ONLINE",
        tag("StudyDate"): b"20240102",
        tag("ModalitiesInStudy"): b"CT\\SR",
        tag("NumberOfStudyRelatedInstances"): b"160",
        tag("StudyInstanceUID"): b"1.2.3",
    }


def test_unique_keys_of_all_levels_of_the_model() -> None:
    found = answer(replace(asked("patient", QueryRetrieveLevel="IMAGE"), relational=True))
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert found[tag(keyword)] == ROW[keyword].encode()
    found = answer(replace(asked("study", QueryRetrieveLevel="IMAGE"), relational=True))
    assert tag("PatientID") not in found


def test_timezone_is_told_where_it_is_known() -> None:
    request = asked(QueryRetrieveLevel="STUDY")
    assert answer(request, TimezoneOffsetFromUTC="+0100")[tag("TimezoneOffsetFromUTC")] == b"+0100"
    assert tag("TimezoneOffsetFromUTC") not in answer(request)
    wanted = asked(QueryRetrieveLevel="STUDY", TimezoneOffsetFromUTC="")
    assert answer(wanted)[tag("TimezoneOffsetFromUTC")] == b""


def test_timezone_adjustment() -> None:
    """Where it was negotiated and the identifier names a zone; else a zone is only returned."""
    request = replace(asked(QueryRetrieveLevel="STUDY", TimezoneOffsetFromUTC="+0100"), timezone=UTC)
    assert plan(request).query.adjustment is None
    agreed = replace(request, timezone_adjustment=True)
    assert plan(agreed).query.adjustment == Adjustment("+0100", UTC)
    assert "TimezoneOffsetFromUTC" not in plan(agreed).query.criteria
    nothing_named = replace(
        asked(QueryRetrieveLevel="STUDY", TimezoneOffsetFromUTC=""), timezone_adjustment=True
    )
    assert plan(nothing_named).query.adjustment is None
    for unreadable in ("0100", "+1500", "+01:00", "CET", "+0160"):
        wrong = replace(
            asked(QueryRetrieveLevel="STUDY", TimezoneOffsetFromUTC=unreadable), timezone_adjustment=True
        )
        assert refusal(wrong).offending == tag("TimezoneOffsetFromUTC")
        assert refusal(wrong).status == UNABLE


def test_counts_are_asked_of_the_index_only_where_wanted() -> None:
    request = asked("patient", QueryRetrieveLevel="PATIENT", NumberOfPatientRelatedStudies="")
    assert "NumberOfPatientRelatedStudies" in plan(request).query.wanted
    assert "NumberOfPatientRelatedSeries" not in plan(request).query.wanted


def test_keys_that_are_not_supported_are_returned_empty() -> None:
    request = asked(QueryRetrieveLevel="STUDY", Private="x", SeriesDescription="y")
    assert plan(request).query.criteria == {}
    assert plan(request).pending == PENDING_UNSUPPORTED
    found = answer(request)
    assert found[tag("Private")] == found[tag("SeriesDescription")] == b""
    assert plan(asked(QueryRetrieveLevel="STUDY", Modality="CT")).pending == PENDING
    identifier = {
        LEVEL: Element("CS", b"STUDY"),
        0x00081110: Element("SQ", [{}]),
        0x00080000: Element("UL", b"1234"),
    }
    found_plan = plan(FindRequest("study", identifier))
    assert found_plan.pending == PENDING_UNSUPPORTED
    assert (0x00081110, "SQ", []) in found_plan.answer(ROW)
    assert 0x00080000 not in [item[0] for item in found_plan.answer(ROW)]


def test_request_attributes() -> None:
    sps, rp, meaning = tag("ScheduledProcedureStepID"), tag("RequestedProcedureID"), 0x00400007
    item = {sps: Element("SH", b"S1"), rp: Element("SH", b""), meaning: Element("LO", b"")}
    identifier = {
        LEVEL: Element("CS", b"SERIES"),
        tag("StudyInstanceUID"): Element("UI", b"1.2"),
        REQUEST_ATTRIBUTES: Element("SQ", [item]),
    }
    request = FindRequest("study", identifier)
    assert plan(request).query.criteria["ScheduledProcedureStepID"] == Single("S1")
    found = answer(request, ScheduledProcedureStepID="S1", RequestedProcedureID="R1")
    assert found[REQUEST_ATTRIBUTES] == [[(meaning, "LO", b""), (sps, "SH", b"S1"), (rp, "SH", b"R1")]]
    assert answer(request)[REQUEST_ATTRIBUTES] == []
    empty = FindRequest("study", identifier | {REQUEST_ATTRIBUTES: Element("SQ", [])})
    assert answer(empty, RequestedProcedureID="R1")[REQUEST_ATTRIBUTES] == [
        [(sps, "SH", b""), (rp, "SH", b"R1")]
    ]
    at_study = FindRequest("study", identifier | {LEVEL: Element("CS", b"STUDY")})
    assert answer(at_study)[REQUEST_ATTRIBUTES] == []
    assert not plan(at_study).supported


@pytest.mark.parametrize(
    ("device", "sent", "name", "chosen"),
    [
        ("", "", "Doe^John", None),
        ("ISO_IR 100", "", "Doe^John", None),
        ("ISO_IR 100", "ISO_IR 192", "Müller", b"ISO_IR 100"),
        ("", "ISO_IR 100", "Müller", b"ISO_IR 100"),
        ("ISO_IR 144", "ISO_IR 100", "Müller", b"ISO_IR 100"),
        ("ISO_IR 100", "ISO_IR 101", "山田", b"ISO_IR 192"),
        ("", "", "Müller", b"ISO_IR 192"),
        ("\\ISO 2022 IR 87", "", "Yamada=山田", b"\\ISO 2022 IR 87"),
    ],
)
def test_character_set_of_the_answer(device: str, sent: str, name: str, chosen: bytes | None) -> None:
    request = asked(
        QueryRetrieveLevel="STUDY", PatientName="", SpecificCharacterSet=sent, character_set=device
    )
    found = answer(request, PatientName=name)
    assert found.get(CHARACTER_SET) == chosen
    assert found[tag("PatientName")] == encode_text(name, (chosen or b"").decode(), "PN")


def test_what_is_not_returned_does_not_decide_the_character_set() -> None:
    found = answer(asked(QueryRetrieveLevel="STUDY", StudyDate=""))  # ROW has a name that is not ASCII
    assert CHARACTER_SET not in found


def test_keys_are_read_in_the_character_set_sent_or_else_the_device_s() -> None:
    name = "Müller".encode("latin-1")
    sent = asked(QueryRetrieveLevel="STUDY", SpecificCharacterSet="ISO_IR 100", PatientName=name)
    assert plan(sent).query.criteria == {"PatientName": Name("Müller")}
    raw = "Müller".encode()
    known = asked(QueryRetrieveLevel="STUDY", PatientName=raw, character_set="ISO_IR 192")
    assert plan(known).query.criteria == {"PatientName": Name("Müller")}


class OneRow:
    """An index of one row, as far as a search goes."""

    def search(self, query: Query) -> Iterator[Mapping[str, str]]:
        yield ROW


def test_answers_can_be_encoded_and_read_again() -> None:
    request = asked(
        QueryRetrieveLevel="STUDY", PatientName="M*", StudyDate="2024", SpecificCharacterSet="ISO_IR 192"
    )
    found = plan(request)
    (items,) = found.answers(OneRow())  # type: ignore[arg-type]
    for explicit in (True, False):
        read = decode(encode(items, explicit=explicit), explicit=explicit)
        assert read[tag("PatientName")].value.strip(b" ") == "Müller^Jörg".encode()
        assert read[CHARACTER_SET].value == b"ISO_IR 192"
    assert found.matched == ["PatientName", "StudyDate"]
