"""Every image file there is, rendered as PNG, against pydicom with imagecodecs: within one grey level."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest

from hounsfield.adapters.rendering.kinds import Kind, kind_of
from support_rendering import expected, picture
from support_transcode import BROKEN, all_files, encapsulated, stored

#: Without (whole) pixel data, or without the attributes that tell about them.
WITHOUT = BROKEN | {"MR_truncated.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"}
#: Its Number of Frames is "1A", which pydicom does not read.
BEYOND_PYDICOM = {"badVR.dcm"}


def _images() -> list[Path]:
    found = []
    for path in all_files():
        if path.name in WITHOUT | BEYOND_PYDICOM:
            continue
        data_set = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        kind = kind_of(str(data_set.get("SOPClassUID", "")), stored(path).syntax)
        if kind == Kind.IMAGE and "Rows" in data_set and b"\xe0\x7f" in path.read_bytes():
            found.append(path)
    return found


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in _images()])
def test_rendered_as_pydicom_does(path: Path) -> None:
    held = stored(path)
    data_set = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    last = int(data_set.get("NumberOfFrames", 1) or 1)
    for number in sorted({1, last}):
        shown = picture(held.data, held.syntax, frames=(number,)).astype("f8")
        wanted = expected(path, number)
        assert shown.shape == wanted.shape
        assert np.abs(shown - wanted).max() <= 1.0


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "rgb"])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112"])
def test_jpeg_xl(kind: str, syntax: str) -> None:
    """pydicom does not know it yet."""
    values = np.arange(48 * 60 * 3).reshape(48, 60, 3) % 4096
    if kind == "rgb":
        cells = (values % 256).astype("u1")
    else:
        cells = (values[..., 0] % (256 if kind == "u1" else 4096)).astype("u1" if kind == "u1" else "u2")
    stream = bytes(imagecodecs.jpegxl_encode(cells, lossless=True))
    bits = cells.dtype.itemsize * 8
    stored_bits = 12 if bits == 16 else 8
    data = encapsulated([[stream]], cells.shape, bits=bits, stored=stored_bits, signed=kind == "i2")
    shown = picture(data, syntax, window=None if kind in ("u1", "rgb") else (2048, 4095, "linear-exact"))
    if kind == "i2":
        signed = np.where(cells >= 2048, cells.astype(int) - 4096, cells)
        wanted = np.clip((signed - 2048) / 4095 + 0.5, 0, 1) * 255
    else:
        wanted = cells if bits == 8 else np.clip((cells - 2048.0) / 4095 + 0.5, 0, 1) * 255
    assert np.abs(shown.astype(float) - wanted).max() <= 1
