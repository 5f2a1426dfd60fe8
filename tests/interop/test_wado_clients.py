"""DICOMweb clients that retrieve, WADO-URI; who may, and who did."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pytest
from dicomweb_client import DICOMwebClient

from hounsfield.domain.access import Role
from hounsfield.hospital.synthetic import ct_series
from support_peers import Orthanc, find_program
from support_wado import (
    DICOM,
    Address,
    data_set_of,
    image,
    of_file,
    parts_of,
    read,
    related,
)
from support_web import WebArchive, wait_for

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PREFIX = "1.2.840.10008.1.2.4."
HTJ2K, HTJ2K_RPCL, HTJ2K_ANY = PREFIX + "201", PREFIX + "202", PREFIX + "203"
JPEG_LS, J2K, SV1, RLE = PREFIX + "80", PREFIX + "90", PREFIX + "70", "1.2.840.10008.1.2.5"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("wado"), large_object=1, http_rate=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as found:
        yield found


@pytest.fixture(scope="module")
def series(archive: WebArchive) -> list[bytes]:
    """A CT of five images."""
    files = list(ct_series(5, 64, 64, key="test-wado"))
    archive.store(*files)
    return files


@pytest.fixture(scope="module")
def at(series: list[bytes]) -> Address:
    return of_file(series[0])


@pytest.fixture(scope="module")
def movie(archive: WebArchive) -> bytes:
    """Forty frames, in an object larger than what is read as a whole."""
    made = image(96, 96, frames=40, size=5 << 20)
    archive.store(made)
    return made


# Clients ------------------------------------------------------------------------------------------------


def test_dicomweb_client(archive: WebArchive, series: list[bytes], at: Address) -> None:
    client = DICOMwebClient(
        f"{archive.url}/dicom-web", headers={"Authorization": f"Bearer {archive.admin_token}"}
    )
    first = read(series[0])
    study, one_series, sop = first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID
    expected = {read(file).SOPInstanceUID: read(file).PixelData for file in series}
    assert {d.SOPInstanceUID: d.PixelData for d in client.retrieve_study(study)} == expected
    assert {d.SOPInstanceUID: d.PixelData for d in client.retrieve_series(study, one_series)} == expected
    assert client.retrieve_instance(study, one_series, sop).PixelData == first.PixelData
    assert client.retrieve_instance_frames(study, one_series, sop, [1]) == [first.PixelData]
    (frame,) = client.retrieve_instance_frames(study, one_series, sop, [1], media_types=(("image/jp2", J2K),))
    assert np.array_equal(imagecodecs.jpeg2k_decode(frame), first.pixel_array)
    assert len(client.retrieve_study_metadata(study)) == len(series)
    assert len(client.retrieve_series_metadata(study, one_series)) == len(series)
    metadata = client.retrieve_instance_metadata(study, one_series, sop)
    assert metadata["00080018"]["Value"] == [sop]
    # it says in its Host header that we are on port 80, and is believed
    uri = metadata["7FE00010"]["BulkDataURI"].replace("http://127.0.0.1/", f"{archive.url}/")
    assert client.retrieve_bulkdata(uri) == [first.PixelData]
    assert client.retrieve_bulkdata(uri, byte_range=(0, 99))[0][:100] == first.PixelData[:100]


@pytest.mark.peer("orthanc")
@pytest.mark.skipif(find_program("Orthanc") is None or not PLUGIN.exists(), reason="no orthanc-dicomweb")
def test_orthanc_pulls_a_study(archive: WebArchive, series: list[bytes], tmp_path: Path) -> None:
    server = {
        "Url": f"{archive.url}/dicom-web/",
        "HttpHeaders": {"Authorization": f"Bearer {archive.admin_token}"},
    }
    orthanc = Orthanc(tmp_path, {}, Plugins=[str(PLUGIN)], DicomWeb={"Servers": {"hounsfield": server}})
    try:
        study = str(read(series[0]).StudyInstanceUID)
        orthanc.ask("/dicom-web/servers/hounsfield/retrieve", {"Resources": [{"Study": study}]})
        assert orthanc.instances() == {str(read(file).SOPInstanceUID) for file in series}
        (one,) = orthanc.ask(
            "/tools/find", {"Level": "Instance", "Query": {"SOPInstanceUID": read(series[2]).SOPInstanceUID}}
        )
        assert data_set_of(orthanc.ask(f"/instances/{one}/file")) == data_set_of(series[2])
    finally:
        orthanc.stop()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_goes_on_where_it_broke_off(
    archive: WebArchive, client: httpx.Client, movie: bytes, tmp_path: Path
) -> None:
    path = of_file(movie).instance
    whole = client.get(path, headers={"Accept": DICOM}).content
    (tmp_path / "got.dcm").write_bytes(whole[:1_500_000])
    headers = ["-H", f"Authorization: Bearer {archive.admin_token}", "-H", f"Accept: {DICOM}"]
    subprocess.run(
        ["curl", "-sS", "-C", "-", "-o", tmp_path / "got.dcm", *headers, archive.url + path], check=True
    )
    assert (tmp_path / "got.dcm").read_bytes() == whole


def test_wado_uri(client: httpx.Client, series: list[bytes], at: Address) -> None:
    first = read(series[0])
    query = {
        "requestType": "WADO",
        "studyUID": first.StudyInstanceUID,
        "seriesUID": first.SeriesInstanceUID,
        "objectUID": first.SOPInstanceUID,
    }
    file = client.get("/wado", params=query | {"contentType": DICOM})
    assert data_set_of(file.content) == data_set_of(series[0])
    compressed = client.get("/wado", params=query | {"contentType": DICOM, "transferSyntax": JPEG_LS})
    assert read(compressed.content).file_meta.TransferSyntaxUID == JPEG_LS
    picture = client.get("/wado", params=query)
    assert picture.headers["content-type"] == "image/jpeg"
    assert imagecodecs.jpeg8_decode(picture.content).shape[:2] == (64, 64)
    wide = client.get("/wado", params=query | {"contentType": "image/png", "columns": "32", "rows": "32"})
    assert imagecodecs.png_decode(wide.content).shape[:2] == (32, 32)
    for wrong in (
        {"requestType": "X"},
        {"objectUID": "../x"},
        {"contentType": "image//"},
        {"anonymize": "yes"},
    ):
        assert client.get("/wado", params=query | wrong).status_code == 400
    assert client.get("/wado", params=query | {"contentType": "video/mp4"}).status_code == 406
    assert client.get("/wado", params=query | {"objectUID": "1.2.3"}).status_code == 404


# Who may, and who did ------------------------------------------------------------------------------------


def test_it_is_in_the_ledger(archive: WebArchive, series: list[bytes], at: Address) -> None:
    token = archive.account("wado-reader", Role.RADIOLOGIST)
    with archive.client(token) as reader:
        for path in (
            at.study,
            at.instance + "/frames/1",
            at.study + "/metadata",
            at.instance + "/bulkdata/7FE00010",
        ):
            assert reader.get(path).status_code == 200
    study = str(read(series[0]).StudyInstanceUID)
    for what, objects in (("instance", 5), ("frames", 1), ("metadata", 5), ("bulk data", 1)):

        def told(what: str = what, objects: int = objects) -> bool:
            return any(
                event.subjects.study == study
                and event.actor == "user:wado-reader"
                and (event.payload["what"], event.payload["objects"]) == (what, objects)
                for event in archive.events("study.accessed")
            )

        wait_for(told, f"the ledger tells of {what}")


def test_a_study_outside_the_scope_is_not_there(
    archive: WebArchive, client: httpx.Client, series: list[bytes], at: Address, movie: bytes
) -> None:
    token = archive.account("wado-limited", Role.REFERRER, studies=(str(read(movie).StudyInstanceUID),))
    with archive.client(token) as limited:
        assert limited.get(of_file(movie).instance, headers={"Accept": DICOM}).status_code == 200
        own = of_file(movie)
        for path in (at.study, at.series, at.instance, at.instance + "/frames/1", at.study + "/metadata"):
            assert limited.get(path).status_code == 404
        # nor by way of the one study that is seen
        sop = at.instance.rpartition("/")[2]
        inner = at.series.rpartition("/")[2]
        for path in (
            f"{own.series}/instances/{sop}",
            f"{own.series}/instances/{sop}/frames/1",
            f"{own.series}/instances/{sop}/metadata",
            f"{own.series}/instances/{sop}/bulkdata/7FE00010",
            f"{own.study}/series/{inner}",
            f"{own.study}/series/{inner}/metadata",
            f"{own.study}/series/{inner}/instances/{sop}",
        ):
            assert client.get(path).status_code == 404
            assert limited.get(path).status_code == 404
        query = {
            "requestType": "WADO",
            "studyUID": own.study.rpartition("/")[2],
            "seriesUID": inner,
            "objectUID": sop,
            "contentType": DICOM,
        }
        assert limited.get("/wado", params=query).status_code == 404


def test_many_at_once(archive: WebArchive, series: list[bytes], at: Address) -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = read(series[0]).PixelData

    def ask(number: int) -> bool:
        with archive.client() as own:
            if number % 4 == 0:
                return len(parts_of(own.get(at.study, headers=related(DICOM, "*")))) == 5
            if number % 4 == 1:
                return len(parts_of(own.get(at.study, headers=related(DICOM, RLE)))) == 5
            return parts_of(own.get(at.instance + "/frames/1"))[0].data == expected

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(ask, range(128)))
