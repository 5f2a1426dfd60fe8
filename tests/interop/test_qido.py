"""QIDO-RS: searches as viewers and libraries ask them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.message import Message
from typing import Any
from xml.etree import ElementTree

import httpx
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from hounsfield.domain.access import Role
from support_services import part10
from support_stow import JSON, STUDIES, XML, stow, values
from support_web import WebArchive

SERIES, INSTANCES = "/dicom-web/series", "/dicom-web/instances"
#: Study Instance UID of each study below.
CHEST, HEAD, KNEE = "1.2.9.1", "1.2.9.2", "1.2.9.3"


def objects() -> list[bytes]:
    """Two series of CT, one of MR with its request, and one study whose names are not ASCII."""
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "SPS7", "RP7"
    common: dict[str, Any] = {"StudyTime": "101500", "PatientBirthDate": "19700101", "PatientSex": "F"}
    chest = {**common, "PatientName": "Doe^Jane", "StudyDescription": "Chest", "StudyDate": "20240102"}
    head = {
        **common,
        "PatientName": "Roe^Richard",
        "AccessionNumber": "A2",
        "StudyDate": "20240215",
        "Modality": "MR",
        "RequestAttributesSequence": [request],
        "PerformedProcedureStepStartDate": "20240215",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "WindowCenter": "40",
    }
    knee = {
        **common,
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "StudyDate": "20230505",
        "StudyDescription": 'Ärm\\Bein "quoted"',
    }
    made = [
        part10(f"{CHEST}.{s}.{n}", study=CHEST, series=f"{CHEST}.{s}", number=n, patient="P1", **chest)
        for s in (1, 2)
        for n in range(1, 6)
    ]
    made.append(part10(f"{HEAD}.1.1", study=HEAD, series=f"{HEAD}.1", patient="P2", **head))
    made.append(part10(f"{KNEE}.1.1", study=KNEE, series=f"{KNEE}.1", patient="P3", **knee))
    return made


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("qido"), settle_seconds=3600, search_limit=8) as archive:
        with archive.client() as client:
            answer = stow(client, objects())
            assert answer.status_code == 200, answer.text
        yield archive


@pytest.fixture
def client(web: WebArchive) -> Iterator[httpx.Client]:
    with web.client() as found:
        yield found


def uids(answer: httpx.Response, tag: str = "0020000D") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [values(match, tag)[0] for match in answer.json()]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {CHEST, HEAD, KNEE}),
        ("PatientID=P1", {CHEST}),
        ("00100020=P1", {CHEST}),
        ("PatientName=doe*", {CHEST}),
        ("PatientName=Do", set()),
        ("PatientName=Richard%20Roe&fuzzymatching=true", {HEAD}),
        ("PatientName=Ro^Richart&fuzzymatching=true", {HEAD}),
        ("PatientName=%E5%B1%B1%E7%94%B0*", {KNEE}),
        ("StudyDate=20240101-20240131", {CHEST}),
        ("StudyDate=-20231231", {KNEE}),
        ("StudyDate=20240102-&StudyTime=101400-", {CHEST, HEAD}),
        ("StudyDate=20240102-20240215&StudyTime=101600-101530", {HEAD}),
        ("ModalitiesInStudy=MR", {HEAD}),
        ("Modality=MR", {HEAD}),
        ("ModalitiesInStudy=CT,MR", {CHEST, HEAD, KNEE}),
        (f"StudyInstanceUID={CHEST},{HEAD}", {CHEST, HEAD}),
        (f"0020000D={CHEST}&0020000D={HEAD}", {CHEST, HEAD}),
        (f"StudyInstanceUID={CHEST}%5C{HEAD}", {CHEST, HEAD}),
        ("AccessionNumber=A2", {HEAD}),
        ("AccessionNumber=A?", {CHEST, HEAD, KNEE}),
        ("PatientID=&AccessionNumber=*", {CHEST, HEAD, KNEE}),
        ("PatientID=nobody", set()),
    ],
)
def test_studies(client: httpx.Client, query: str, found: set[str]) -> None:
    answer = client.get(f"{STUDIES}?{query}")
    assert set(uids(answer)) == found
    assert "warning" not in answer.headers


def test_what_a_study_is_answered_with(web: WebArchive, client: httpx.Client) -> None:
    answer = client.get(f"{STUDIES}?StudyInstanceUID={KNEE}")
    assert answer.headers["content-type"] == JSON
    [match] = answer.json()
    assert list(match) == sorted(match)
    assert match == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20230505"]},
        "00080030": {"vr": "TM", "Value": ["101500"]},
        "00080050": {"vr": "SH", "Value": ["A1"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT"]},
        "00080090": {"vr": "PN"},
        "00081030": {"vr": "LO", "Value": ["Ärm", 'Bein "quoted"']},
        "00081190": {"vr": "UR", "Value": [f"{web.url}{STUDIES}/{KNEE}"]},
        "00100010": {
            "vr": "PN",
            "Value": [
                {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
            ],
        },
        "00100020": {"vr": "LO", "Value": ["P3"]},
        "00100030": {"vr": "DA", "Value": ["19700101"]},
        "00100040": {"vr": "CS", "Value": ["F"]},
        "0020000D": {"vr": "UI", "Value": [KNEE]},
        "00200010": {"vr": "SH"},
        "00201206": {"vr": "IS", "Value": [1]},
        "00201208": {"vr": "IS", "Value": [1]},
    }


def test_series_of_a_study_and_of_all(client: httpx.Client) -> None:
    own = client.get(f"{STUDIES}/{HEAD}/series").json()
    assert [values(match, "0020000E") for match in own] == [[f"{HEAD}.1"]]
    [item] = values(own[0], "00400275")
    assert (values(item, "00400009"), values(item, "00401001")) == (["SPS7"], ["RP7"])
    assert values(own[0], "00201209") == [1]
    assert values(own[0], "00081190")[0].endswith(f"/studies/{HEAD}/series/{HEAD}.1")
    assert "00100010" not in own[0]
    everywhere = client.get(f"{SERIES}?Modality=CT&PatientID=P1")
    assert set(uids(everywhere, "0020000E")) == {f"{CHEST}.1", f"{CHEST}.2"}
    assert values(everywhere.json()[0], "00100010") == [{"Alphabetic": "Doe^Jane"}]


@pytest.mark.parametrize("key", ["RequestAttributesSequence.ScheduledProcedureStepID", "00400275.00400009"])
def test_keys_within_a_sequence(client: httpx.Client, key: str) -> None:
    assert uids(client.get(f"{SERIES}?{key}=SPS7"), "0020000E") == [f"{HEAD}.1"]
    assert uids(client.get(f"{SERIES}?{key}=SPS8"), "0020000E") == []


def test_instances(client: httpx.Client) -> None:
    of_series = client.get(f"{STUDIES}/{CHEST}/series/{CHEST}.2/instances")
    assert uids(of_series, "00080018") == [f"{CHEST}.2.{n}" for n in range(1, 6)]
    match = of_series.json()[0]
    assert values(match, "00081190")[0].endswith(f"/series/{CHEST}.2/instances/{CHEST}.2.1")
    assert (values(match, "00280010"), values(match, "00083002")) == ([2], ["1.2.840.10008.1.2.1"])
    assert "00280008" not in match  # no Number of Frames: not known
    assert uids(client.get(f"{STUDIES}/{CHEST}/instances?InstanceNumber=3"), "0020000E") == [
        f"{CHEST}.1",
        f"{CHEST}.2",
    ]
    assert uids(client.get(f"{INSTANCES}?SOPInstanceUID={HEAD}.1.1"), "00100020") == ["P2"]


def test_pages(client: httpx.Client) -> None:
    path = f"{STUDIES}/{CHEST}/instances"
    first = client.get(f"{path}?limit=4")
    assert len(first.json()) == 4
    assert first.headers["warning"].endswith('"There are additional results that can be requested"')
    rest = client.get(f"{path}?limit=8&offset=4")
    assert len(rest.json()) == 6
    assert "warning" not in rest.headers
    assert len(set(uids(first, "00080018")) | set(uids(rest, "00080018"))) == 10
    cut = client.get(path)
    assert len(cut.json()) == 8  # search_limit
    assert "additional results" in cut.headers["warning"]
    assert client.get(f"{path}?limit=0").json() == []
    assert client.get(f"{path}?offset=99999999999999999999").status_code in (200, 400)


def test_included_fields(client: httpx.Client) -> None:
    plain = client.get(f"{STUDIES}?PatientID=P1").json()[0]
    named = client.get(f"{STUDIES}?PatientID=P1&includefield=InstitutionName,00080062").json()[0]
    assert named.keys() - plain.keys() == {"00080080", "00080062"}
    everything = client.get(f"{STUDIES}?PatientID=P1&includefield=all").json()[0]
    assert everything.keys() > named.keys()
    below = client.get(f"{STUDIES}?PatientID=P1&includefield=SeriesDescription&includefield=Rows").json()[0]
    assert below.keys() == plain.keys()


def test_fields_that_only_the_object_has(client: httpx.Client) -> None:
    answer = client.get(f"{INSTANCES}?SOPInstanceUID={HEAD}.1.1&includefield=ImageType,00281050")
    assert answer.status_code == 200, answer.text
    [match] = answer.json()
    assert match["00080008"] == {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}
    assert match["00281050"] == {"vr": "DS", "Value": [40]}
    assert list(match) == sorted(match)


def test_a_key_that_is_not_supported_is_told(client: httpx.Client) -> None:
    answer = client.get(f"{STUDIES}?PatientID=P1&PatientAge=030Y")
    assert uids(answer) == [CHEST]
    assert "not matched: PatientAge" in answer.headers["warning"]


@pytest.mark.parametrize(
    "query", ["PatientNam=x", "StudyDate=yesterday", "limit=-1", "limit=x", "1234=5", "PatientID=%FF"]
)
def test_searches_that_cannot_be_read(client: httpx.Client, query: str) -> None:
    answer = client.get(f"{STUDIES}?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_paths_that_name_nothing(client: httpx.Client) -> None:
    assert client.get(f"{STUDIES}/1.2.3.999/series").status_code == 404
    assert client.get(f"{STUDIES}/nonsense/series").status_code == 400
    assert client.get(f"{STUDIES}/{CHEST}/series/{HEAD}.1/instances").json() == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/dicom+json", JSON),
        ("application/json", "application/json"),
        ("*/*", JSON),
        ("application/dicom+json, multipart/related; type=application/octet-stream", JSON),
    ],
)
def test_json_as_it_is_asked_for(client: httpx.Client, accept: str, kind: str) -> None:
    answer = client.get(STUDIES, headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert len(answer.json()) == 3


def test_xml(client: httpx.Client) -> None:
    answer = client.get(STUDIES, headers={"Accept": f'multipart/related; type="{XML}"'})
    message = Message()
    message["content-type"] = answer.headers["content-type"]
    boundary = str(message.get_param("boundary")).encode()
    parts = answer.content.split(b"--" + boundary)[1:-1]
    found = [ElementTree.fromstring(part.partition(b"\r\n\r\n")[2]) for part in parts]
    tags = [{element.get("tag"): element for element in document} for document in found]
    assert {tag["0020000D"][0].text for tag in tags} == {CHEST, HEAD, KNEE}
    assert client.get(STUDIES, headers={"Accept": "image/png"}).status_code == 406


def test_who_sees_one_study_finds_that_one(web: WebArchive) -> None:
    token = web.account("limited", Role.REFERRER, studies=(HEAD,))
    with web.client(token) as limited:
        assert uids(limited.get(STUDIES)) == [HEAD]
        assert uids(limited.get(SERIES)) == [HEAD]
        assert uids(limited.get(f"{INSTANCES}?PatientID=P1")) == []
        assert limited.get(f"{STUDIES}/{CHEST}/series").status_code == 404
    with web.anonymous() as nobody:
        assert nobody.get(STUDIES).status_code == 401


def test_searches_are_in_the_ledger_without_what_was_looked_for(
    web: WebArchive, client: httpx.Client
) -> None:
    client.get(f"{STUDIES}?PatientName=Doe*")
    event = web.event("search.answered", what="studies")
    assert event.actor == "user:admin"
    assert "Doe" not in json.dumps(dict(event.payload))


def test_dicomweb_client(web: WebArchive) -> None:
    service = DICOMwebClient(f"{web.url}/dicom-web", headers={"Authorization": f"Bearer {web.admin_token}"})
    [study] = service.search_for_studies(
        search_filters={"PatientName": "Doe*", "StudyDate": "20240101-20241231"}, fields=["InstitutionName"]
    )
    read = pydicom.Dataset.from_json(study)
    assert (read.StudyInstanceUID, str(read.PatientName)) == (CHEST, "Doe^Jane")
    assert len(service.search_for_series(CHEST)) == 2
    assert len(service.search_for_instances(CHEST, get_remaining=True)) == 10
    assert len(service.search_for_instances(get_remaining=True, limit=3)) == 12


def test_how_ohif_asks(client: httpx.Client) -> None:
    """The worklist's query, and those of a study that is opened."""
    query = (
        "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&00100010=*Doe*"
        "&StudyDate=20240101-20241231&ModalitiesInStudy=CT"
    )
    accept = {"Accept": "application/dicom+json"}
    assert uids(client.get(f"{STUDIES}?{query}", headers=accept)) == [CHEST]
    fields = "includefield=0008103E%2C00200011%2C00200013"
    assert len(client.get(f"{STUDIES}/{CHEST}/series?{fields}", headers=accept).json()) == 2


# Capabilities


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_capabilities_name_every_route(web: WebArchive, client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/dicom-web/", headers={"Accept": "application/vnd.sun.wadl+xml"})
    assert answer.headers["content-type"] == "application/vnd.sun.wadl+xml"
    document = ElementTree.fromstring(answer.content)
    space = "{http://wadl.dev.java.net/2009/02}"
    assert document.find(f"{space}resources").get("base") == f"{web.url}/dicom-web"  # type: ignore[union-attr]
    paths = {element.get("path") for element in document.iter(f"{space}resource")}
    assert {"/studies", "/studies/{study}/series/{series}/instances", "/instances"} <= paths
    told = client.request(method, "/dicom-web", headers={"Accept": "application/json"}).json()
    assert {resource["path"] for resource in told["resources"]} == paths
    [search] = [
        method
        for resource in told["resources"]
        for method in resource["methods"]
        if resource["path"] == "/series" and method["name"] == "GET"
    ]
    assert {"Modality", "PatientName", "includefield"} <= set(search["query"])
    assert "SOPInstanceUID" not in search["query"]
