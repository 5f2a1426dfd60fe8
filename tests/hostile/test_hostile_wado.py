"""Retrieves over HTTP that nobody in good faith would ask for, and kept bytes that are not there any more."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hounsfield.hospital.synthetic import ct_series
from support_wado import (
    DICOM,
    OCTETS,
    Address,
    data_set_of,
    file_of_data_set,
    image,
    kept,
    of_file,
    parts_of,
    read,
    related,
)
from support_web import WebArchive, wait_for

#: What stands where a UID belongs.
NO_UIDS = [
    "../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "1.2.3;x",
    "1.2.3%00",
    "1.2.3%0d%0aSet-Cookie:x=y",
    "*",
    "1" * 65,
    "1.2." + "3" * 4096,
    "%F0%9F%98%80",
    "1.2.3'--",
    "-1",
    ".1.2",
]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("wado"), large_object=1, http_rate=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as found:
        yield found


@pytest.fixture(scope="module")
def at(archive: WebArchive) -> Address:
    file = image(frames=3)
    archive.store(file)
    return of_file(file)


def raw(archive: WebArchive, path: str, *headers: str) -> bytes:
    """The answer to a request whose path is sent as it stands."""
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {archive.admin_token}", *headers]
    with socket.create_connection(("127.0.0.1", archive.port), 10) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\nConnection: close\r\n\r\n").encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("bad", NO_UIDS, ids=range(len(NO_UIDS)))
def test_what_is_no_uid(archive: WebArchive, at: Address, bad: str) -> None:
    _, _, _, study, _, series, _, sop = at.instance.split("/")
    places = [
        f"/dicom-web/studies/{bad}",
        f"/dicom-web/studies/{bad}/series/{series}/instances/{sop}/frames/1",
        f"/dicom-web/studies/{study}/series/{bad}",
        f"/dicom-web/studies/{study}/series/{bad}/metadata",
        f"/dicom-web/studies/{study}/series/{series}/instances/{bad}",
        f"/dicom-web/studies/{study}/series/{series}/instances/{bad}/frames/1",
        f"/dicom-web/studies/{study}/series/{series}/instances/{bad}/bulkdata/7FE00010",
        f"/wado?requestType=WADO&studyUID={bad}&seriesUID={series}&objectUID={sop}",
        f"/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={bad}",
    ]
    for place in places:
        answer = raw(archive, place, f"Accept: {DICOM}")
        assert answer.split(b" ", 2)[1] in (b"400", b"404"), answer[:200]
        assert b"root:" not in answer
        assert b"set-cookie" not in answer.lower()


@pytest.mark.parametrize(
    ("frames", "status"),
    [
        ("0", 400),
        ("-1", 400),
        ("1,0", 400),
        ("x", 400),
        ("1,", 400),
        (",1", 400),
        ("1,,2", 400),
        ("1-3", 400),
        ("%31%20", 400),
        ("4", 404),
        ("1,4", 404),
        (str(2**31), 404),
        (str(2**64), 400),
        ("9" * 5000, 400),
        (",".join(["1"] * 20_000), 200),
        (",".join(str(n) for n in range(1, 10_000)), 404),
    ],
    ids=range(16),
)
def test_frames_that_are_not_there(archive: WebArchive, at: Address, frames: str, status: int) -> None:
    answer = raw(archive, f"{at.instance}/frames/{frames}")
    assert answer.split(b" ", 2)[1] == str(status).encode(), answer[:300]


def test_a_list_of_frames_longer_than_a_request_may_be(archive: WebArchive, at: Address) -> None:
    frames = ",".join(str(n) for n in range(1, 100_001))
    try:
        answer = raw(archive, f"{at.instance}/frames/{frames}")
    except ConnectionError:
        return  # closed while we were still sending
    assert answer.split(b" ", 2)[1] in (b"414", b"431", b"400")


@pytest.mark.parametrize(
    "accept",
    [
        f"{DICOM}; transfer-syntax=1.2.3.4",
        f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.100",
        f'multipart/related; type="{DICOM}"; transfer-syntax=1.2.840.10008.1.2.4.50',
        f'multipart/related; type="{DICOM}"; transfer-syntax=../../x',
        "image/x-unknown",
        "text/html",
        "multipart/mixed",
    ],
)
def test_what_cannot_be_given_is_said(client: httpx.Client, at: Address, accept: str) -> None:
    for path in (at.instance, at.instance + "/frames/1", at.instance + "/bulkdata/7FE00010"):
        if path != at.instance and accept.startswith(DICOM):
            continue
        answer = client.get(path, headers={"Accept": accept})
        assert answer.status_code == 406, (path, answer.status_code)
        assert len(answer.json()["detail"]) > 20


@pytest.mark.parametrize("accept", ["///", "a" * 9000, ",".join(["a/b"] * 1000), "application/dicom; ="])
def test_an_accept_that_is_none(client: httpx.Client, at: Address, accept: str) -> None:
    for path in (at.study, at.instance + "/frames/1", at.series + "/metadata"):
        assert client.get(path, headers={"Accept": accept}).status_code in (400, 406)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("7FE00010/1", 400),
        ("x", 400),
        ("7FE00010/../../../x", 400),
        ("00880200/1/7FE00010", 404),
        ("00400275/999999/00400007", 404),
        ("00400275/0/00400007", 400),
        ("7FE00011", 404),
        ("/".join(["00400275/1"] * 100) + "/00400007", 400),
        ("7FE00010" * 1000, 400),
        ("00081140", 404),
    ],
    ids=range(10),
)
def test_bulk_data_that_are_not_there(archive: WebArchive, at: Address, path: str, status: int) -> None:
    answer = raw(archive, f"{at.instance}/bulkdata/{path}")
    assert answer.split(b" ", 2)[1] in (str(status).encode(), b"404"), answer[:300]


def test_ranges_that_are_none(client: httpx.Client, at: Address) -> None:
    path = at.instance + "/bulkdata/7FE00010"
    for wrong in ("bytes=9-1", "bytes=-0", f"bytes={10**18}-", "bytes=x-y"):
        assert client.get(path, headers={"Range": wrong}).status_code == 416
    for ignored in ("lines=1-2", "bytes=0-1,3-4," + "5-6," * 500):
        answer = client.get(path, headers={"Range": ignored})
        assert (answer.status_code, len(answer.content)) == (200, 96)


def test_pixels_that_lie(archive: WebArchive, client: httpx.Client) -> None:
    """Sizes and counts that the pixel data do not have."""
    for more in (
        {"Rows": 65535, "Columns": 65535},
        {"NumberOfFrames": 2**31 - 1},
        {"Rows": 0},
        {"BitsAllocated": 0},
        {"SamplesPerPixel": 65535},
    ):
        file = image(**more)
        archive.store(file)
        path = of_file(file)
        assert client.get(path.instance, headers=related(DICOM, "*")).status_code == 200
        assert client.get(path.instance + "/metadata").status_code == 200
        for accept in (related(OCTETS), related("image/jphc"), related(OCTETS, "1.2.840.10008.1.2.5")):
            frame = client.get(path.instance + "/frames/1", headers=accept)
            assert frame.status_code in (200, 404, 406)
            if more.get("Rows") == 65535:
                assert frame.status_code == 406
        last = client.get(path.instance + f"/frames/{2**31 - 1}")
        assert last.status_code in (404, 406)


# Damage -------------------------------------------------------------------------------------------------


def spoil(archive: WebArchive, file: bytes, keep: int) -> Path:
    """Cut the blob that holds an object short, so that `keep` bytes of the object are left."""
    (instance,) = [i for i in kept(archive) if i.sop_instance_uid == read(file).SOPInstanceUID]
    path = Path(archive.settings.data) / instance.location.key
    os.truncate(path, instance.location.offset + keep)
    return path


def damaged(archive: WebArchive, file: bytes) -> None:
    archive.event("blob.damaged", sop=str(read(file).SOPInstanceUID))


def test_a_large_object_that_ends_early_breaks_the_connection(
    archive: WebArchive, client: httpx.Client
) -> None:
    file = image(64, 64, size=6 << 20)
    archive.store(file)
    spoil(archive, file, 3 << 20)
    path = of_file(file)
    for accept in ({"Accept": DICOM}, related(DICOM, "*")):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(path.instance, headers=accept)
    damaged(archive, file)
    assert client.get(path.instance + "/bulkdata/7FE00010").status_code == 500


def test_one_damaged_object_of_a_series(archive: WebArchive, client: httpx.Client) -> None:
    """What comes before it comes; what came is never taken for the whole. The metadata still tell of it."""
    files = [image(200, 200, size=2 << 20, InstanceNumber=str(n)) for n in range(1, 4)]
    study, series = read(files[0]).StudyInstanceUID, read(files[0]).SeriesInstanceUID
    together = []
    for file in files:
        own = read(file)
        own.StudyInstanceUID, own.SeriesInstanceUID = study, series
        together.append(file_of_data_set(own))
    archive.store(*together)
    spoil(archive, together[1], 1000)
    path = of_file(together[0])
    assert len(client.get(path.series + "/metadata").json()) == 3
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(path.series, headers=related(DICOM, "*"))
    damaged(archive, together[1])
    answer = client.get(of_file(together[1]).instance, headers={"Accept": DICOM})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    whole = client.get(of_file(together[2]).instance, headers={"Accept": DICOM})
    assert data_set_of(whole.content) == data_set_of(together[2])


def test_a_client_that_goes_away_costs_nothing_more(archive: WebArchive, client: httpx.Client) -> None:
    files = list(ct_series(60, 256, 256, key="goes-away"))
    archive.store(*files)
    path = of_file(files[0]).study
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", archive.port), 10) as sock:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {archive.admin_token}\r\n"
            sock.sendall(
                f"{request}Accept: {related(DICOM, '1.2.840.10008.1.2.4.90')['Accept']}\r\n\r\n".encode()
            )
            assert sock.recv(1000)
    wait_for(lambda: archive.web.threads._work_queue.qsize() == 0, "nothing is left to do")
    assert len(parts_of(client.get(path, headers=related(DICOM, "*")))) == 60
