"""What answers of retrieves hold, and objects to retrieve."""

from __future__ import annotations

import re
import warnings
from email import policy
from email.parser import BytesHeaderParser
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from hounsfield.domain.study import StoredInstance
from hounsfield.services.importing import Import
from hounsfield.wire.dicomfile.part10 import read_meta
from support_web import WebArchive, wait_for

DICOM, OCTETS, JSON = "application/dicom", "application/octet-stream", "application/dicom+json"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


class Part(NamedTuple):
    media_type: str
    transfer_syntax: str
    location: str
    data: bytes


def parts_of(answer: httpx.Response) -> list[Part]:
    """Of a multipart/related answer, taken apart by the boundary alone."""
    content_type = answer.headers["content-type"]
    assert content_type.startswith("multipart/related"), content_type
    found = re.search(r"boundary=([^;]+)", content_type)
    assert found is not None
    boundary = f"--{found[1]}".encode()
    body = answer.content
    assert body.endswith(b"\r\n" + boundary + b"--\r\n"), body[-80:]
    whole = (b"\r\n" + body if body.startswith(boundary) else body)[: -len(boundary) - 6]
    parts = []
    for text in whole.split(b"\r\n" + boundary + b"\r\n")[1:]:
        head, _, data = text.partition(b"\r\n\r\n")
        headers = BytesHeaderParser(policy=policy.HTTP).parsebytes(head + b"\r\n\r\n")
        kind = str(headers["content-type"])
        media_type, _, rest = kind.partition(";")
        syntax = re.search(r'transfer-syntax="?([0-9.]+)', rest)
        parts.append(
            Part(media_type, syntax[1] if syntax else "", str(headers["content-location"] or ""), data)
        )
    return parts


def related(part_type: str = DICOM, syntax: str = "", quoted: bool = True) -> dict[str, str]:
    """An Accept header."""
    quote = '"' if quoted else ""
    return {
        "Accept": f"multipart/related; type={quote}{part_type}{quote}"
        + (f"; transfer-syntax={syntax}" if syntax else "")
    }


class Address(NamedTuple):
    """Paths of one object's resources."""

    study: str
    series: str
    instance: str


def address(study: str, series: str, sop: str) -> Address:
    at = f"/dicom-web/studies/{study}"
    return Address(at, f"{at}/series/{series}", f"{at}/series/{series}/instances/{sop}")


def data_set_of(part10: bytes) -> bytes:
    return part10[read_meta(part10).meta_length :]


def bring_in(archive: WebArchive, folder: Path, files: list[Path], in_place: bool = False) -> None:
    """Import files; returns when they are in the index."""
    web = archive.web
    run = Import(web.store, web.database, web.clock, state=folder / "imports", in_place=in_place)
    run.run(files)
    wait_for(lambda: len(kept(archive)) >= run.report.new, "all are in the index")


def kept(archive: WebArchive) -> list[StoredInstance]:
    """Every current object."""
    with archive.web.database.read() as tx:
        return list(tx.index.instances())


def address_of(instance: StoredInstance) -> Address:
    return address(instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)


def image(
    rows: int = 4, columns: int = 4, *, frames: int = 1, bits: int = 16, size: int = 0, **more: Any
) -> bytes:
    """A Part 10 object in Explicit VR Little Endian whose pixels count up from cell to cell. `size`: bytes of
    private data before them. `more`: elements by keyword."""
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7.3", generate_uid()
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = generate_uid(), generate_uid()
    data_set.PatientName, data_set.PatientID, data_set.Modality = "Wado^Test", "W1", "OT"
    data_set.Rows, data_set.Columns, data_set.NumberOfFrames = rows, columns, frames
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = 1, "MONOCHROME2"
    data_set.BitsAllocated = data_set.BitsStored = bits
    data_set.HighBit, data_set.PixelRepresentation = bits - 1, 0
    cells = rows * columns * frames
    if bits == 1:
        flat = np.packbits(np.arange(cells) % 3 == 0, bitorder="little").tobytes()
    else:
        flat = np.arange(cells).astype(f"<u{bits // 8}").tobytes()
    data_set.PixelData = flat + b"\0" * (len(flat) % 2)
    data_set["PixelData"].VR = "OW" if bits > 8 else "OB"
    if size:
        data_set.add_new(0x00091001, "OB", bytes(range(256)) * (size // 256))
        data_set.add_new(0x00090001, "LO", "HOUNSFIELD TESTS")
    for keyword, value in more.items():
        setattr(data_set, keyword, value)
    return file_of_data_set(data_set)


def file_of_data_set(data_set: Dataset) -> bytes:
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


def read(part10: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(BytesIO(part10), force=True)


def of_file(part10: bytes) -> Address:
    data_set = read(part10)
    return address(data_set.StudyInstanceUID, data_set.SeriesInstanceUID, data_set.SOPInstanceUID)


def with_own_uids(data: bytes, number: int) -> bytes:
    """Many of the files are the same object in another form, which an archive keeps once: so each gets UIDs
    of its own, as long as those that it has."""
    try:
        data_set = read(data)
        uids = [data_set.SOPInstanceUID, data_set.SeriesInstanceUID, data_set.StudyInstanceUID]
    except AttributeError:
        return data
    for uid in uids:
        if len(uid) > 12:
            head = uid[:-5]
            own = f"{head}{'9' if head.endswith('.') else '.'}{number + 1000}"
            data = data.replace(uid.encode(), own.encode())
    return data
