"""Requests as OHIF, 3D Slicer, Weasis, curl and others send them, and what HTTP lets any client do."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pytest

from hounsfield.hospital.synthetic import ct_series
from hounsfield.wire.dicomfile.part10 import build_meta
from support_rendering import document_set, explicit
from support_stow import STUDIES, new_uid, referenced, stow
from support_stow import related as upload
from support_transcode import EXPLICIT, encapsulated
from support_wado import DICOM, JSON, OCTETS, Address, address, data_set_of, image, of_file, parts_of, read
from support_web import WebArchive

VIDEO, MPEG4 = "1.2.840.10008.5.1.4.1.1.77.1.4.1", "1.2.840.10008.1.2.4.102"
#: What programs in Java ask for unless told otherwise.
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
#: What a browser asks for.
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("clients"), large_object=1, http_rate=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as made:
        yield made


@pytest.fixture(scope="module")
def series(archive: WebArchive) -> list[bytes]:
    files = list(ct_series(4, 64, 64, key="test-web-clients"))
    archive.store(*files)
    return files


@pytest.fixture(scope="module")
def at(series: list[bytes]) -> Address:
    return of_file(series[0])


# OHIF ----------------------------------------------------------------------------------------------------


def test_ohif_opens_a_study(client: httpx.Client, series: list[bytes], at: Address) -> None:
    """From the worklist to the first image."""
    first = read(series[0])
    own = {"Accept": JSON, "Origin": "http://localhost:3000"}
    name = str(first.PatientName).split("^")[0]
    query = f"limit=101&offset=0&fuzzymatching=false&includefield=00081030,00080060&00100010=*{name}*"
    (found,) = client.get(f"{STUDIES}?{query}", headers=own).json()
    study = found["0020000D"]["Value"][0]
    assert {"00081030", "00100020", "00080061"} <= found.keys()
    fields = "includefield=0008103E&includefield=00200011&includefield=00200013"
    (one,) = client.get(f"{STUDIES}/{study}/series?{fields}", headers=own).json()
    address_of_series = f"{STUDIES}/{study}/series/{one['0020000E']['Value'][0]}"
    metadata = client.get(f"{address_of_series}/metadata", headers=own).json()
    assert len(metadata) == len(series)
    for one_object, file in zip(sorted(metadata, key=_sop), sorted(series, key=_sop_of), strict=True):
        path = f"{address_of_series}/instances/{_sop(one_object)}/frames/1"
        for accept in (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            "multipart/related; type=application/octet-stream",
            'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
            "application/octet-stream; transfer-syntax=*",
        ):
            answer = client.get(path, headers={"Accept": accept})
            frame = answer.content if accept.startswith("app") else parts_of(answer)[0].data
            assert frame == read(file).PixelData, accept
        for accept in ("image/jphc", "multipart/related; type=image/jphc; transfer-syntax=*"):
            answer = client.get(path, headers={"Accept": accept})
            stream = answer.content if accept == "image/jphc" else parts_of(answer)[0].data
            cells = imagecodecs.htj2k_decode(stream).astype("<i2")
            assert np.array_equal(cells, read(file).pixel_array)
        uri = one_object["7FE00010"]["BulkDataURI"]
        assert client.get(uri, headers={"Accept": OCTETS}).content == read(file).PixelData
    picture = client.get(f"{address_of_series}/thumbnail?accept=image/jpeg")
    assert imagecodecs.jpeg8_decode(picture.content).size
    viewport = client.get(f"{at.instance}/rendered?accept=image/jpeg&viewport=128,128")
    assert imagecodecs.jpeg8_decode(viewport.content).shape[:2] == (128, 128)


def _sop(model: dict[str, dict[str, list[str]]]) -> str:
    return model["00080018"]["Value"][0]


def _sop_of(file: bytes) -> str:
    return str(read(file).SOPInstanceUID)


def test_ohif_stores_as_its_multipart_has_it(client: httpx.Client) -> None:
    """A line end before the first boundary, none behind the last."""
    files = [image(PatientID=f"OHIF{n}") for n in range(2)]
    begin = b"\r\n--dicomweb-client\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(begin + file for file in files) + b"\r\n--dicomweb-client--"
    kind = 'multipart/related; type="application/dicom"; boundary="dicomweb-client"'
    answer = client.post(STUDIES, content=body, headers={"Content-Type": kind, "Accept": JSON})
    assert sorted(referenced(answer.json())) == sorted(map(_sop_of, files))


def test_video_and_documents_as_they_are_stored(archive: WebArchive, client: httpx.Client) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
    study, number, sop = new_uid(), new_uid(), new_uid()
    own = {0x00080016: VIDEO, 0x00080018: sop, 0x0020000D: study, 0x0020000E: number}
    data_set = encapsulated(
        [[video]],
        (64, 64, 3),
        bits=8,
        photometric="YBR_PARTIAL_420",
        count=25,
        extra={tag: ("UI", uid) for tag, uid in own.items()},
    )
    pdf = b"%PDF-1.7 " + b"x" * 4001
    document = document_set(pdf, "1.2.840.10008.5.1.4.1.1.104.1", new_uid())
    document.StudyInstanceUID, document.SeriesInstanceUID = new_uid(), new_uid()
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    archive.store(
        _meta(VIDEO, sop, MPEG4) + data_set,
        _meta(document.SOPClassUID, document.SOPInstanceUID, EXPLICIT) + explicit(document),
    )
    shown = address(study, number, sop).instance
    for path in (f"{shown}/rendered?accept=video/mp4", f"{shown}/rendered"):
        whole = client.get(path)
        assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
        assert whole.content == video
        seek = client.get(path, headers={"Range": "bytes=100-"})  # browsers play video by ranges
        assert (seek.status_code, seek.content) == (206, video[100:])
    paged = address(document.StudyInstanceUID, document.SeriesInstanceUID, document.SOPInstanceUID).instance
    answer = client.get(f"{paged}/rendered?accept=application/pdf")
    assert (answer.headers["content-type"], answer.content) == ("application/pdf", pdf)
    uri = client.get(f"{paged}/metadata").json()[0]["00420011"]["BulkDataURI"]
    for accept in ("application/pdf", f"{OCTETS}, */*"):
        assert client.get(uri, headers={"Accept": accept}).content == pdf


def _meta(sop_class: str, sop: str, syntax: str) -> bytes:
    return build_meta(sop_class, sop, syntax, implementation_class_uid="1.2.3", implementation_version="TEST")


# WADO-URI ------------------------------------------------------------------------------------------------


def test_weasis_asks_by_wado_uri(archive: WebArchive, series: list[bytes], at: Address) -> None:
    """By HTTP Basic, with what programs in Java accept, parameters of its own among the others."""
    first = read(series[0])
    query = {
        "requestType": "WADO",
        "studyUID": first.StudyInstanceUID,
        "seriesUID": first.SeriesInstanceUID,
        "objectUID": first.SOPInstanceUID,
    }
    whole = ("admin", "correct horse battery")
    with archive.anonymous(auth=whole, headers={"Accept": JAVA, "User-Agent": "Weasis/4.5.1"}) as client:
        for more in (
            {"contentType": DICOM},
            {"contentType": DICOM, "transferSyntax": EXPLICIT},
            {"contentType": DICOM, "transferSyntax": "*"},
            {"contentType": DICOM, "frameNumber": "", "anonymize": "no"},
        ):
            file = client.get("/wado", params=query | more)
            assert file.status_code == 200, (more, file.text)
            assert data_set_of(file.content) == data_set_of(series[0])
        small = client.get("/wado", params=query | {"rows": "32", "contentType": "image/jpeg"})
        assert imagecodecs.jpeg8_decode(small.content).shape[:2] == (32, 32)
        assert client.get(f"{at.study}/metadata").status_code == 200


@pytest.mark.parametrize("accept", [JAVA, BROWSER, "*/*", "*/*;q=0.1", "application/json, */*", None])
def test_what_clients_accept_who_do_not_care(client: httpx.Client, at: Address, accept: str | None) -> None:
    headers = {"Accept": accept} if accept else {}
    for path in (STUDIES, at.study, at.instance, f"{at.series}/metadata", f"{at.instance}/frames/1"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
    assert client.get(f"{at.instance}/rendered", headers=headers).content.startswith(
        (b"\xff\xd8\xff", b"GIF8")
    )


# HTTP ----------------------------------------------------------------------------------------------------


def asks(archive: WebArchive, *lines: str, version: str = "1.1", close: bool = True) -> bytes:
    own = ["Host: localhost"] if version == "1.1" else []
    own += ["Connection: close"] if close and version == "1.1" else []
    first, *others = lines
    head = [f"{first} HTTP/{version}", f"Authorization: Bearer {archive.admin_token}", *own, *others]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def said(archive: WebArchive, data: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status, headers and body up to the end of the connection."""
    with closing(socket.create_connection(("127.0.0.1", archive.port), 30)) as sock:
        sock.sendall(data)
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status.split(b" ")[1], dict(line.lower().split(b": ", 1) for line in lines), body


