"""STOW-RS: what comes in over HTTP is kept as it came, found at once, and told of truly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.data import get_testdata_file, get_testdata_files

from hounsfield.domain.access import Role
from hounsfield.wire.dicomfile.part10 import read_meta
from support_peers import Orthanc, find_program
from support_services import part10
from support_stow import (
    BOUNDARY,
    DICOM,
    JSON,
    STUDIES,
    XML,
    failures,
    new_uid,
    referenced,
    related,
    stow,
    values,
)
from support_web import WebArchive, wait_for

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("stow"), large_object=1, settle_seconds=3600) as archive:
        yield archive


@pytest.fixture
def client(web: WebArchive) -> Iterator[httpx.Client]:
    with web.client() as found:
        yield found


def made(count: int, study: str = "", **more: object) -> list[bytes]:
    """Objects of one series of a study of their own."""
    study = study or new_uid()
    return [
        part10(f"{study}.1.{n}", study=study, series=f"{study}.1", number=n, **more)
        for n in range(1, count + 1)
    ]


def sop(data: bytes) -> str:
    return read_meta(data).sop_instance_uid


def kept(web: WebArchive, uid: str) -> bytes:
    """The PS3.10 object as it is kept."""
    with web.web.database.read() as tx:
        instance = tx.index.locate(uid)
    assert instance is not None
    return bytes(web.web.reader.part10(instance))


def test_many_objects_in_one_request_are_kept_byte_exact_and_found(
    web: WebArchive, client: httpx.Client
) -> None:
    files = made(50, preamble=b"II*\0")
    answer = stow(client, files)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == JSON
    assert sorted(referenced(answer.json())) == sorted(map(sop, files))
    study = sop(files[0]).rpartition(".1.")[0]
    assert values(answer.json(), "00081190") == [f"{web.url}{STUDIES}/{study}"]
    item = values(answer.json(), "00081199")[0]
    assert values(item, "00081190")[0].endswith(f"/series/{study}.1/instances/{values(item, '00081155')[0]}")
    found = client.get(f"{STUDIES}/{study}/instances").json()
    assert len(found) == 50
    assert [kept(web, sop(data)) for data in files] == files
    [event] = [e for e in web.events("instance.stored", study=study) if len(e.payload["objects"]) == 50][:1]
    assert (event.actor, event.payload["source"]) == ("user:admin", "stow")


def test_one_object_alone_without_multipart(web: WebArchive, client: httpx.Client) -> None:
    [data] = made(1)
    answer = client.post(STUDIES, content=data, headers={"Content-Type": DICOM})
    assert (answer.status_code, referenced(answer.json())) == (200, [sop(data)])
    assert kept(web, sop(data)) == data


def test_the_same_again_is_a_success_and_other_content_is_not(client: httpx.Client) -> None:
    [data] = made(1)
    assert stow(client, [data]).status_code == 200
    assert stow(client, [data]).status_code == 200
    other = data.replace(b"Doe^Jane", b"Doe^June")
    answer = stow(client, [other])
    assert (answer.status_code, failures(answer.json())) == (409, [(sop(data), 0x0111)])


def test_a_large_object_goes_past_memory(web: WebArchive, client: httpx.Client) -> None:
    [data] = made(1, pixels=bytes(range(256)) * 20_000)
    assert stow(client, [data]).status_code == 200
    assert kept(web, sop(data)) == data


def test_some_fail_and_the_others_are_kept(client: httpx.Client) -> None:
    good, bad = made(2)
    answer = stow(client, [good, bad[:-4], b"no object at all, and long enough to be sure of it"])
    assert answer.status_code == 202
    assert referenced(answer.json()) == [sop(good)]
    assert failures(answer.json()) == [(sop(bad), 0xC000), ("", 0xC000)]
    assert "cut short" in values(values(answer.json(), "00081198")[0], "00000902")[0]


def test_another_study_than_that_of_the_address(web: WebArchive, client: httpx.Client) -> None:
    [own], [other] = made(1), made(1)
    study = sop(own).rpartition(".1.")[0]
    answer = stow(client, [own, other], f"{STUDIES}/{study}")
    assert (answer.status_code, referenced(answer.json())) == (202, [sop(own)])
    assert failures(answer.json()) == [(sop(other), 0xA901)]
    assert stow(client, [other], f"{STUDIES}/{study}").status_code == 409
    refused = web.event("instance.refused", sop=sop(other))
    assert (refused.actor, refused.payload["status"]) == ("user:admin", "A901")
    assert stow(client, [other], f"{STUDIES}/no-uid").status_code == 400


def test_whoever_sees_some_studies_adds_to_those_alone(web: WebArchive, client: httpx.Client) -> None:
    mine, others = new_uid(), new_uid()
    assert stow(client, made(1, mine) + made(1, others)).status_code == 200
    token = web.account(f"tech{mine[-6:]}", Role.TECHNOLOGIST, studies=(mine,))
    with web.client(token) as limited:
        answer = stow(limited, [*made(2, mine), *made(2, others)])
    assert sorted(failures(answer.json())) == [(f"{others}.1.{n}", 0x0124) for n in (1, 2)]
    assert len(referenced(answer.json())) == 2


def test_whoever_may_not_store(web: WebArchive) -> None:
    token = web.account("reader", Role.REFERRER)
    with web.client(token) as reader:
        assert stow(reader, made(1)).status_code == 403
    with web.anonymous() as nobody:
        assert stow(nobody, made(1)).status_code == 401


def test_the_answer_as_xml(client: httpx.Client) -> None:
    [data] = made(1)
    answer = stow(client, [data], Accept=XML)
    assert (answer.status_code, answer.headers["content-type"]) == (200, XML)
    assert sop(data) in [element.text for element in ElementTree.fromstring(answer.content).iter()]
    assert stow(client, [data], Accept="text/html").status_code == 406


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": f'multipart/related; type="image/png"; boundary={BOUNDARY}'}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": DICOM, "Content-Encoding": "gzip"}, 415),
        ({}, 415),
    ],
    ids=["text", "parts", "no boundary", "gzip", "none"],
)
def test_what_is_not_taken(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    body, _ = related(made(1))
    answer = client.post(STUDIES, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_nothing_to_store(client: httpx.Client) -> None:
    assert client.post(STUDIES, content=b"", headers={"Content-Type": DICOM}).status_code == 400
    assert stow(client, []).status_code == 400


def test_a_type_without_quotes(client: httpx.Client) -> None:
    body, _ = related(made(1))
    headers = {"Content-Type": f"multipart/related; type=application/dicom; boundary={BOUNDARY}"}
    assert client.post(STUDIES, content=body, headers=headers).status_code == 200


def test_a_client_that_goes_away_leaves_nothing_half(web: WebArchive, client: httpx.Client) -> None:
    first, second = made(2, pixels=bytes(300_000))
    body, headers = related([first, second])
    with socket.create_connection(("127.0.0.1", web.port)) as plain:
        lines = [
            f"POST {STUDIES} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {web.admin_token}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        plain.sendall("\r\n".join([*lines, "", ""]).encode() + body[: len(first) + len(second) // 2])
        wait_for(lambda: _located(web, sop(first)), "what was complete is kept")
    wait_for(lambda: web.web.store.budget.used == 0, "what was not is forgotten")
    assert not _located(web, sop(second))


def _located(web: WebArchive, uid: str) -> bool:
    with web.web.database.read() as tx:
        return tx.index.locate(uid) is not None


def test_many_clients_at_once(web: WebArchive) -> None:
    statuses = []

    def run() -> None:
        with web.client() as one:
            statuses.append(stow(one, made(20, pixels=bytes(100_000))).status_code)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert web.web.store.budget.used == 0


# Metadata and bulk data


def metadata_of(path: str) -> tuple[pydicom.Dataset, dict[str, object], bytes]:
    """A file of pydicom as a new object: its metadata in JSON without pixels, and its pixels."""
    data_set = pydicom.dcmread(path)
    data_set.SOPInstanceUID = new_uid()
    data_set.StudyInstanceUID = new_uid()
    data_set.SeriesInstanceUID = new_uid()
    pixels = data_set.pop("PixelData").value
    members = data_set.to_json_dict()
    members["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/pixels"}
    return data_set, members, pixels


def read(web: WebArchive, uid: str) -> pydicom.Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(kept(web, uid)))


@pytest.mark.parametrize("location", ["bulk/pixels", "absolute"])
@pytest.mark.parametrize("metadata_first", [True, False])
def test_json_metadata_with_bulk_data(
    web: WebArchive, client: httpx.Client, location: str, metadata_first: bool
) -> None:
    data_set, members, pixels = metadata_of(get_testdata_file("CT_small.dcm"))
    if location == "absolute":
        location = f"{web.url}{STUDIES}/bulk/pixels"
    parts = [(JSON, json.dumps([members]).encode(), ""), ("application/octet-stream", pixels, location)]
    body, headers = related(parts if metadata_first else parts[::-1], JSON)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert (answer.status_code, referenced(answer.json())) == (200, [data_set.SOPInstanceUID])
    stored = read(web, data_set.SOPInstanceUID)
    assert stored.PixelData == pixels
    assert (stored.PatientName, stored.Rows) == (data_set.PatientName, data_set.Rows)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_compressed_bulk_data(web: WebArchive, client: httpx.Client) -> None:
    data_set, members, pixels = metadata_of(get_testdata_file("JPEG2000.dcm"))
    [frame] = list(pydicom.encaps.generate_frames(pixels, number_of_frames=1))
    kind = 'image/jp2; transfer-syntax="1.2.840.10008.1.2.4.91"'
    body, headers = related([(JSON, json.dumps(members).encode(), ""), (kind, frame, "bulk/pixels")], JSON)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    stored = read(web, data_set.SOPInstanceUID)
    assert stored.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.91"
    [again] = list(pydicom.encaps.generate_frames(stored.PixelData, number_of_frames=1))
    assert again.rstrip(b"\0") == frame.rstrip(b"\0")


def test_bulk_data_that_are_not_there(client: httpx.Client) -> None:
    data_set, members, _ = metadata_of(get_testdata_file("CT_small.dcm"))
    members["7FE00010"] = {"vr": "OW", "BulkDataURI": "http://127.0.0.1:1/elsewhere"}
    body, headers = related([(JSON, json.dumps([members]).encode(), "")], JSON)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert (answer.status_code, failures(answer.json())) == (409, [(data_set.SOPInstanceUID, 0xC000)])


def test_xml_metadata(web: WebArchive, client: httpx.Client) -> None:
    uids = [new_uid() for _ in range(3)]
    tags = ("0020000D", "0020000E", "00080018")
    values_of = dict(zip(tags, uids, strict=True)) | {"00080016": "1.2.840.10008.5.1.4.1.1.7"}
    attributes = "".join(
        f'<DicomAttribute tag="{tag}" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>'
        for tag, uid in sorted(values_of.items())
    )
    document = f'<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">{attributes}'
    body, headers = related([(XML, f"{document}</NativeDicomModel>".encode(), "")], XML)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert (answer.status_code, referenced(answer.json())) == (200, [uids[2]])
    assert read(web, uids[2]).StudyInstanceUID == uids[0]


# Peers


def test_dicomweb_client_stores_and_finds(web: WebArchive) -> None:
    service = DICOMwebClient(f"{web.url}/dicom-web", headers={"Authorization": f"Bearer {web.admin_token}"})
    data_sets = []
    for data in made(5):
        data_sets.append(pydicom.dcmread(pydicom.filebase.DicomBytesIO(data)))
    study = data_sets[0].StudyInstanceUID
    answer = service.store_instances(data_sets, study)
    assert len(answer.ReferencedSOPSequence) == 5
    assert "FailedSOPSequence" not in answer
    assert len(service.search_for_instances(study, get_remaining=True)) == 5
    [found] = service.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert values(found, "00201208") == [5]


def test_every_file_of_pydicom(web: WebArchive, client: httpx.Client) -> None:
    """Each file that is an object is kept and found, or refused for a reason that can be told."""
    paths = [Path(path) for path in get_testdata_files() if Path(path).is_file()]
    files = [path.read_bytes() for path in paths if path.suffix == ".dcm"]
    answer = stow(client, files)
    told = answer.json()
    assert answer.status_code == 202
    assert len(referenced(told)) + len(failures(told)) == len(files)
    assert {reason for _, reason in failures(told)} <= {0xC000, 0x0111, 0x0110}
    assert len(referenced(told)) > 50
    for item in values(told, "00081199"):
        url = values(item, "00081190")[0].removeprefix(web.url)
        series, _, uid = url.rpartition("/instances/")
        found = client.get(f"{series}/instances", params={"SOPInstanceUID": uid}).json()
        assert [values(one, "00080018") for one in found] == [[uid]]


@pytest.mark.peer("orthanc")
@pytest.mark.skipif(find_program("Orthanc") is None or not PLUGIN.exists(), reason="no orthanc-dicomweb")
def test_orthanc_stores_here_and_searches_here(web: WebArchive, tmp_path: Path) -> None:
    server = {"Url": f"{web.url}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {web.admin_token}"}}
    orthanc = Orthanc(tmp_path, {}, Plugins=[str(PLUGIN)], DicomWeb={"Servers": {"hounsfield": server}})
    try:
        files = made(12)
        identifiers = [orthanc.ask("/instances", data)["ID"] for data in files]
        orthanc.ask("/dicom-web/servers/hounsfield/stow", {"Resources": identifiers, "Synchronous": True})
        assert all(_located(web, sop(data)) for data in files)
        study = sop(files[0]).rpartition(".1.")[0]
        found = orthanc.ask(
            "/dicom-web/servers/hounsfield/qido",
            {"Uri": "/instances", "Arguments": {"0020000D": study, "limit": "100"}},
        )
        assert len(found) == 12
    finally:
        orthanc.stop()
