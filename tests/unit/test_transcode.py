"""The transcoder on objects made for it: codings, signs, colours, frames and icons."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import pack
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence
from rle.rle import encode_frame

from hounsfield.adapters.transcode import Transcoder
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.transfer_syntaxes import TRANSFER_SYNTAXES
from support_transcode import (
    BIG,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    encapsulated,
    pixels,
    read,
)

HTJ2K_RPCL, HTJ2K_ANY = "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"
UNCOMPRESSED, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
RANDOM = np.random.default_rng(7)


@pytest.fixture(scope="module")
def transcoder() -> Iterator[Transcoder]:
    made = Transcoder(processes=1)
    yield made
    made.close()


def _decoded(transcoder: Transcoder, data: bytes, syntax: str, target: str = EXPLICIT) -> pydicom.Dataset:
    return read(transcoder.convert(data, syntax, target), target)


def _grey(bits: int = 16, low: int = 0, high: int = 3000) -> np.ndarray:
    return RANDOM.integers(low, high, (12, 10)).astype(f"{'i' if low < 0 else 'u'}{bits // 8}")


def _lossless_jpeg(array: np.ndarray, bits: int = 0) -> bytes:
    colours: dict[str, Any] = {"colorspace": "RGB", "outcolorspace": "RGB"} if array.ndim == 3 else {}
    bits = bits or array.itemsize * 8
    return bytes(imagecodecs.jpeg8_encode(array, lossless=True, bitspersample=bits, **colours))


def _encode(array: np.ndarray, syntax: str) -> bytes:
    encoders: dict[str, Any] = {
        JPEG_LS: imagecodecs.jpegls_encode,
        J2K: lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, level=0),
        HTJ2K: imagecodecs.htj2k_encode,
        JPEG_LOSSLESS: _lossless_jpeg,
        RLE: lambda a: encode_frame(
            a.tobytes(), *a.shape[:2], a.shape[2] if a.ndim == 3 else 1, a.itemsize * 8, "<"
        ),
        UNCOMPRESSED: lambda a: a.tobytes(),
        DEFLATED_FRAMES: lambda a: zlib.compress(a.tobytes(), wbits=-15),
    }
    return bytes(encoders[syntax](array))


LOSSLESS = [JPEG_LS, J2K, HTJ2K, JPEG_LOSSLESS, RLE, UNCOMPRESSED, DEFLATED_FRAMES]


def test_what_cannot_be_decoded_has_no_targets() -> None:
    transcoder = Transcoder()
    for syntax in ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.107", "1.2.3.4", ""):
        assert transcoder.targets(syntax) == ()
        with pytest.raises(UnreadableError):
            transcoder.convert(b"", syntax, EXPLICIT)


def test_every_target_is_lossless_and_another_one() -> None:
    transcoder = Transcoder()
    for syntax in TRANSFER_SYNTAXES:
        targets = transcoder.targets(syntax)
        assert syntax not in targets
        native = [target for target in targets if not TRANSFER_SYNTAXES[target].encapsulated]
        assert tuple(native) == targets[: len(native)]  # the compressed ones come after them
        assert {target for target in targets if TRANSFER_SYNTAXES[target].lossy} <= {HTJ2K_ANY}
        assert targets == () or IMPLICIT in (syntax, *targets)
    assert transcoder.targets(J2K)[:2] == (EXPLICIT, IMPLICIT)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG])
def test_lossless_codings_give_back_the_pixels(transcoder: Transcoder, syntax: str, target: str) -> None:
    frames = [_grey(), _grey(), _grey()]
    data = encapsulated([[_encode(frame, syntax)] for frame in frames], (12, 10))
    native = _decoded(transcoder, data, syntax, target)
    assert np.array_equal(pixels(native), frames)
    assert native.PatientName == "Test^Pixels"


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_colour_by_pixel(transcoder: Transcoder, syntax: str) -> None:
    array = RANDOM.integers(0, 255, (12, 10, 3)).astype("u1")
    data = encapsulated([[_encode(array, syntax)]], (12, 10, 3), bits=8)
    native = _decoded(transcoder, data, syntax)
    assert native.PlanarConfiguration == 0
    assert native.PhotometricInterpretation == "RGB"
    assert np.array_equal(pixels(native), array)
    assert native["PixelData"].VR == "OB"


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_signed_codestreams(transcoder: Transcoder, syntax: str) -> None:
    array = _grey(low=-1000, high=1000)
    data = encapsulated([[_encode(array, syntax)]], (12, 10), signed=True)
    assert np.array_equal(pixels(_decoded(transcoder, data, syntax)), array)


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_more_than_16_bits(transcoder: Transcoder, syntax: str) -> None:
    array = RANDOM.integers(0, 1 << 24, (12, 10)).astype("u4")
    data = encapsulated([[_encode(array, syntax)]], (12, 10), bits=32)
    assert np.array_equal(pixels(_decoded(transcoder, data, syntax)), array)
    with pytest.raises(UnreadableError, match="16 bits"):
        transcoder.convert(data, syntax, BIG)


def test_twelve_signed_bits_in_a_coding_without_signs(transcoder: Transcoder) -> None:
    array = _grey(low=-1000, high=1000)
    stream = _lossless_jpeg((array & 0xFFF).astype("u2"), bits=12)
    data = encapsulated([[stream]], (12, 10), stored=12, signed=True)
    native = transcoder.convert(data, JPEG_LOSSLESS, EXPLICIT)
    assert native.endswith(array.astype("<i2").tobytes())


def test_samples_wider_than_declared_widen_the_cells(transcoder: Transcoder) -> None:
    array = _grey()
    data = encapsulated([[_encode(array, J2K)]], (12, 10), bits=8)
    native = _decoded(transcoder, data, J2K)
    assert (native.BitsAllocated, native.BitsStored, native.HighBit) == (16, 16, 15)
    assert np.array_equal(pixels(native), array)


def test_narrow_samples_keep_the_declared_cells(transcoder: Transcoder) -> None:
    array = _grey(bits=8, high=200)
    data = encapsulated([[_encode(array, J2K)]], (12, 10), bits=16, stored=8)
    native = _decoded(transcoder, data, J2K)
    assert native.BitsAllocated == 16
    assert np.array_equal(pixels(native), array)


def _smooth() -> np.ndarray:
    ramp = np.linspace(20, 230, 32)
    return np.stack([np.tile(ramp, (32, 1)), np.full((32, 32), 90), np.tile(ramp, (32, 1)).T], -1).astype(
        "u1"
    )


@pytest.mark.parametrize("declared", ["YBR_FULL_422", "YBR_FULL", "RGB"])
def test_jpeg_colours_become_rgb(transcoder: Transcoder, declared: str) -> None:
    """Declared RGB means that the components are RGB; then nothing is transformed."""
    array = _smooth()
    within = "RGB" if declared == "RGB" else "YCbCr"
    stream = imagecodecs.jpeg8_encode(array, level=100, colorspace="RGB", outcolorspace=within)
    data = encapsulated([[stream]], (32, 32, 3), bits=8, photometric=declared)
    native = _decoded(transcoder, data, JPEG)
    assert native.PhotometricInterpretation == "RGB"
    assert np.abs(pixels(native).astype(int) - array).max() <= 6


def test_an_adobe_marker_overrules_a_declared_rgb(transcoder: Transcoder) -> None:
    array = _smooth()
    stream = imagecodecs.jpeg8_encode(array, level=100, colorspace="RGB", outcolorspace="YCbCr")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01"
    data = encapsulated([[stream[:2] + adobe + stream[2:]]], (32, 32, 3), bits=8)
    native = _decoded(transcoder, data, JPEG)
    assert np.abs(pixels(native).astype(int) - array).max() <= 6


@pytest.mark.parametrize("declared", ["YBR_RCT", "YBR_ICT"])
def test_jpeg_2000_colours_become_rgb(transcoder: Transcoder, declared: str) -> None:
    array = RANDOM.integers(0, 255, (12, 10, 3)).astype("u1")
    stream = imagecodecs.jpeg2k_encode(array, codecformat="j2k", reversible=True, level=0, mct=True)
    data = encapsulated([[stream]], (12, 10, 3), bits=8, photometric=declared)
    native = _decoded(transcoder, data, J2K)
    assert native.PhotometricInterpretation == "RGB"
    assert np.array_equal(pixels(native), array)


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE])
def test_other_codings_keep_their_colours(transcoder: Transcoder, syntax: str) -> None:
    array = RANDOM.integers(0, 255, (12, 10, 3)).astype("u1")
    for declared, kept in (("YBR_FULL", "YBR_FULL"), ("YBR_FULL_422", "YBR_FULL")):
        data = encapsulated([[_encode(array, syntax)]], (12, 10, 3), bits=8, photometric=declared)
        native = _decoded(transcoder, data, syntax)
        assert native.PhotometricInterpretation == kept
        assert np.array_equal(pixels(native), array)


def test_a_jp2_file_where_the_codestream_belongs(transcoder: Transcoder) -> None:
    array = _grey()
    stream = imagecodecs.jpeg2k_encode(array, codecformat="jp2", reversible=True, level=0)
    assert bytes(stream[4:8]) == b"jP  "
    assert np.array_equal(pixels(_decoded(transcoder, encapsulated([[stream]], (12, 10)), J2K)), array)


def _parts(stream: bytes) -> list[bytes]:
    """A stream in fragments of even length."""
    half = len(stream) // 4 * 2
    return [stream[:half], stream[half:]]


def _table(frames: list[list[bytes]]) -> list[int]:
    offsets, at = [], 0
    for parts in frames:
        offsets.append(at)
        at += sum(8 + len(part) + len(part) % 2 for part in parts)
    return offsets


@pytest.mark.parametrize("kind", ["basic", "extended", "none", "one frame"])
def test_frames_in_several_fragments(transcoder: Transcoder, kind: str) -> None:
    arrays = [_grey() for _ in range(1 if kind == "one frame" else 3)]
    frames = [_parts(_encode(array, J2K)) for array in arrays]
    frames[-1] = [b"".join(frames[-1])] if kind in ("basic", "extended") else frames[-1]
    table = _table(frames) if kind == "basic" else None
    data = encapsulated(frames, (12, 10), table=table)
    if kind == "extended":
        offsets, lengths = pack("<3Q", *_table(frames)), pack("<3Q", 1, 2, 3)
        extra = b"\xe0\x7f\x01\0OV\0\0\x18\0\0\0" + offsets + b"\xe0\x7f\x02\0OV\0\0\x18\0\0\0" + lengths
        at = data.index(b"\xe0\x7f\x10\0")
        data = data[:at] + extra + data[at:]
    native = _decoded(transcoder, data, J2K)
    assert np.array_equal(pixels(native).reshape(-1, 12, 10), arrays)
    assert 0x7FE00001 not in native and 0x7FE00002 not in native


@pytest.mark.parametrize(("count", "fragments"), [(2, 1), (1, 2), (2, 3), (1, 0)])
def test_frames_that_do_not_fit_are_refused(transcoder: Transcoder, count: int, fragments: int) -> None:
    frames = [[_encode(_grey(), J2K)] for _ in range(fragments)]
    with pytest.raises(UnreadableError):
        transcoder.convert(encapsulated(frames, (12, 10), count=count), J2K, EXPLICIT)


def test_an_odd_number_of_bytes_is_padded(transcoder: Transcoder) -> None:
    array = RANDOM.integers(0, 255, (3, 3)).astype("u1")
    data = encapsulated([[_encode(array, J2K)]], (3, 3), bits=8)
    for target in (EXPLICIT, IMPLICIT, BIG):
        native = _decoded(transcoder, data, J2K, target)
        assert len(native.PixelData) == 10
        assert np.array_equal(pixels(native), array)


def test_what_stands_behind_the_pixels_stays(transcoder: Transcoder) -> None:
    data = encapsulated([[_encode(_grey(), J2K)]], (12, 10)) + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0abcd"
    assert transcoder.convert(data, J2K, EXPLICIT).endswith(data[-16:])
    assert _decoded(transcoder, data, J2K, IMPLICIT)[0xFFFCFFFC].value == b"abcd"


def test_the_lossy_history_stays(transcoder: Transcoder) -> None:
    extra: dict[int, tuple[str, object]] = {
        0x00282110: ("CS", "01"),
        0x00282112: ("DS", "12.5"),
        0x00282114: ("CS", "ISO_10918_1"),
    }
    stream = imagecodecs.jpeg8_encode(_grey(bits=8, high=200), level=80)
    native = _decoded(transcoder, encapsulated([[stream]], (12, 10), bits=8, extra=extra), JPEG)
    assert native.LossyImageCompression == "01"
    assert native.LossyImageCompressionRatio == 12.5


def _with_icon(icon_frame: np.ndarray, *, undefined: bool) -> bytes:
    """An object whose icon is encapsulated as well."""
    icon = encapsulated([[_encode(icon_frame, J2K)]], icon_frame.shape, bits=8)
    icon = icon[icon.index(b"\x28\0\x02\0") :]
    item = b"\xfe\xff\x00\xe0" + pack("<I", len(icon)) + icon
    head = b"\x88\x00\x00\x02SQ\0\0" + (b"\xff" * 4 if undefined else pack("<I", len(item)))
    sequence = head + item + (b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b"")
    data = encapsulated([[_encode(_grey(), J2K)]], (12, 10))
    at = data.index(b"\xe0\x7f\x10\0")
    return data[:at] + sequence + data[at:]


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG])
def test_icons_are_decoded_too(transcoder: Transcoder, target: str, undefined: bool) -> None:
    small = RANDOM.integers(0, 255, (4, 5)).astype("u1")
    native = _decoded(transcoder, _with_icon(small, undefined=undefined), J2K, target)
    icon = native.IconImageSequence[0]
    assert np.array_equal(np.frombuffer(icon.PixelData[:20], "u1").reshape(4, 5), small)
    assert pixels(native).shape == (12, 10)


def test_private_unknown_and_foreign_texts_survive(transcoder: Transcoder) -> None:
    """Texts that their character set does not allow, private elements, UN of either kind."""
    inner = pydicom.Dataset()
    inner.PatientID = "inside"
    data_set = pydicom.Dataset()
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    data_set.add_new(0x00090010, "LO", "NOBODY KNOWS IT")
    data_set.add_new(0x00091002, "SQ", Sequence([inner]))
    data_set.PatientComments = "x"
    import io

    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data_set, implicit_vr=False, little_endian=True)
    implicit_items = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x10\0\x20\0\x04\0\0\0ABCD\xfe\xff\x0d\xe0\0\0\0\0"
    un = b"\x0b\0\x01\x10UN\0\0\xff\xff\xff\xff" + implicit_items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    broken = b"\x10\0\x10\0PN\x06\0M\xfc\xff\x1bxy"
    value = buffer.getvalue()
    at = value.index(b"\x10\0\x00\x40")
    data = value[:at] + un + broken + value[at:]
    implicit = transcoder.convert(data, EXPLICIT, IMPLICIT)
    assert b"\x10\0\x10\0\x06\0\0\0M\xfc\xff\x1bxy" in implicit
    assert implicit_items in implicit
    native = read(implicit, IMPLICIT)
    assert native[0x00091001].value == b"\x01\x02\x03\x04"
    assert b"inside" in implicit
    explicit = transcoder.convert(implicit, IMPLICIT, EXPLICIT)
    assert broken in explicit
    assert read(explicit, EXPLICIT)[0x000B1001].value[0].PatientID == "ABCD"
    big = read(transcoder.convert(data, EXPLICIT, BIG), BIG)
    assert big[0x000B1001].value[0].PatientID == "ABCD"
    assert big[0x00091001].value == b"\x01\x02\x03\x04"


def test_a_text_too_long_for_its_vr_becomes_un(transcoder: Transcoder) -> None:
    long = b"\x10\0\x00\x40" + pack("<I", 70000) + b"a" * 70000
    explicit = transcoder.convert(long, IMPLICIT, EXPLICIT)
    assert explicit.startswith(b"\x10\0\x00\x40UN\0\0" + pack("<I", 70000))
    assert transcoder.convert(explicit, EXPLICIT, IMPLICIT) == long


@pytest.mark.parametrize("representation", [0, 1])
def test_us_or_ss_is_told_by_the_pixel_representation(transcoder: Transcoder, representation: int) -> None:
    data = b"\x28\0\x03\x01\x02\0\0\0" + pack("<H", representation)
    data += b"\x28\0\x20\x01\x02\0\0\0\xff\xff"  # Pixel Padding Value
    native = read(transcoder.convert(data, IMPLICIT, EXPLICIT), EXPLICIT)
    expected = "SS" if representation else "US"
    assert expected == native["PixelPaddingValue"].VR


def test_deflated(transcoder: Transcoder) -> None:
    data = encapsulated([[_encode(_grey(), J2K)]], (12, 10))
    plain = transcoder.convert(data, J2K, EXPLICIT)
    deflated = transcoder.convert(plain, EXPLICIT, DEFLATED)
    assert zlib.decompressobj(-15).decompress(deflated) == plain
    assert transcoder.convert(deflated, DEFLATED, EXPLICIT) == plain
