"""What pydicom makes of an image, and the renderer without its process, for the tests of rendering."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi_lut,
    convert_color_space,
    pixel_array,
)

from hounsfield.adapters.rendering.answers import rendered
from hounsfield.ports.rendering import Rendering
from support_transcode import stored

#: Transfer syntax (its last component) -> how imagecodecs decodes it.
DECODERS = {
    **dict.fromkeys(("50", "51", "53", "55", "57", "70"), imagecodecs.jpeg8_decode),
    **dict.fromkeys(("80", "81"), imagecodecs.jpegls_decode),
    **dict.fromkeys(("90", "91"), imagecodecs.jpeg2k_decode),
    **dict.fromkeys(("201", "202", "203"), imagecodecs.htj2k_decode),
}


class Held:
    """A data set in memory, as the child has it."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read(self, offset: int, length: int) -> memoryview:
        assert offset >= 0 and offset + length <= self.size
        return self._data[offset : offset + length]

    def whole(self) -> bytes:
        return bytes(self._data)


def render(data: bytes, syntax: str, **how: Any) -> bytes:
    """In this process."""
    wanted = Rendering(**how)
    values = {**asdict(wanted), "annotation": sorted(wanted.annotation)}
    return rendered({"syntax": syntax, "how": values}, Held(data))  # type: ignore[arg-type]


def picture(data: bytes, syntax: str, **how: Any) -> np.ndarray:
    """The pixels of the PNG."""
    return imagecodecs.png_decode(render(data, syntax, media_type="image/png", **how))