def test_a_slash_too_many(archive: WebArchive, client: httpx.Client, at: Address) -> None:
    for path in ("/dicom-web/studies/", "/dicom-web//studies", "//dicom-web/studies", f"{at.study}/series/"):
        assert client.get(archive.url + path).json(), path
    assert client.get(f"/dicom-web/{at.instance.removeprefix('/dicom-web')}/metadata/").status_code == 200
    file = image()
    assert stow(client, [file], STUDIES + "/").status_code == 200
    missing = at.series.replace("/series", "//series")
    assert client.get(missing).status_code == 404  # a UID is missing there
    assert client.get(STUDIES + "//").status_code == 404
    with archive.anonymous() as nobody:
        for path in ("//dicom-web/studies", "/dicom-web//studies/", "//api/session", "/api//session"):
            assert nobody.get(archive.url + path).status_code in (401, 404), path


def test_uids_in_percent_and_headers_in_any_case(
    archive: WebArchive, series: list[bytes], at: Address
) -> None:
    path = at.instance.replace(".", "%2E").replace("1", "%31")
    status, headers, body = said(archive, asks(archive, f"GET {path}", f"ACCEPT: {DICOM}"))
    assert (status, data_set_of(body)) == (b"200", data_set_of(series[0]))
    assert int(headers[b"content-length"]) == len(body)
    status, _, body = said(archive, asks(archive, f"GET {at.instance}", f"aCcEpT:{DICOM}", "RANGE:bytes=0-9"))
    assert (status, len(body)) == (b"206", 10)
    absolute = f"GET http://localhost{at.instance}/frames/1"
    assert said(archive, asks(archive, absolute, f"Accept: {OCTETS}"))[0] == b"200"


