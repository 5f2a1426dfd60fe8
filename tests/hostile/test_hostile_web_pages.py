"""What objects and requests would do to browsers, and to other servers by way of ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import pydicom
import pytest

from support_hostile import CT
from support_hostile_web import part10, unimpressed
from support_rendering import document_set, explicit
from support_stow import JSON, STUDIES, new_uid, stow
from support_stow import related as upload
from support_wado import OCTETS, address
from support_web_process import WebProcess


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("hostile-web")
    with WebProcess(folder, memory_budget=16, large_object=1, pixel_processes=2) as made:
        yield made


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with unimpressed(web) as made:
        yield made


# Web -----------------------------------------------------------------------------------------------------

SCRIPT = "<script>alert(1)</script>"
TEXTS = {
    "script": SCRIPT,
    "image": "\"'><img src=x onerror=alert(1)>",
    "template": "{{7*7}}${7*7}{0.__class__}%s{study}",
    "address": "javascript:alert(1)",
}


def report(text: str, study: str, sop: str) -> bytes:
    """A structured report with a text in each place that has room for one."""
    root = pydicom.Dataset()
    root.SOPClassUID, root.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", sop
    root.StudyInstanceUID, root.SeriesInstanceUID, root.Modality = study, f"{study}.1", "SR"
    root.PatientName, root.PatientID, root.StudyDescription = text, text[:60], text[:60]
    root.ValueType, root.ContinuityOfContent = "CONTAINER", "SEPARATE"
    item = pydicom.Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", text
    name = pydicom.Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = text[:16], "99X", text[:60]
    item.ConceptNameCodeSequence = pydicom.Sequence([name])
    seen = pydicom.Dataset()
    seen.RelationshipType, seen.ValueType = "CONTAINS", "IMAGE"
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, text[:60]
    seen.ReferencedSOPSequence = pydicom.Sequence([reference])
    root.ConceptNameCodeSequence = pydicom.Sequence([name])
    root.ContentSequence = pydicom.Sequence([item, seen])
    return explicit(root)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts_that_would_be_code_in_a_page(client: httpx.Client, text: str) -> None:
    study = new_uid()
    sop = f"{study}.1.1"
    data = report(text, study, sop)
    assert stow(client, [part10(sop, data, sop_class="1.2.840.10008.5.1.4.1.1.88.11")]).status_code == 200
    at = address(study, f"{study}.1", sop)
    page = client.get(at.instance + "/rendered", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "<script" not in page.text and "<img" not in page.text and 'href="javascript' not in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    if "7*7" in text:
        assert "49" not in page.text.partition("<body")[2] and "{{7*7}}" in page.text
    found = client.get(STUDIES, params={"StudyInstanceUID": study})
    for answer in (found, client.get(at.instance + "/metadata"), client.get(f"/api/studies/{study}")):
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in ("application/dicom+json", "application/json"), kind
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_documents_are_no_pages_of_ours(client: httpx.Client) -> None:
    """HTML, SVG and others that were put in as documents: never with a type that a browser runs."""
    for kind, content in (
        ("text/html", SCRIPT.encode() * 100),
        ("image/svg+xml", f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'.encode() * 20),
        ("application/pdf\r\nSet-Cookie: a=b", b"%PDF-1.7" * 400),
        ("text/html; x=\"'", b"<html>" * 500),
    ):
        study = new_uid()
        document = document_set(content, "1.2.840.10008.5.1.4.1.1.104.1", f"{study}.1.1")
        document.StudyInstanceUID, document.SeriesInstanceUID = study, f"{study}.1"
        document.MIMETypeOfEncapsulatedDocument = kind
        document.DocumentTitle = 'x"\r\nSet-Cookie: a=b\r\n\r\n<script>'
        file = part10(f"{study}.1.1", explicit(document), sop_class=str(document.SOPClassUID))
        assert stow(client, [file]).status_code == 200
        at = address(study, f"{study}.1", f"{study}.1.1").instance
        for path in ("/rendered", "/bulkdata/00420011"):
            for accept in ("text/html", "image/svg+xml", "application/pdf", "*/*"):
                answer = client.get(at + path, headers={"Accept": accept})
                assert answer.status_code in (200, 406), (path, accept)
                assert "set-cookie" not in answer.headers
                served = answer.headers["content-type"].partition(";")[0]
                assert served in ("application/pdf", OCTETS, "application/problem+json"), (kind, served)
                policy = answer.headers["content-security-policy"]
                assert "sandbox" in policy or served == "application/pdf", policy


def test_addresses_in_metadata_are_asked_by_nobody(client: httpx.Client, web: WebProcess) -> None:
    """Bulk data come with the request, or not at all: never from where a BulkDataURI points."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.5)
        here = f"http://127.0.0.1:{listener.getsockname()[1]}/secret"
        ours = f"{web.url}/api/session"
        for uri in (here, ours, "file:///etc/passwd", "../../../../etc/passwd", "//x/y", ""):
            study = new_uid()
            uids = {"00080018": f"{study}.1.1", "0020000D": study, "0020000E": f"{study}.1", "00080016": CT}
            members = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
            for member in ({"vr": "OW", "BulkDataURI": uri}, {"vr": "UT", "BulkDataURI": uri}):
                document = json.dumps([members | {"7FE00010": member}]).encode()
                body, headers = upload([(JSON, document, "")], JSON)
                answer = client.post(STUDIES, content=body, headers=headers)
                assert answer.status_code in (400, 409), (uri, answer.text)
                assert "root:" not in answer.text
        with pytest.raises(TimeoutError):
            listener.accept()
