"""Query strings of searches (PS3.18 8.3.4), with the forms that viewers use."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomweb.qido import QidoError, QidoQuery, attribute_path, parse_query

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STUDY = {"StudyInstanceUID": "1.2.3"}


def query(raw: str | bytes, uids: dict[str, str] | None = None) -> QidoQuery:
    return parse_query(raw.encode() if isinstance(raw, str) else raw, uids or {}, "STUDY")


def keys(raw: str | bytes, uids: dict[str, str] | None = None) -> dict[tuple[int, ...], str]:
    return {key.path: key.text for key in query(raw, uids).keys}


def test_what_a_viewer_asks_for() -> None:
    """The study list of OHIF."""
    found = query(
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&00100020=*ABC*"
        "&PatientName=*M%C3%BCller%5E*&StudyDate=20200101-20201231&00080061=CT%2CMR"
    )
    assert (found.limit, found.offset, found.fuzzymatching, found.include_all) == (101, 0, False, False)
    assert found.includefield == ((0x00081030,), (0x00080060,))
    assert [(key.path, key.text, key.vr) for key in found.keys] == [
        ((0x00100020,), "*ABC*", "LO"),
        ((0x00100010,), "*Müller^*", "PN"),
        ((0x00080020,), "20200101-20201231", "DA"),
        ((0x00080061,), "CT\\MR", "CS"),
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("PatientName", (0x00100010,)),
        ("00100010", (0x00100010,)),
        ("0020000d", (0x0020000D,)),
        ("RequestAttributesSequence.ScheduledProcedureStepID", (0x00400275, 0x00400009)),
        ("00400275.00400009", (0x00400275, 0x00400009)),
        ("00400275.RequestedProcedureID", (0x00400275, 0x00401001)),
        ("00091001", (0x00091001,)),
    ],
)
def test_keywords_tags_and_sequences(name: str, path: tuple[int, ...]) -> None:
    assert attribute_path(name) == path
    assert keys(f"{name}=1") == {path: "1"}


def test_include_fields() -> None:
    found = query(
        "includefield=PatientID,StudyDate&includeField=all&includefield=00400275.00400009,,PatientID"
    )
    assert found.includefield == ((0x00100020,), (0x00080020,), (0x00400275, 0x00400009))
    assert found.include_all


def test_lists_of_uids() -> None:
    path = (0x0020000D,)
    for raw in ("StudyInstanceUID=1.2,1.3", "0020000D=1.2%5C1.3", "StudyInstanceUID=1.2&0020000D=1.3,1.2"):
        assert keys(raw) == {path: "1.2\\1.3"}


def test_uids_of_the_url() -> None:
    assert keys("", STUDY) == {(0x0020000D,): "1.2.3"}
    assert keys("StudyInstanceUID=1.2.3&Modality=CT", STUDY) == {(0x0020000D,): "1.2.3", (0x00080060,): "CT"}
    assert keys("StudyInstanceUID=1,1.2.3", STUDY) == {(0x0020000D,): "1.2.3"}
    assert keys("StudyInstanceUID=", STUDY) == {(0x0020000D,): "1.2.3"}
    with pytest.raises(QidoError, match="contradicts"):
        query("StudyInstanceUID=1.2.4", STUDY)


def test_keys_given_twice() -> None:
    assert keys("PatientID=a&PatientID=a&00100020=") == {(0x00100020,): "a"}
    assert keys("PatientID=&PatientID=a") == {(0x00100020,): "a"}
    with pytest.raises(QidoError, match="PatientID: given twice"):
        query("PatientID=a&PatientID=b")


def test_options() -> None:
    found = query(
        "fuzzymatching=TRUE&emptyvaluematching=true&multiplevaluematching=true&accept=application%2Fdicom%2Bxml"
    )
    assert found.fuzzymatching and found.emptyvaluematching and found.multiplevaluematching
    assert found.accept == "application/dicom+xml"
    assert query("").limit is None
    assert query("limit=0").limit == 0


def test_percent_encoding() -> None:
    assert keys("PatientName=A+B%2BC%20%26%3D&&PatientID") == {(0x00100010,): "A B+C &=", (0x00100020,): ""}
    assert keys("PatientName=山田".encode()) == {(0x00100010,): "山田"}


@pytest.mark.parametrize(
    ("raw", "parameter"),
    [
        ("Patientname=x", "Patientname"),
        ("orderby=x", "orderby"),
        ("%00=x", "parameter 1"),
        ("PatientName=%FF", "parameter 1"),
        ("PatientName=a%00b", "parameter 1"),
        ("=x", "a parameter"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A1", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=x", "offset"),
        ("fuzzymatching=yes", "fuzzymatching"),
        ("includefield=Nonsense", "includefield"),
        ("PatientName.PatientID=1", "PatientName.PatientID"),
        ("RequestAttributesSequence=1", "RequestAttributesSequence"),
        ("00080000=1", "00080000"),
        ("00020010=1", "00020010"),
        ("TransferSyntaxUID=1", "TransferSyntaxUID"),
        ("FFFEE000=1", "FFFEE000"),
        (".".join(["00400275"] * 9) + "=1", ".".join(["00400275"] * 9)),
        ("PatientID=" + "x" * 70_000, "query"),
        ("a=b&" * 600, "query"),
    ],
    ids=lambda text: text[:30],
)
def test_what_cannot_be_read_is_named(raw: str, parameter: str) -> None:
    with pytest.raises(QidoError) as raised:
        query(raw)
    assert raised.value.parameter == parameter
    assert str(raised.value).startswith(f"{parameter}: ")


@given(st.binary(max_size=80))
@UNHURRIED
def test_no_bytes_break_it(raw: bytes) -> None:
    try:
        query(raw)
    except QidoError:
        pass


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(TEXT, TEXT)
@UNHURRIED
def test_any_text_comes_back(name: str, description: str) -> None:
    raw = urlencode({"PatientName": name, "00081030": description})
    assert keys(raw) == {(0x00100010,): name, (0x00081030,): description}