def test_http_1_0(archive: WebArchive, series: list[bytes], at: Address) -> None:
    """No chunks, and the end of the connection is the end of the answer."""
    for path, accept in (
        (f"{at.series}/metadata", JSON),
        (f"{at.study}/rendered", "multipart/related; type=image/jpeg"),
        (at.study, "*/*"),
        (f"{at.instance}/frames/1", "image/jphc"),
    ):
        status, headers, body = said(
            archive, asks(archive, f"GET {path}", f"Accept: {accept}", version="1.0")
        )
        assert status == b"200"
        assert b"transfer-encoding" not in headers
        if path.endswith("metadata"):
            assert len(json.loads(body)) == len(series)
        if path.endswith(("rendered", at.study)):
            boundary = headers[b"content-type"].partition(b"boundary=")[2]
            assert boundary and body.lower().endswith(b"--" + boundary + b"--\r\n")
    status, _, body = said(archive, asks(archive, f"HEAD {at.series}/metadata", version="1.0"))
    assert (status, body) == (b"200", b"")


def test_requests_one_behind_the_other_on_a_connection(
    archive: WebArchive, series: list[bytes], at: Address
) -> None:
    """Sent at once, answered in order."""
    paths = [f"{of_file(file).instance}/frames/1" for file in series] * 10
    heads = [asks(archive, f"GET {path}", f"Accept: {OCTETS}", close=False) for path in paths[:-1]]
    heads.append(asks(archive, f"GET {paths[-1]}", f"Accept: {OCTETS}"))
    with closing(socket.create_connection(("127.0.0.1", archive.port), 30)) as sock:
        sock.sendall(b"".join(heads))
        answers = b""
        while piece := sock.recv(1 << 16):
            answers += piece
    for file in series * 10:
        head, _, answers = answers.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        pixels = read(file).PixelData
        assert answers.startswith(pixels)
        answers = answers[len(pixels) :]
    assert answers == b""


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
def test_methods_that_are_not_there_are_told_which_are(archive: WebArchive, at: Address, method: str) -> None:
    for path in (STUDIES, at.study, f"{at.instance}/metadata", f"{at.instance}/frames/1", "/wado"):
        status, headers, _ = said(archive, asks(archive, f"{method} {path}"))
        assert status == b"405"
        assert b"get" in headers[b"allow"]


