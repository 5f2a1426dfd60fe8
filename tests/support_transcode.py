"""Objects to convert, and DCMTK as the oracle, for the tests of the transcoder."""

from __future__ import annotations

import io
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from hounsfield.wire.dicomfile.part10 import build_meta, read_meta
from support_dicomfile import pydicom_files, sample_files

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_LS, J2K = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
#: Cannot be converted, and rightly so: a fragment cut off, a delimiter planted in the codestream's header.
BROKEN = {"emri_small_jpeg_2k_lossless_too_short.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"}


class Stored(NamedTuple):
    """An object as the archive has it: without preamble and file meta group."""

    name: str
    syntax: str
    data: bytes


def stored(path: Path) -> Stored:
    raw = path.read_bytes()
    meta = read_meta(raw)
    return Stored(path.name, meta.transfer_syntax_uid, raw[meta.meta_length :])


def all_files() -> list[Path]:
    """Every file that is DICOM, pydicom's, pydicom-data's and the samples'; DICOMDIRs left out."""
    files = []
    for path in pydicom_files() + sample_files():
        head = path.read_bytes()[:132]
        if (
            head[128:] == b"DICM"
            and not path.name.startswith("DICOMDIR")
            and "dicomdirtests" not in path.parts
        ):
            files.append(path)
    return files


def file_of(data: bytes, syntax: str) -> bytes:
    """A Part 10 file."""
    identity = {"implementation_class_uid": "1.2.3", "implementation_version": "TEST"}
    return build_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", syntax, **identity) + data


def read(data: bytes, syntax: str) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(file_of(data, syntax)))


def pixels(data_set: pydicom.Dataset) -> np.ndarray:
    """Of a native data set; as it stands, without any conversion of colours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.pixels.pixel_array(data_set, raw=True)


def dcmtk(program: str, *options: str, source: Path, folder: Path) -> pydicom.Dataset | None:
    """What a program of DCMTK makes of a file; None where it refuses."""
    target = folder / f"{program}.dcm"
    run = subprocess.run([program, *options, source, target], capture_output=True, check=False, timeout=60)
    if run.returncode or not target.exists():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(target)


def encapsulated(
    frames: list[list[bytes]],
    shape: tuple[int, ...],
    *,
    bits: int = 16,
    stored: int | None = None,
    signed: bool = False,
    photometric: str = "",
    count: int | None = None,
    table: list[int] | None = None,
    extra: dict[int, tuple[str, object]] | None = None,
) -> bytes:
    """A small data set around `frames`, each a list of fragments, in Explicit VR Little Endian."""
    from struct import pack

    stored = bits if stored is None else stored
    rows, columns, samples = (*shape, 1)[:3]
    data_set = pydicom.Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    data_set.PatientName = "Test^Pixels"
    data_set.SamplesPerPixel = samples
    data_set.PhotometricInterpretation = photometric or ("RGB" if samples == 3 else "MONOCHROME2")
    data_set.NumberOfFrames = len(frames) if count is None else count
    data_set.Rows, data_set.Columns = rows, columns
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = bits, stored, stored - 1
    data_set.PixelRepresentation = int(signed)
    for tag, (vr, value) in (extra or {}).items():
        data_set.add_new(tag, vr, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data_set, implicit_vr=False, little_endian=True)
    offsets = b"".join(pack("<I", offset) for offset in table or [])
    items = [offsets, *(part + b"\0" * (len(part) % 2) for parts in frames for part in parts)]
    body = b"".join(pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    head = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    return buffer.getvalue() + head + body + pack("<HHI", 0xFFFE, 0xE0DD, 0)
