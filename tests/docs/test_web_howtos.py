"""What the pages say of the running web role: OHIF's requests are answered, what /metrics shows is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from scripts import reference, reference_metrics

from hounsfield.services import metrics
from support_rendering import document_set
from support_wado import file_of_data_set, image, parts_of
from support_web import WebArchive

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "ohif-on-hounsfield.md"
ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", re.MULTILINE)
REQUESTS = ROW.findall(PAGE.read_text(encoding="utf-8"))
INSTANCES = "/dicom-web/studies/{study}/series/{series}/instances"
STUDY, SERIES, IMAGE, DOCUMENT = "1.2.3", "1.2.3.1", "1.2.3.1.1", "1.2.3.2.1"
PDF = b"%PDF-1.7 not really!"
PIXELS = 64 * 64 * 2


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    """A study with an image and, in a second series, a document."""
    uids = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": IMAGE}
    seen = {"PatientName": "SYNTHETIC^CHEST", "PatientID": "SYN-1", "Modality": "CT", "StudyDate": "20240312"}
    document = document_set(PDF, "1.2.840.10008.5.1.4.1.1.104.1", DOCUMENT)
    document.PatientName, document.PatientID = seen["PatientName"], seen["PatientID"]
    with WebArchive(tmp_path_factory.mktemp("howtos")) as archive:
        archive.store(image(64, 64, **uids, **seen), file_of_data_set(document))
        yield archive


@pytest.fixture
def client(web: WebArchive) -> Iterator[httpx.Client]:
    with web.client() as made:
        yield made


def asked(client: httpx.Client, path: str, accept: str) -> httpx.Response:
    """One row of the page."""
    series = SERIES if "{document}" not in path else "1.2.3.2"
    path = path.replace("{instances}", INSTANCES)
    path = path.format(study=STUDY, series=series, instance=IMAGE, document=DOCUMENT)
    return client.get(path, headers={"Accept": accept})


def test_the_page_lists_requests() -> None:
    assert len(REQUESTS) == 11


@pytest.mark.parametrize(("path", "accept"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_ohif_is_answered(client: httpx.Client, path: str, accept: str) -> None:
    answer = asked(client, path, accept)
    assert answer.status_code == 200, answer.text
    told = answer.headers["content-type"]
    if "json" in accept:
        assert told == accept
        assert len(answer.json()) == (2 if "/series?" in path else 1)
    elif "multipart" in accept:
        [part] = parts_of(answer)
        wanted = re.search(r'type="?([a-z/-]+)', accept)
        assert wanted is not None and wanted[1] in told
        assert len(part.data) == PIXELS or "jphc" in accept
    elif path.endswith("/bulkdata/7FE00010"):
        assert len(answer.content) == PIXELS
    elif "{document}" in path:
        assert (told, answer.content) == ("application/pdf", PDF)
    else:
        assert told == "image/jpeg" and answer.content.startswith(b"\xff\xd8")


def test_saving_needs_a_token(web: WebArchive, client: httpx.Client) -> None:
    """As the page says: with a session but without its CSRF token nothing is stored."""
    data = image(SOPInstanceUID=pydicom.uid.generate_uid())
    kind = {"Content-Type": "application/dicom"}
    with web.signed_in() as browser:
        del browser.headers["X-CSRF-Token"]
        assert browser.get("/dicom-web/studies").status_code == 200
        assert browser.post("/dicom-web/studies", content=data, headers=kind).status_code == 403
    assert client.post("/dicom-web/studies", content=data, headers=kind).status_code == 200


def test_every_metric_that_is_shown_is_named(client: httpx.Client) -> None:
    metrics.JOB_SECONDS.labels("pack-series", "done").observe(0.1)
    metrics._with_process_numbers()
    assert client.get("/healthz").status_code == 200
    shown = client.get("/metrics").text
    types = re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE)
    names = {name.removesuffix("_created").removesuffix("_total") for name in types}
    assert {"hounsfield_kept", "process_open_fds", "hounsfield_job_seconds"} <= names
    page = reference.PAGES["metrics.md"]()
    assert {name for name in names if not re.search(rf"`{name}(_total)?`", page)} == set()
    labels = set(re.findall(r'[{,](\w+)="', shown)) - {"le", "role"}
    assert labels <= reference_metrics.LABELS.keys()