def test_what_is_waited_for_before_a_body(archive: WebArchive, client: httpx.Client) -> None:
    """Expect: 100-continue: who may store is told to go on, who may not is told so before anything came."""
    file = image()
    body, own = upload([file])
    lines = [f"{name}: {value}" for name, value in own.items()]
    lines += [f"Content-Length: {len(body)}", "Expect: 100-continue"]
    with closing(socket.create_connection(("127.0.0.1", archive.port), 30)) as sock:
        sock.sendall(asks(archive, f"POST {STUDIES}", *lines))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert client.get(of_file(file).instance, headers={"Accept": DICOM}).status_code == 200
    refused = asks(archive, f"POST {STUDIES}", *lines).replace(b"Bearer ", b"Bearer x")
    assert said(archive, refused)[0] == b"401"
    wrong = [line for line in lines if not line.startswith("Content-Type")]
    assert said(archive, asks(archive, f"POST {STUDIES}", "Content-Type: text/plain", *wrong))[0] == b"415"


# curl ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Expect: 100-continue"],
        ["--http1.0"],
        ["-u", "basic"],
    ],
    ids=["plain", "chunked", "expect", "1.0", "basic"],
)
def test_curl_stores_and_gets(
    archive: WebArchive, client: httpx.Client, tmp_path: Path, options: list[str]
) -> None:
    file = image(64, 64, size=3 << 20)
    body, own = upload([file])
    (tmp_path / "body").write_bytes(body)
    who = ["-H", f"Authorization: Bearer {archive.admin_token}"]
    if "-u" in options:
        options, who = [], ["-u", "admin:correct horse battery"]
    kind = ["-H", f"Content-Type: {own['Content-Type']}", "--data-binary", f"@{tmp_path / 'body'}"]
    stored = _curl(*who, *options, *kind, f"{archive.url}{STUDIES}")
    assert b'"00081199"' in stored
    alone = image(64, 64, size=3 << 20)  # one object as it is, without parts
    (tmp_path / "alone").write_bytes(alone)
    kind = ["-H", f"Content-Type: {DICOM}", "-T", str(tmp_path / "alone"), "-X", "POST"]
    assert b'"00081199"' in _curl(*who, *options, *kind, f"{archive.url}{STUDIES}")
    for sent in (file, alone):
        path = archive.url + of_file(sent).instance
        got = _curl(*who, "-H", f"Accept: {DICOM}", path)
        assert data_set_of(got) == data_set_of(sent)
        assert _curl(*who, "-H", f"Accept: {DICOM}", "-r", "128-131", path) == b"DICM"


def _curl(*words: str) -> bytes:
    done = subprocess.run(["curl", "-sS", "--fail-with-body", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[:1000] + done.stderr
    return done.stdout


def test_going_on_where_it_broke_off_only_with_the_same_object(
    client: httpx.Client, series: list[bytes], at: Address
) -> None:
    whole = client.get(at.instance, headers={"Accept": DICOM})
    rest = {"Accept": DICOM, "Range": "bytes=1000-"}
    same = client.get(at.instance, headers=rest | {"If-Range": whole.headers["etag"]})
    assert (same.status_code, same.content) == (206, whole.content[1000:])
    other = client.get(at.instance, headers=rest | {"If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