def explicit(data_set: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data_set, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def image_set(cells: np.ndarray, photometric: str = "MONOCHROME2", **attributes: Any) -> pydicom.Dataset:
    """A data set around native pixels: (rows, columns[, 3]) or with frames=n before."""
    frames = attributes.pop("frames", 0)
    shape = cells.shape[1:] if frames else cells.shape
    data_set = pydicom.Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    data_set.SamplesPerPixel = shape[2] if len(shape) > 2 else 1
    data_set.PhotometricInterpretation = photometric
    if frames:
        data_set.NumberOfFrames = frames
    data_set.Rows, data_set.Columns = shape[:2]
    bits = cells.dtype.itemsize * 8
    data_set.BitsAllocated = bits
    data_set.BitsStored = attributes.pop("stored", bits)
    data_set.HighBit = attributes.pop("high", data_set.BitsStored - 1)
    data_set.PixelRepresentation = int(cells.dtype.kind == "i")
    if data_set.SamplesPerPixel > 1:
        data_set.PlanarConfiguration = 0
    pixels = cells.astype(cells.dtype.newbyteorder("<")).tobytes()
    for name, value in attributes.items():
        if isinstance(value, tuple):
            data_set.add_new(pydicom.tag.Tag(name), *value)
        else:
            setattr(data_set, name, value)
    data_set.add_new(0x7FE00010, "OW" if bits > 8 else "OB", pixels + b"\0" * (len(pixels) % 2))
    return data_set


def document_set(document: bytes, sop_class: str, uid: str) -> pydicom.Dataset:
    """An encapsulated document, in the second series of study 1.2.3."""
    data_set = pydicom.Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = sop_class, uid
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = "1.2.3", "1.2.3.2"
    data_set.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    data_set.EncapsulatedDocumentLength = len(document)
    return data_set


def expected(path: Path, number: int = 1) -> np.ndarray:
    """Grey levels or colours by pydicom, not rounded: the reference of every rendered file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = pydicom.dcmread(path, force=True)
        syntax = stored(path).syntax
        cells = decoded_cells(data_set, syntax, number)
        if data_set.PhotometricInterpretation == "PALETTE COLOR":
            colours = apply_color_lut(cells, data_set)
            return colours if colours.dtype.itemsize == 1 else colours >> 8
        if cells.ndim == 3:
            return cells / (1 if cells.dtype.itemsize == 1 else 2 ** (data_set.BitsStored - 8))
        grey = _grey(cells, _of_frame(data_set, number))
        if data_set.get("PixelPresentation") not in ("COLOR", "MIXED") or 0x00281101 not in data_set:
            return grey
        count, first, _ = data_set[0x00281101].value
        index = np.clip(cells.astype("i4") - first, 0, count - 1)
        tables = [np.frombuffer(data_set[tag].value, "<u2") for tag in (0x00281201, 0x00281202, 0x00281203)]
        colours = np.stack([table[index] >> 8 for table in tables], axis=-1)
        return np.where((cells >= first)[..., None], colours, grey[..., None])


def decoded_cells(data_set: pydicom.Dataset, syntax: str, number: int) -> np.ndarray:
    """Pixels of a frame by pydicom, by imagecodecs where they are compressed: colours are RGB."""
    decode = DECODERS.get(syntax.rsplit(".", 1)[1]) if syntax.startswith("1.2.840.10008.1.2.4.") else None
    if decode is None:
        return pixel_array(data_set, index=number - 1)
    count = int(data_set.get("NumberOfFrames", 1) or 1)
    frame = list(generate_frames(data_set.PixelData, number_of_frames=count))[number - 1]
    if decode is imagecodecs.jpeg8_decode and data_set.PhotometricInterpretation == "RGB":
        return decode(frame, colorspace="RGB", outcolorspace="RGB")  # some encoders mark it in no other way
    cells = decode(frame)
    if data_set.SamplesPerPixel == 3:
        codec_made_rgb = decode is imagecodecs.jpeg2k_decode or decode is imagecodecs.jpeg8_decode
        if not codec_made_rgb and data_set.PhotometricInterpretation == "YBR_FULL":
            cells = convert_color_space(cells, "YBR_FULL", "RGB")
        return cells
    if data_set.PixelRepresentation and cells.dtype.kind == "u":
        spare = data_set.BitsAllocated - data_set.BitsStored
        cells = (cells.astype(f"u{data_set.BitsAllocated // 8}") << spare).astype(
            f"i{cells.itemsize}"
        ) >> spare
    return cells


def _of_frame(data_set: pydicom.Dataset, number: int) -> pydicom.Dataset:
    """The data set with what the functional groups of a frame say put at its top."""
    merged = copy.copy(data_set)
    groups = []
    if "SharedFunctionalGroupsSequence" in data_set:
        groups += list(data_set.SharedFunctionalGroupsSequence)
    if "PerFrameFunctionalGroupsSequence" in data_set:
        groups.append(data_set.PerFrameFunctionalGroupsSequence[number - 1])
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in group[name][0] if name in group else ():
                merged.add(element)
    return merged


def _grey(cells: np.ndarray, data_set: pydicom.Dataset) -> np.ndarray:
    values = apply_modality_lut(cells, data_set).astype("f8")
    if "VOILUTSequence" in data_set:
        shown = apply_voi_lut(apply_modality_lut(cells, data_set), data_set) / (
            2.0 ** data_set.VOILUTSequence[0].LUTDescriptor[2] - 1
        )
    elif "WindowWidth" in data_set and data_set.WindowWidth not in (None, ""):
        low, high = _ends(data_set)
        shown = (apply_voi_lut(values, data_set) - low) / (high - low)
    elif data_set.BitsStored <= 8 and not data_set.PixelRepresentation and "RescaleSlope" not in data_set:
        shown = values / (2.0**data_set.BitsStored - 1)
    else:
        kept = values[_not_padding(cells, data_set)]
        spread = kept.max() - kept.min()
        shown = np.clip((values - kept.min()) / spread, 0, 1) if spread else np.zeros(values.shape)
    if (
        data_set.PhotometricInterpretation == "MONOCHROME1"
        or data_set.get("PresentationLUTShape") == "INVERSE"
    ):
        shown = 1 - shown
    return np.where(_not_padding(cells, data_set), shown * 255, 0)


def _not_padding(cells: np.ndarray, data_set: pydicom.Dataset) -> np.ndarray:
    if "PixelPaddingValue" not in data_set:
        return np.ones(cells.shape, bool)
    value = int(data_set.PixelPaddingValue)
    if not data_set.PixelRepresentation:
        value &= 0xFFFF
    elif value >= 0x8000:
        value -= 0x10000
    return cells != value


def _ends(data_set: Mapping[Any, Any]) -> tuple[float, float]:
    """Of what pydicom's windowing gives."""
    stored_bits = data_set.BitsStored  # type: ignore[attr-defined]
    if data_set.PixelRepresentation:  # type: ignore[attr-defined]
        low, high = -(2.0 ** (stored_bits - 1)), 2.0 ** (stored_bits - 1) - 1
    else:
        low, high = 0.0, 2.0**stored_bits - 1
    if "ModalityLUTSequence" in data_set:
        return 0.0, 2.0 ** data_set.ModalityLUTSequence[0].LUTDescriptor[2] - 1  # type: ignore[attr-defined]
    slope = float(data_set.get("RescaleSlope", 1) or 1)
    intercept = float(data_set.get("RescaleIntercept", 0) or 0)
    return low * slope + intercept, high * slope + intercept
