"""WADO-RS: frames, and compression on request."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from hounsfield.hospital.synthetic import ct_series
from support_wado import (
    DICOM,
    EXPLICIT,
    OCTETS,
    Address,
    image,
    of_file,
    parts_of,
    read,
    related,
)
from support_web import WebArchive

PREFIX = "1.2.840.10008.1.2.4."
HTJ2K, HTJ2K_RPCL, HTJ2K_ANY = PREFIX + "201", PREFIX + "202", PREFIX + "203"
JPEG_LS, J2K, SV1, RLE = PREFIX + "80", PREFIX + "90", PREFIX + "70", "1.2.840.10008.1.2.5"
COMPRESSED = [HTJ2K, HTJ2K_RPCL, HTJ2K_ANY, JPEG_LS, J2K, SV1, RLE]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("wado"), large_object=1, http_rate=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as found:
        yield found


@pytest.fixture(scope="module")
def series(archive: WebArchive) -> list[bytes]:
    """A CT of five images."""
    files = list(ct_series(5, 64, 64, key="test-wado"))
    archive.store(*files)
    return files


@pytest.fixture(scope="module")
def at(series: list[bytes]) -> Address:
    return of_file(series[0])


@pytest.fixture(scope="module")
def movie(archive: WebArchive) -> bytes:
    """Forty frames, in an object larger than what is read as a whole."""
    made = image(96, 96, frames=40, size=5 << 20)
    archive.store(made)
    return made


# Compression --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", COMPRESSED)
def test_objects_compressed_on_request(
    client: httpx.Client, at: Address, series: list[bytes], target: str
) -> None:
    answer = client.get(at.instance, headers=related(DICOM, target))
    (part,) = parts_of(answer)
    assert part.transfer_syntax == target
    data_set = read(part.data)
    assert data_set.file_meta.TransferSyntaxUID == target
    assert np.array_equal(decoded(data_set), read(series[0]).pixel_array)


def decoded(data_set: pydicom.Dataset) -> np.ndarray:
    """By pydicom where it can, else by what it would ask."""
    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax == RLE:
        return data_set.pixel_array
    stream = pydicom.encaps.get_frame(data_set.PixelData, 0)
    decode = {
        JPEG_LS: imagecodecs.jpegls_decode,
        J2K: imagecodecs.jpeg2k_decode,
        SV1: imagecodecs.jpeg8_decode,
    }.get(syntax, imagecodecs.htj2k_decode)
    cells = decode(stream)
    return cells.astype("i2") if data_set.PixelRepresentation else cells


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize(("target", "program"), [(JPEG_LS, "dcmdjpls"), (SV1, "dcmdjpeg"), (RLE, "dcmdrle")])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "SC_rgb_16bit.dcm", "SC_rgb_2frame.dcm"])
def test_dcmtk_decodes_what_was_compressed(
    archive: WebArchive, client: httpx.Client, tmp_path: Path, name: str, target: str, program: str
) -> None:
    file = Path(str(get_testdata_file(name))).read_bytes()
    uid = str(read(file).SOPInstanceUID)
    file = file.replace(uid.encode(), f"{uid[:-6]}.{zlib.crc32(name.encode()) % 90000 + 10000}".encode())
    archive.store(file)
    answer = client.get(of_file(file).instance, headers={"Accept": f"{DICOM}; transfer-syntax={target}"})
    assert answer.status_code == 200, answer.text
    (tmp_path / "given.dcm").write_bytes(answer.content)
    subprocess.run([program, tmp_path / "given.dcm", tmp_path / "plain.dcm"], check=True, capture_output=True)
    plain = pydicom.dcmread(tmp_path / "plain.dcm")
    assert np.array_equal(plain.pixel_array, read(file).pixel_array)


@pytest.mark.parametrize("target", COMPRESSED)
def test_frames_compressed_on_request(
    client: httpx.Client, movie: bytes, target: str, archive: WebArchive
) -> None:
    expected = read(movie).pixel_array
    answer = client.get(of_file(movie).instance + "/frames/3,1,40", headers=related(OCTETS, target))
    parts = parts_of(answer)
    assert [part.transfer_syntax for part in parts] == [target] * 3
    if target == RLE:
        return  # decoded as whole objects above
    decode = {
        JPEG_LS: imagecodecs.jpegls_decode,
        J2K: imagecodecs.jpeg2k_decode,
        SV1: imagecodecs.jpeg8_decode,
    }.get(target, imagecodecs.htj2k_decode)
    for part, number in zip(parts, (3, 1, 40), strict=True):
        assert np.array_equal(decode(part.data), expected[number - 1])


# Frames -------------------------------------------------------------------------------------------------

#: Accept header -> (media type, transfer syntax, parts?) that a native object's frames are given in.
FORMS = {
    "": (OCTETS, EXPLICIT, True),
    "*/*": (OCTETS, EXPLICIT, True),
    "multipart/related; type=application/octet-stream; transfer-syntax=*": (OCTETS, EXPLICIT, True),
    'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1': (
        OCTETS,
        EXPLICIT,
        True,
    ),
    "multipart/related; type=image/jls; q=1, multipart/related; type=application/octet-stream; q=0.1": (
        "image/jls",
        JPEG_LS,
        True,
    ),
    "application/octet-stream": (OCTETS, EXPLICIT, False),
    "application/octet-stream; transfer-syntax=*": (OCTETS, EXPLICIT, False),
    "image/jphc": ("image/jphc", HTJ2K, False),
    f"image/jphc; transfer-syntax={HTJ2K_RPCL}": ("image/jphc", HTJ2K_RPCL, False),
    "image/jp2": ("image/jp2", J2K, False),
    "image/jpeg": ("image/jpeg", SV1, False),
    "image/dicom-rle": ("image/dicom-rle", RLE, False),
    "multipart/related; type=image/jphc, application/octet-stream;q=0.5": ("image/jphc", HTJ2K, True),
}


@pytest.mark.parametrize("accept", FORMS)
def test_forms_in_which_frames_are_asked_for(
    client: httpx.Client, at: Address, series: list[bytes], accept: str
) -> None:
    media_type, syntax, several = FORMS[accept]
    answer = client.get(at.instance + "/frames/1", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    if several:
        (part,) = parts_of(answer)
        found, told, data = part.media_type, part.transfer_syntax, part.data
        assert answer.headers["content-type"].startswith(f'multipart/related; type="{media_type}"')
    else:
        found, _, rest = answer.headers["content-type"].partition("; ")
        told, data = rest.removeprefix("transfer-syntax="), answer.content
    assert (found, told) == (media_type, syntax)
    if syntax == EXPLICIT:
        assert data == read(series[0]).PixelData
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_a_compressed_object_in_each_form(archive: WebArchive, client: httpx.Client) -> None:
    file = Path(str(get_testdata_file("MR_small_jp2klossless.dcm"))).read_bytes()
    plain = read(Path(str(get_testdata_file("MR_small.dcm"))).read_bytes()).PixelData
    uid = str(read(file).SOPInstanceUID)
    with_own = file.replace(uid.encode(), (uid[:-4] + "7777").encode())
    archive.store(with_own)
    path = of_file(with_own).instance + "/frames/1"
    stored = pydicom.encaps.get_frame(read(with_own).PixelData, 0)
    for accept in (
        f"{OCTETS}; transfer-syntax=*",
        "image/jp2",
        "image/*",
        f"{OCTETS}; transfer-syntax={J2K}",
    ):
        answer = client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.content) == (200, stored)
        assert answer.headers["content-type"].endswith(f"transfer-syntax={J2K}")
    for accept in (OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}"):
        answer = client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.content) == (200, plain)


def test_frames_of_a_large_object(client: httpx.Client, movie: bytes) -> None:
    size = 96 * 96 * 2
    pixels = read(movie).PixelData
    path = of_file(movie).instance + "/frames/"
    answer = client.get(path + ",".join(str(n) for n in range(40, 0, -1)))
    assert [part.data for part in parts_of(answer)] == [
        pixels[n * size : (n + 1) * size] for n in range(39, -1, -1)
    ]
    part = client.get(path + "7", headers={"Accept": OCTETS, "Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, pixels[6 * size + 100 : 6 * size + 200])


def test_frames_of_single_bits_begin_with_a_byte(archive: WebArchive, client: httpx.Client) -> None:
    file = image(5, 3, frames=7, bits=1)
    archive.store(file)
    bits = np.arange(5 * 3 * 7) % 3 == 0
    answer = client.get(of_file(file).instance + "/frames/1,2,7")
    for part, number in zip(parts_of(answer), (0, 1, 6), strict=True):
        found = np.unpackbits(np.frombuffer(part.data, "u1"), bitorder="little")[:15]
        assert np.array_equal(found, bits[number * 15 : number * 15 + 15])
