"""Rendered resources and thumbnails over HTTP, from a real archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file

from hounsfield.wire.dicomfile.part10 import build_meta
from support_rendering import document_set, explicit, image_set
from support_transcode import EXPLICIT
from support_wado import parts_of
from support_web import WebArchive

NAMES = ("CT_small.dcm", "examples_ybr_color.dcm", "test-SR.dcm", "waveform_ecg.dcm", "liver_1frame.dcm")


def _raw(name: str) -> bytes:
    return Path(str(get_testdata_file(name))).read_bytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("rendered")) as made:
        made.store(*(_raw(name) for name in NAMES))
        for number in range(3):
            data_set = image_set((np.arange(64 * 48).reshape(48, 64) % 4096).astype("u2"), stored=12)
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.3", "1.2.3.1"
            data_set.SOPInstanceUID = f"1.2.3.1.{number + 1}"
            data_set.InstanceNumber = number + 1
            made.store(_part10(data_set))
        made.store(
            _part10(document_set(b"%PDF-1.7 not really", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.3.2.1"))
        )
        made.store(_part10(document_set(b"<x/>", "1.2.840.10008.5.1.4.1.1.104.2", "1.2.3.2.2")))
        yield made


def _part10(data_set: pydicom.Dataset) -> bytes:
    identity = {"implementation_class_uid": "1.2.3", "implementation_version": "TEST"}
    meta = build_meta(data_set.SOPClassUID, data_set.SOPInstanceUID, EXPLICIT, **identity)
    return meta + explicit(data_set)


@pytest.fixture
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as made:
        yield made


def _path(name: str) -> str:
    data_set = pydicom.dcmread(str(get_testdata_file(name)), stop_before_pixels=True)
    study, series, sop = data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID
    return f"/dicom-web/studies/{study}/series/{series}/instances/{sop}"


@pytest.mark.parametrize(
    ("accept", "beginning"),
    [
        ("image/jpeg", b"\xff\xd8\xff"),
        ("image/png", b"\x89PNG"),
        ("image/gif", b"GIF89a"),
        ("image/jxl", b"\xff\x0a"),
        ("image/*;q=0.5, image/png", b"\x89PNG"),
        ("*/*", b"\xff\xd8\xff"),
    ],
)
def test_types_of_images(client: httpx.Client, accept: str, beginning: bytes) -> None:
    answer = client.get(_path("CT_small.dcm") + "/rendered", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(beginning)
    again = client.get(
        _path("CT_small.dcm") + "/rendered",
        headers={"Accept": accept, "If-None-Match": answer.headers["etag"]},
    )
    assert again.status_code == 304


def test_parameters_change_the_image(client: httpx.Client) -> None:
    path = _path("CT_small.dcm") + "/rendered?accept=image/png"

    def shown(query: str) -> np.ndarray:
        answer = client.get(f"{path}&{query}")
        assert answer.status_code == 200, answer.text
        return imagecodecs.png_decode(answer.content)

    plain = shown("")
    assert plain.shape == (128, 128)
    assert not np.array_equal(plain, shown("window=40,80,linear"))
    assert shown("viewport=64,32").shape == (32, 32)
    mirrored = shown("viewport=,,0,0,-128,")
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert np.array_equal(shown("viewport=,,16,8,32,64"), plain[8:72, 16:48])
    low = client.get(_path("CT_small.dcm") + "/rendered?quality=5").content
    assert len(low) < len(client.get(_path("CT_small.dcm") + "/rendered?quality=95").content)


@pytest.mark.parametrize(
    "query",
    [
        "window=40",
        "window=40,0.5",
        "window=1,2,3",
        "window=nan,1",
        "viewport=0,1",
        "viewport=99999,1",
        "viewport=1,2,3",
        "quality=0",
        "quality=x",
        "iccprofile=x",
        "viewport=1,1,1e20,1,1,1",
    ],
)
def test_wrong_parameters_are_told(client: httpx.Client, query: str) -> None:
    answer = client.get(f"{_path('CT_small.dcm')}/rendered?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


def test_frames(client: httpx.Client) -> None:
    path = _path("examples_ybr_color.dcm")
    one = client.get(f"{path}/frames/2/rendered", headers={"Accept": "image/png"})
    assert one.status_code == 200
    several = client.get(f"{path}/frames/2,3/rendered", headers={"Accept": "image/png"})
    parts = parts_of(several)
    assert [part.location.rpartition("/frames/")[2] for part in parts] == ["2/rendered", "3/rendered"]
    assert parts[0].data == one.content
    gif = client.get(f"{path}/frames/2,3/rendered", headers={"Accept": "image/gif"})
    assert imagecodecs.gif_decode(gif.content).shape[0] == 2
    assert client.get(f"{path}/frames/99/rendered").status_code == 404
    assert client.get(f"{path}/frames/0/rendered").status_code == 400
    moving = client.get(f"{path}/rendered", headers={"Accept": "image/gif"})
    assert imagecodecs.gif_decode(moving.content).shape[0] == 30


def test_series_and_study_give_a_part_for_each_image(client: httpx.Client) -> None:
    for path in ("/dicom-web/studies/1.2.3", "/dicom-web/studies/1.2.3/series/1.2.3.1"):
        parts = parts_of(client.get(path + "/rendered"))
        assert [part.media_type for part in parts] == ["image/jpeg"] * 3
        assert all(part.location.endswith(f"1.2.3.1.{n}/rendered") for n, part in enumerate(parts, 1))
        small = client.get(path + "/thumbnail?viewport=16,16")
        assert imagecodecs.jpeg8_decode(small.content).shape == (12, 16)
    assert client.get(_path("CT_small.dcm") + "/thumbnail").status_code == 200
    assert client.get(_path("CT_small.dcm") + "/frames/1/thumbnail").status_code == 200


def test_what_is_no_image(client: httpx.Client) -> None:
    report = client.get(_path("test-SR.dcm") + "/rendered", headers={"Accept": "text/html,*/*;q=0.1"})
    assert report.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in report.headers["content-security-policy"]
    assert client.get(_path("test-SR.dcm") + "/rendered", headers={"Accept": "image/png"}).status_code == 406
    drawing = client.get(_path("waveform_ecg.dcm") + "/rendered")
    assert drawing.headers["content-type"] == "image/svg+xml"
    pdf = "/dicom-web/studies/1.2.3/series/1.2.3.2/instances/1.2.3.2.1/rendered"
    whole = client.get(pdf)
    assert (whole.headers["content-type"], whole.content) == ("application/pdf", b"%PDF-1.7 not really")
    part = client.get(pdf, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PDF")
    cda = client.get(pdf.replace("2.1/ren", "2.2/ren"))
    assert (cda.headers["content-type"], cda.content) == ("text/plain; charset=utf-8", b"<x/>")


def test_thumbnails_of_what_is_no_image_say_what_it_is(client: httpx.Client) -> None:
    """One for each kind, for the instance and for a study that has nothing else."""
    cards = {}
    for name in ("test-SR.dcm", "waveform_ecg.dcm"):
        study = "/".join(_path(name).split("/")[:4])
        answers = [client.get(f"{path}/thumbnail?viewport=120,90") for path in (_path(name), study)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        cards[name] = imagecodecs.jpeg8_decode(answers[0].content)
        assert cards[name].shape == (90, 120)
        assert cards[name].std() > 10  # something is written
        again = client.get(
            f"{_path(name)}/thumbnail?viewport=120,90", headers={"If-None-Match": answers[0].headers["etag"]}
        )
        assert again.status_code == 304
    assert not np.array_equal(*cards.values())


def test_annotations_are_drawn_where_they_are_asked_for(client: httpx.Client) -> None:
    def shown(query: str) -> np.ndarray:
        answer = client.get(f"{_path('CT_small.dcm')}/rendered?accept=image/png{query}")
        assert answer.status_code == 200, answer.text
        return imagecodecs.png_decode(answer.content)

    plain = shown("")
    patient, technique = shown("&annotation=patient"), shown("&annotation=technique")
    assert np.array_equal(plain, shown("&annotation=nothing"))
    for changed in (patient, technique):
        assert not np.array_equal(plain, changed)
    middle = np.s_[56:72, 96:]
    assert np.array_equal(plain[middle], shown("&annotation=patient,technique")[middle])
    assert not (patient != plain)[64:].any()  # whose it is stands at the top


def test_the_same_again_is_not_made_again(archive: WebArchive, client: httpx.Client) -> None:
    path = _path("CT_small.dcm") + "/rendered?window=12,34"
    first = client.get(path).content
    pool = archive.web.renderer._pool  # type: ignore[attr-defined]  # the real one
    taken: list[object] = []
    taking, pool._turn = pool._turn, lambda loop: taken.append(loop) or taking(loop)
    try:
        assert client.get(path).content == first
        assert not taken
        assert client.get(path + "&quality=40").content != first
        assert taken
    finally:
        pool._turn = taking


def test_dicomweb_client_renders(archive: WebArchive) -> None:
    import requests

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {archive.admin_token}"
    peer = DICOMwebClient(f"{archive.url}/dicom-web", session=session)
    uids = _path("CT_small.dcm").split("/")
    image = peer.retrieve_instance_rendered(uids[3], uids[5], uids[7], media_types=("image/png",))
    assert imagecodecs.png_decode(image).shape == (128, 128)
    frame = peer.retrieve_instance_frames_rendered(
        uids[3], uids[5], uids[7], frame_numbers=[1], media_types=("image/jpeg",)
    )
    assert frame.startswith(b"\xff\xd8")


def test_who_may_not_see_a_study_sees_no_image(archive: WebArchive) -> None:
    token = archive.account("far", "referrer", studies=("9.9.9",))
    with archive.client(token) as stranger:
        for place in ("/rendered", "/thumbnail", "/frames/1/rendered"):
            assert stranger.get(_path("CT_small.dcm") + place).status_code == 404


def test_reading_is_in_the_ledger(archive: WebArchive, client: httpx.Client) -> None:
    client.get(_path("liver_1frame.dcm") + "/rendered")
    archive.event("study.accessed", what="rendered")
