"""The transcoder over every file there is, against DCMTK and against uncompressed twins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from hounsfield.adapters.transcode import Transcoder
from support_transcode import (
    BROKEN,
    EXPLICIT,
    IMPLICIT,
    all_files,
    dcmtk,
    pixels,
    read,
    stored,
)

COMPRESSED = [
    path
    for path in all_files()
    if stored(path).syntax.startswith(("1.2.840.10008.1.2.4.", "1.2.840.10008.1.2.5"))
    and path.name not in BROKEN
]
#: Program of DCMTK by the last component of the transfer syntax.
PROGRAMS = {
    **dict.fromkeys(("50", "51", "53", "55", "57", "70"), "dcmdjpeg"),
    **dict.fromkeys(("80", "81"), "dcmdjpls"),
    "5": "dcmdrle",
}
FOR_DCMTK = [path for path in COMPRESSED if stored(path).syntax.rsplit(".", 1)[1] in PROGRAMS]
REFUSED_BY_DCMTK = {"SC_rgb_jpeg.dcm"}  # its encoding is not what its transfer syntax says
#: Compressed file, its uncompressed twin, the largest difference that its coding allows.
TWINS = [
    ("693_J2KR.dcm", "693_UNCR.dcm", 0),
    ("MR2_J2KR.dcm", "MR2_UNCR.dcm", 0),
    ("RG1_J2KR.dcm", "RG1_UNCR.dcm", 0),
    ("RG3_J2KR.dcm", "RG3_UNCR.dcm", 0),
    ("US1_J2KR.dcm", "US1_UNCR.dcm", 0),
    ("693_J2KI.dcm", "693_UNCI.dcm", 1),
    ("MR2_J2KI.dcm", "MR2_UNCI.dcm", 1),
    ("RG1_J2KI.dcm", "RG1_UNCI.dcm", 1),
    ("RG3_J2KI.dcm", "RG3_UNCI.dcm", 1),
    ("US1_J2KI.dcm", "US1_UNCI.dcm", 1),
    ("JPEG2000.dcm", "JPEG2000_UNC.dcm", 1),
    ("MR_small_jp2klossless.dcm", "MR_small.dcm", 0),
    ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 0),
    ("MR_small_RLE.dcm", "MR_small.dcm", 0),
    ("MR_small_bigendian.dcm", "MR_small.dcm", 0),
    ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm", 0),
    ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm", 0),
    ("emri_small_RLE.dcm", "emri_small.dcm", 0),
    ("emri_small_big_endian.dcm", "emri_small.dcm", 0),
    ("SC_rgb_gdcm_KY.dcm", "SC_rgb_gdcm2k_uncompressed.dcm", 1),
    ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb.dcm", 0),
    ("SC_rgb_rle.dcm", "SC_rgb.dcm", 0),
    ("SC_rgb_rle_2frame.dcm", "SC_rgb_2frame.dcm", 0),
    ("SC_rgb_rle_16bit.dcm", "SC_rgb_16bit.dcm", 0),
    ("SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_16bit_2frame.dcm", 0),
    ("SC_rgb_rle_32bit.dcm", "SC_rgb_32bit.dcm", 0),
    ("SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_32bit_2frame.dcm", 0),
    ("SC_rgb_expb_16bit_2frame.dcm", "SC_rgb_16bit_2frame.dcm", 0),
    ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm", 0),
    ("OBXXXX1A_expb_2frame.dcm", "OBXXXX1A_2frame.dcm", 0),
    ("rtdose_rle.dcm", "rtdose.dcm", 0),
    ("liver_expb.dcm", "liver.dcm", 0),
    ("gdcm-US-ALOKA-16_big.dcm", "gdcm-US-ALOKA-16.dcm", 0),
    ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm", 0),
    ("SC_rgb_jpeg.dcm", "SC_rgb_jpeg_dcmd.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_ebcr_dcmd.dcm", 1),
    ("SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_ebcyn1_dcmd.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_dcmtk_ebcyn2_dcmd.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_ebcynp_dcmd.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_ebcys2_dcmd.dcm", 2),
    ("SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_dcmtk_ebcys4_dcmd.dcm", 2),
]
LOSSY = {"50", "51", "53", "55", "81", "91"}


@pytest.fixture(scope="module")
def transcoder() -> Iterator[Transcoder]:
    made = Transcoder(processes=1)
    yield made
    made.close()


def _native(transcoder: Transcoder, path: Path, target: str = EXPLICIT) -> pydicom.Dataset:
    source = stored(path)
    return read(transcoder.convert(source.data, source.syntax, target), target)


def _difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    kind = np.int16 if one.itemsize == 1 else np.int64
    return int(np.abs(one.astype(kind) - other.astype(kind)).max())


@pytest.mark.parametrize(("name", "twin", "most"), TWINS)
def test_pixels_are_those_of_the_uncompressed_twin(
    transcoder: Transcoder, name: str, twin: str, most: int
) -> None:
    source, other = get_testdata_file(name), get_testdata_file(twin)
    assert isinstance(source, str) and isinstance(other, str)
    ours = pixels(_native(transcoder, Path(source)))
    assert _difference(ours, pixels(pydicom.dcmread(other))) <= most


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("path", FOR_DCMTK, ids=lambda path: path.name)
def test_pixels_are_those_that_dcmtk_decodes(transcoder: Transcoder, path: Path, tmp_path: Path) -> None:
    ending = stored(path).syntax.rsplit(".", 1)[1]
    program = PROGRAMS[ending]
    theirs = dcmtk(program, source=path, folder=tmp_path)
    ours = _native(transcoder, path)
    if theirs is None:
        assert path.name in REFUSED_BY_DCMTK
        return
    if "PixelData" not in theirs:
        assert "PixelData" not in ours
        return
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "Rows", "Columns"):
        assert ours.get(keyword) == theirs.get(keyword), keyword
    assert ours.PhotometricInterpretation == theirs.PhotometricInterpretation
    assert _difference(pixels(ours), pixels(theirs)) <= (2 if ending in LOSSY else 0)


@pytest.mark.parametrize("path", COMPRESSED, ids=lambda path: path.name)
def test_every_other_element_stays_byte_for_byte(transcoder: Transcoder, path: Path) -> None:
    source = stored(path)
    after = transcoder.convert(source.data, source.syntax, EXPLICIT)
    if source.data[4:6].isalpha():  # one file is implicit VR against its transfer syntax
        cut = source.data.find(b"\x28\0")
        assert after[:cut] == source.data[:cut]
    before, native = read(source.data, source.syntax), read(after, EXPLICIT)
    changed = {0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00010, 0x00280000, 0x7FE00000}
    for element in before:
        if element.tag not in changed:
            assert native[element.tag] == element
    assert {element.tag for element in native} - {element.tag for element in before} <= {0x00280006}


@pytest.mark.samples
def test_one_image_in_all_its_transfer_syntaxes(transcoder: Transcoder, samples: Path) -> None:
    files = [path for path in sorted((samples / "codecs").glob("CTImage.dcm*")) if path.is_file()]
    assert len(files) >= 15
    plain = next(path for path in files if path.name.endswith("ImplicitTransferSyntax_1.2.840.10008.1.2.dcm"))
    expected = pixels(pydicom.dcmread(plain))
    compared = 0
    for path in files:
        syntax = stored(path).syntax
        if syntax == IMPLICIT or syntax.rsplit(".", 1)[1] in LOSSY:
            continue
        target = IMPLICIT if syntax == EXPLICIT else EXPLICIT
        assert np.array_equal(pixels(_native(transcoder, path, target)), expected), path.name
        compared += 1
    assert compared >= 7
