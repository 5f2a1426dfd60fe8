"""Compressed targets of the transcoder: what goes in comes out again, and what cannot is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from hounsfield.adapters.transcode import COMPRESSED, Transcoder
from hounsfield.domain.errors import UnreadableError
from support_transcode import BIG, DEFLATED, EXPLICIT, IMPLICIT, J2K, JPEG_LS, RLE, read
from support_wado import data_set_of, file_of_data_set, image

RANDOM = np.random.default_rng(11)
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")


@pytest.fixture(scope="module")
def transcoder() -> Iterator[Transcoder]:
    made = Transcoder(processes=1)
    yield made
    made.close()


def native(cells: np.ndarray, **more: object) -> bytes:
    """A data set with the frames of `cells` (frame, row, column, sample)."""
    frames, rows, columns = cells.shape[:3]
    values: dict[str, object] = {"PixelData": cells.tobytes() + b"\0" * (cells.nbytes % 2)}
    if cells.ndim == 4:
        values |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    values |= {"PixelRepresentation": int(cells.dtype.kind == "i")}
    return data_set_of(image(rows, columns, frames=frames, bits=cells.itemsize * 8, **values | more))


def there_and_back(
    transcoder: Transcoder, data: bytes, target: str, syntax: str = EXPLICIT
) -> pydicom.Dataset:
    compressed = transcoder.convert(data, syntax, target)
    return read(transcoder.convert(compressed, target, EXPLICIT), EXPLICIT)


@pytest.mark.parametrize("target", COMPRESSED)
@pytest.mark.parametrize(
    ("kind", "low", "high", "stored"),
    [
        ("u1", 0, 256, 8),
        ("u2", 0, 4096, 12),
        ("u2", 0, 65536, 16),
        ("u2", 0, 65536, 12),
        ("i2", -2048, 2048, 12),
        ("i2", -32768, 32768, 16),
        ("i1", -128, 128, 8),
    ],
)
def test_every_bit_of_a_cell_comes_back(
    transcoder: Transcoder, target: str, kind: str, low: int, high: int, stored: int
) -> None:
    """Also those beyond Bits Stored, where some modalities still keep overlays."""
    cells = RANDOM.integers(low, high, (3, 21, 17)).astype(kind)
    data = native(cells, BitsStored=stored, HighBit=stored - 1)
    assert there_and_back(transcoder, data, target).PixelData == read(data, EXPLICIT).PixelData


@pytest.mark.parametrize("target", COMPRESSED)
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_come_back(transcoder: Transcoder, target: str, photometric: str, planar: int) -> None:
    cells = RANDOM.integers(0, 256, (2, 13, 9, 3)).astype("u1")
    stored = cells.transpose(0, 3, 1, 2) if planar else cells
    data = native(
        cells,
        PixelData=stored.tobytes(),
        PhotometricInterpretation=photometric,
        PlanarConfiguration=planar,
    )
    compressed = read(transcoder.convert(data, EXPLICIT, target), target)
    expected = "YBR_RCT" if photometric == "RGB" and target in (J2K, *HTJ2K) else photometric
    assert compressed.PhotometricInterpretation == expected
    back = there_and_back(transcoder, data, target)
    assert (back.PhotometricInterpretation, back.PlanarConfiguration) == (photometric, 0)
    assert back.PixelData == cells.tobytes()


@pytest.mark.parametrize("target", COMPRESSED)
@pytest.mark.parametrize("source", [IMPLICIT, BIG, DEFLATED, RLE, JPEG_LS])
def test_from_every_kind_of_source(transcoder: Transcoder, source: str, target: str) -> None:
    if source == target:
        return
    cells = RANDOM.integers(0, 4096, (2, 16, 16)).astype("u2")
    data = transcoder.convert(native(cells), EXPLICIT, source)
    assert there_and_back(transcoder, data, target, source).PixelData == cells.tobytes()


@pytest.mark.parametrize("target", COMPRESSED)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 300), (1, 300, 1), (2, 3, 5)])
def test_odd_sizes(transcoder: Transcoder, target: str, shape: tuple[int, ...]) -> None:
    cells = RANDOM.integers(0, 256, shape).astype("u1")
    back = there_and_back(transcoder, native(cells), target).PixelData
    assert back[: cells.nbytes] == cells.tobytes()


def test_a_frame_is_a_fragment_of_even_length(transcoder: Transcoder) -> None:
    cells = RANDOM.integers(0, 256, (5, 7, 7)).astype("u1")
    for target in COMPRESSED:
        compressed = read(transcoder.convert(native(cells), EXPLICIT, target), target)
        assert compressed["PixelData"].is_undefined_length
        frames = list(generate_frames(compressed.PixelData, number_of_frames=5))
        assert len(frames) == 5
        assert all(len(frame) % 2 == 0 for frame in frames)


def test_htj2k_with_rpcl_keeps_to_its_options(transcoder: Transcoder) -> None:
    """PS3.5 A.4.12: RPCL progression, TLM, and a lowest resolution of at most 64."""
    cells = RANDOM.integers(0, 4096, (1, 600, 4200)).astype("u2")
    stream = next(
        generate_frames(
            read(transcoder.convert(native(cells), EXPLICIT, HTJ2K[1]), HTJ2K[1]).PixelData,
            number_of_frames=1,
        )
    )
    cod = stream.index(b"\xff\x52")
    assert stream[cod + 5] == 2  # RPCL
    levels = stream[cod + 9]
    assert -(-4200 // 2**levels) <= 64 or -(-600 // 2**levels) <= 64
    assert b"\xff\x55" in stream[: stream.index(b"\xff\x90")]


def test_32_bits_go_only_where_all_of_them_fit(transcoder: Transcoder) -> None:
    few = RANDOM.integers(0, 1 << 24, (1, 40, 40)).astype("u4")
    all_bits = RANDOM.integers(0, 1 << 32, (1, 40, 40)).astype("u4")
    for target in (*HTJ2K, J2K, RLE):
        assert there_and_back(transcoder, native(few), target).PixelData == few.tobytes()
    for target in (*HTJ2K, RLE):
        assert there_and_back(transcoder, native(all_bits), target).PixelData == all_bits.tobytes()
    with pytest.raises(UnreadableError, match="without loss"):
        transcoder.convert(native(all_bits), EXPLICIT, J2K)
    with pytest.raises(UnreadableError, match="no lossless form"):
        transcoder.convert(native(few), EXPLICIT, JPEG_LS)


def test_what_has_no_compressed_form(transcoder: Transcoder) -> None:
    one_bit = data_set_of(image(8, 8, frames=3, bits=1))
    short = data_set_of(image(8, 8, NumberOfFrames=2))
    floats = read(data_set_of(image(8, 8)), EXPLICIT)
    del floats.PixelData
    floats.FloatPixelData = bytes(8 * 8 * 4)
    for target in COMPRESSED:
        for data in (one_bit, short):
            with pytest.raises(UnreadableError):
                transcoder.convert(data, EXPLICIT, target)
        with pytest.raises(UnreadableError, match="floating"):
            transcoder.convert(data_set_of(file_of_data_set(floats)), EXPLICIT, target)


def test_an_object_without_pixels_stays_as_it_is(transcoder: Transcoder) -> None:
    report = data_set_of(Path(str(get_testdata_file("reportsi.dcm"))).read_bytes())
    for target in COMPRESSED:
        assert transcoder.convert(report, EXPLICIT, target) == report
