"""Requests that are small, and answers that are large: whoever takes them slowly, or not at all, costs the
archive no memory."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from io import BytesIO

import psutil
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from hounsfield.domain.access import Role
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import DataSetReader, Rendering
from support_services import CT
from support_stow import new_uid, stow
from support_web import WebArchive

MIB = 1 << 20
OCTETS = 'multipart/related; type="application/octet-stream"'


@pytest.fixture(autouse=True)
def unharmed() -> None:
    """In the place of the folder's own, which watches over the dicom role."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("memory"), segment_size=64) as archive:
        yield archive


def kept(archive: WebArchive, syntax: str, frames: int, *, bits: int = 8) -> str:
    """An object of frames of 1000 x 1000 pixels (of 999 x 1001, where they are bits); its path."""
    uid = new_uid()
    ds = pydicom.Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"{uid}.1.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, f"{uid}.1"
    ds.PatientID, ds.Modality, ds.NumberOfFrames = "P1", "OT", frames
    ds.Rows, ds.Columns = (1000, 1000) if bits == 8 else (999, 1001)
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = bits - 1, 0, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PixelData = bytes(-(-frames * ds.Rows * ds.Columns * bits // 16) * 2)
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    with archive.client() as client:
        assert stow(client, [file.getvalue()]).status_code == 200
    return f"/dicom-web/studies/{uid}/series/{uid}.1/instances/{uid}.1.1"


def asked(archive: WebArchive, path: str, accept: str) -> socket.socket:
    """A request whose answer has begun; of which nobody takes more."""
    sock = socket.create_connection(("127.0.0.1", archive.port), 60)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {archive.admin_token}")
    sock.sendall("\r\n".join((*head, f"Accept: {accept}", "", "")).encode())
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


def used() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("bits", [8, 1])
def test_a_frame_that_is_named_a_thousand_times(archive: WebArchive, bits: int) -> None:
    path = kept(archive, ExplicitVRLittleEndian, 3, bits=bits)
    times = 1000 if bits == 8 else 4000
    before = used()
    with closing(asked(archive, f"{path}/frames/{','.join(['2'] * times)}", OCTETS)):
        assert used() - before < 200 * MIB
    with archive.client() as client:
        answer = client.get(f"{path}/frames/2,1,2", headers={"Accept": OCTETS})
    assert answer.status_code == 200 and answer.content.count(b"/frames/2\r\n") == 2


@pytest.mark.parametrize(
    ("what", "accept"),
    [
        ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2"),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2'),
        ("/bulkdata/7FE00010", "application/octet-stream"),
        ("/frames/" + ",".join(map(str, range(1, 61))), OCTETS),
    ],
    ids=["object", "parts", "bulk data", "frames"],
)
def test_converted_objects_that_nobody_takes(archive: WebArchive, what: str, accept: str) -> None:
    path = kept(archive, DeflatedExplicitVRLittleEndian, 60)  # of some 60 kB, 60 MB are made for each answer
    with ExitStack() as stack:
        stack.enter_context(closing(asked(archive, path + what, accept)))
        before = used()
        for _ in range(8):
            stack.enter_context(closing(asked(archive, path + what, accept)))
        assert used() - before < 250 * MIB
    with archive.client() as client, client.stream("GET", path + what, headers={"Accept": accept}) as answer:
        assert answer.status_code == 200
        assert sum(map(len, answer.iter_bytes())) >= 60_000_000


def test_one_user_s_crowd_of_renderings_leaves_turns_for_others(
    archive: WebArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = (kept(archive, ExplicitVRLittleEndian, frames) for frames in (1, 2))
    go_on = threading.Event()
    render = archive.web.renderer.render

    def waits(data_set: Piece | DataSetReader, syntax: str, how: Rendering) -> bytes:
        if len(data_set if not isinstance(data_set, DataSetReader) else range(data_set.size)) < 1_900_000:
            go_on.wait(60)
        return render(data_set, syntax, how)

    async def waits_here(data_set: Piece, syntax: str, how: Rendering) -> bytes:
        return await asyncio.to_thread(waits, bytes(data_set), syntax, how)

    monkeypatch.setattr(archive.web.renderer, "render", waits)
    monkeypatch.setattr(archive.web.renderer, "render_here", waits_here)
    token = archive.account("other", Role.RADIOLOGIST)

    def asks(number: int) -> int:
        with archive.client() as client:
            return client.get(f"{slow}/rendered", params={"quality": number}).status_code

    with ThreadPoolExecutor(40) as crowd:
        try:
            asked = [crowd.submit(asks, number) for number in range(1, 41)]
            with archive.client(token) as client:
                assert client.get(f"{quick}/frames/1/rendered").status_code == 200
            assert not any(one.done() for one in asked)
        finally:
            go_on.set()
        assert {one.result() for one in asked} == {200}
