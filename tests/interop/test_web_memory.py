"""The memory of `hounsfield web` does not grow with the size of an object, of a study or of an upload."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
from blake3 import blake3
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from hounsfield.wire.dicomfile.part10 import build_meta
from support_rendering import explicit
from support_stow import BOUNDARY, STUDIES, failures, referenced
from support_stow import related as upload
from support_transcode import EXPLICIT, JPEG_LS
from support_wado import DICOM, OCTETS, Address, address, related
from support_web_process import Growth, WebProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1 << 20
#: Whatever is asked, at most so much more than before.
MOST_GROWTH = 150 * MIB
#: The large object: 1,000 MiB of pixels.
ROWS, FRAMES = 512, 2000
FRAME = ROWS * ROWS * 2
#: Uploads at once, and objects of one frame in each.
UPLOADS, OBJECTS = 10, 200
CLASS = "1.2.840.10008.5.1.4.1.1.7.3"
#: One frame's pixels.
CELLS = b"".join(
    struct.pack("<H", (row * 7 + column) % 4096) for row in range(ROWS) for column in range(ROWS)
)


class Sent(NamedTuple):
    """What an upload took, in memory of the server and in all."""

    at: Address
    digest: bytes  # of the whole file
    size: int
    growth: Growth


def begin(study: str, series: str, sop: str, frames: int) -> bytes:
    """A file up to its pixels."""
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = CLASS, sop
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = study, series
    data_set.PatientName, data_set.PatientID, data_set.Modality = "Memory^Test", "M1", "OT"
    data_set.Rows = data_set.Columns = ROWS
    data_set.NumberOfFrames, data_set.SamplesPerPixel = frames, 1
    data_set.PhotometricInterpretation, data_set.PixelRepresentation = "MONOCHROME2", 0
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = 16, 12, 11
    meta = build_meta(CLASS, sop, EXPLICIT, implementation_class_uid="1.2.3", implementation_version="TEST")
    return meta + explicit(data_set) + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", frames * FRAME)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("memory")
    with WebProcess(folder, memory_budget=64, segment_size=64) as made:
        with made.client() as client:  # what is loaded at the first use
            study, series, sop = generate_uid(), generate_uid(), generate_uid()
            body, headers = upload([begin(study, series, sop, 1) + CELLS])
            assert client.post(STUDIES, content=body, headers=headers).status_code == 200
            at = address(study, series, sop).instance
            for accept in ({"Accept": DICOM}, related(OCTETS), related(OCTETS, JPEG_LS)):
                path = at if accept["Accept"] == DICOM else f"{at}/frames/1"
                assert client.get(path, headers=accept).status_code == 200
        yield made
    for path in sorted(made.data.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()  # pytest keeps folders of some runs


@pytest.fixture(scope="module")
def study() -> str:
    return generate_uid()


@pytest.fixture(scope="module")
def large(web: WebProcess, study: str) -> Sent:
    """One object of 1,000 MiB, uploaded."""
    series, sop = generate_uid(), generate_uid()
    digest = blake3()
    head = begin(study, series, sop, FRAMES)

    def body() -> Iterator[bytes]:
        yield f"--{BOUNDARY}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        digest.update(head)
        yield head
        for _ in range(FRAMES):
            digest.update(CELLS)
            yield CELLS
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    with web.client() as client, web.growth() as growth:
        answer = client.post(STUDIES, content=body(), headers=upload([])[1])
    assert answer.status_code == 200, answer.text
    size = len(head) + FRAMES * FRAME
    return Sent(address(study, series, sop), digest.digest(), size, growth)


@pytest.fixture(scope="module")
def many(web: WebProcess, study: str) -> Growth:
    """The same in 2,000 objects, in ten uploads at once."""

    def one(_: int) -> httpx.Response:
        series = generate_uid()

        def body() -> Iterator[bytes]:
            for _ in range(OBJECTS):
                yield f"--{BOUNDARY}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
                yield begin(study, series, generate_uid(), 1) + CELLS + b"\r\n"
            yield f"--{BOUNDARY}--\r\n".encode()

        with web.client() as client:
            return client.post(STUDIES, content=body(), headers=upload([])[1])

    with web.growth() as growth, ThreadPoolExecutor(UPLOADS) as pool:
        answers = list(pool.map(one, range(UPLOADS)))
    for answer in answers:
        assert answer.status_code == 200, answer.text[:1000]
        assert (len(referenced(answer.json())), failures(answer.json())) == (OBJECTS, [])
    return growth


def taken(client: httpx.Client, path: str, accept: dict[str, str], web: WebProcess) -> tuple[int, bytes]:
    """Get all of an answer without keeping it: its length and digest."""
    digest, size = blake3(), 0
    with web.growth() as growth, client.stream("GET", path, headers=accept) as answer:
        assert answer.status_code == 200, answer.read()
        for piece in answer.iter_raw():
            digest.update(piece)
            size += len(piece)
    if "content-length" in answer.headers:
        assert size == int(answer.headers["content-length"])
    bounded(growth)
    return size, digest.digest()


def bounded(growth: Growth) -> None:
    assert growth.looks, "nobody looked"
    assert growth.bytes < MOST_GROWTH, f"{growth.bytes / MIB:.0f} MiB more"


def test_an_upload_of_a_large_object(large: Sent) -> None:
    bounded(large.growth)


def test_a_large_object_as_a_file(web: WebProcess, large: Sent) -> None:
    with web.client() as client:
        size, digest = taken(client, large.at.instance, {"Accept": DICOM}, web)
        assert (size, digest) == (large.size, large.digest)
        size, _ = taken(client, large.at.instance, related(DICOM, "*"), web)
        assert size > large.size


def test_all_frames_of_a_large_object(web: WebProcess, large: Sent) -> None:
    numbers = ",".join(str(number) for number in range(FRAMES, 0, -1))
    with web.client() as client:
        size, _ = taken(client, f"{large.at.instance}/frames/{numbers}", related(OCTETS), web)
        assert size > FRAMES * FRAME
        assert client.get(f"{large.at.instance}/frames/1999", headers={"Accept": OCTETS}).content == CELLS
        bulk, _ = taken(client, f"{large.at.instance}/bulkdata/7FE00010", {"Accept": OCTETS}, web)
        assert bulk == FRAMES * FRAME


def test_frames_that_are_compressed_on_the_way(web: WebProcess, large: Sent) -> None:
    numbers = ",".join(str(number) for number in range(1, 201))
    with web.client() as client:
        size, _ = taken(client, f"{large.at.instance}/frames/{numbers}", related(OCTETS, JPEG_LS), web)
    assert 200 * 1000 < size < 200 * FRAME


def test_ten_uploads_at_once(many: Growth) -> None:
    bounded(many)


def test_a_study_of_two_gigabytes(web: WebProcess, study: str, large: Sent, many: Growth) -> None:
    with web.client() as client:
        path = f"/dicom-web/studies/{study}"
        size, _ = taken(client, path, related(DICOM, "*"), web)
        assert size > large.size + UPLOADS * OBJECTS * FRAME
        with web.growth() as growth:
            assert len(client.get(f"{path}/metadata").json()) == UPLOADS * OBJECTS + 1
        bounded(growth)


def test_many_who_take_it_at_once(web: WebProcess, study: str, large: Sent, many: Growth) -> None:
    """And leave after a part of it."""

    def some(number: int) -> int:
        path = (f"/dicom-web/studies/{study}", large.at.instance)[number % 2]
        size = 0
        with web.client() as client, client.stream("GET", path, headers=related(DICOM, "*")) as answer:
            assert answer.status_code == 200
            for piece in answer.iter_raw():
                size += len(piece)
                if size > 64 * MIB:
                    break
        return size

    with web.growth() as growth, ThreadPoolExecutor(16) as pool:
        assert min(pool.map(some, range(16))) > 64 * MIB
    bounded(growth)
