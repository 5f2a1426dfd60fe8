"""Native pixel cells to compressed frames without loss (PS3.5 8.2, A.4, Annex G), through imagecodecs and
pylibjpeg-rle. Runs in the process of `pixel_process` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import imagecodecs
import numpy as np
from rle.rle import encode_frame

from hounsfield.adapters.pixel_decoding import decoder
from hounsfield.adapters.pixel_streams import CODINGS, HTJ2K, JPEG, JPEG_2000, JPEG_LS, RLE
from hounsfield.adapters.pixel_values import Image
from hounsfield.domain.errors import UnreadableError

#: Of one frame: native cells, colour by pixel, little endian, and the native image -> the stream.
Encode = Callable[[bytes, Image], bytes]

#: Bits allocated that each coding can hold.
_CELLS: Final[Mapping[str, tuple[int, ...]]] = {
    JPEG: (8, 16),
    JPEG_LS: (8, 16),
    JPEG_2000: (8, 16, 32),
    HTJ2K: (8, 16, 32),
    RLE: (8, 16, 32),
}
#: Those that transform RGB so that it takes less room; the transform is reversible.
_TRANSFORMING: Final = frozenset({JPEG_2000, HTJ2K})
#: Colours whose three samples each pixel has.
_WHOLE_COLOURS: Final = frozenset({"RGB", "YBR_FULL"})
#: A lowest resolution of at most so many rows or columns is wanted of HTJ2K with RPCL (PS3.5 A.4.12).
_LOWEST: Final = 64
_LEVELS: Final = 5


def as_encoded(image: Image, target: str) -> Image:
    """The attributes of the compressed form of a native image. Raises UnreadableError where it has none
    without loss."""
    coding = CODINGS[target]
    if image.allocated not in _CELLS[coding]:
        raise UnreadableError(f"pixels of {image.allocated} bits have no lossless form in {coding}")
    if image.samples not in (1, 3) or (image.samples == 3 and image.photometric not in _WHOLE_COLOURS):
        raise UnreadableError(
            f"{image.samples} samples of {image.photometric[:16]!r} are not compressed without loss"
        )
    if _transformed(image, coding):
        return replace(image, photometric="YBR_RCT", planar=0)
    return replace(image, planar=0)


def _transformed(image: Image, coding: str) -> bool:
    return coding in _TRANSFORMING and image.photometric == "RGB"


def encoder(target: str) -> Encode:
    """Into a transfer syntax whose coding is lossless, or can be. `Encode` raises UnreadableError."""
    coding = CODINGS[target]
    encode, decode = _ENCODERS[coding], decoder(target)

    def encoded(cells: bytes, image: Image) -> bytes:
        stream = encode(cells, image)
        if image.allocated > 16 and coding != RLE:  # codecs differ in how many bits they really hold
            compressed = as_encoded(image, target)
            if decode(stream, compressed) != cells:
                raise UnreadableError(f"pixels of {image.stored} bits do not go into {coding} without loss")
        return stream

    return encoded


def _array(cells: bytes, image: Image, *, signed: bool) -> Any:
    """The cells as numbers. A cell is taken with all its bits, also those beyond Bits Stored."""
    shape: tuple[int, ...] = (image.rows, image.columns)
    if image.samples > 1:
        shape = (*shape, image.samples)
    return np.frombuffer(cells, f"<{'i' if signed else 'u'}{image.allocated // 8}").reshape(shape)


def _precision(array: Any, image: Image) -> int:
    """Bits Stored where no sample has more, else those of its cell."""
    if image.stored < 8 or image.high != image.stored - 1 or image.stored == image.allocated:
        return image.allocated
    low, high = int(array.min()), int(array.max())
    most = 1 << (image.stored - 1) if image.signed else 1 << image.stored
    least = -most if image.signed else 0
    return image.stored if least <= low and high < most else image.allocated


def _jpeg(cells: bytes, image: Image) -> bytes:
    """Process 14, selection value 1. The samples have no sign: signed ones are written as whole cells."""
    array = _array(cells, image, signed=False)
    bits = image.allocated if image.signed else _precision(array, image)
    colours = "GRAYSCALE" if image.samples == 1 else "RGB"
    return bytes(
        imagecodecs.jpeg8_encode(
            array,
            lossless=True,
            predictor=1,
            bitspersample=bits,
            colorspace=colours,
            outcolorspace=colours,
        )
    )


def _jpeg_ls(cells: bytes, image: Image) -> bytes:
    array = _array(cells, image, signed=False)
    room = 2 * len(cells) + 4096  # noise grows
    return bytes(imagecodecs.jpegls_encode(array, level=0, out=room))


def _jpeg_2000(cells: bytes, image: Image) -> bytes:
    array = _array(cells, image, signed=image.signed)
    return bytes(
        imagecodecs.jpeg2k_encode(
            array,
            level=0,
            codecformat="j2k",
            reversible=True,
            mct=_transformed(image, JPEG_2000),
            bitspersample=_precision(array, image),
            numthreads=1,
        )
    )


def _htj2k(cells: bytes, image: Image) -> bytes:
    """With RPCL progression and TLM marker segments, which .202 asks for and the others allow."""
    levels = max(_LEVELS, ((max(image.rows, image.columns) - 1) // _LOWEST).bit_length())
    return bytes(
        imagecodecs.htj2k_encode(
            _array(cells, image, signed=image.signed),
            reversible=True,
            rgb=_transformed(image, HTJ2K),
            resolutions=levels,
            tlm=True,
            tilepart=imagecodecs.HTJ2K.TILEPART.RESOLUTIONS,
        )
    )


def _rle(cells: bytes, image: Image) -> bytes:
    return bytes(encode_frame(cells, image.rows, image.columns, image.samples, image.allocated, "<"))


_ENCODERS: Final[Mapping[str, Encode]] = {
    JPEG: _jpeg,
    JPEG_LS: _jpeg_ls,
    JPEG_2000: _jpeg_2000,
    HTJ2K: _htj2k,
    RLE: _rle,
}


def encoded_frames(frames: Iterator[bytes], image: Image, target: str) -> Iterator[bytes]:
    """Each native frame as a stream of even length. Raises UnreadableError."""
    encode = encoder(target)
    for cells in frames:
        try:
            stream = encode(cells, image)
        except (RuntimeError, ValueError) as error:  # as the encoders do
            raise UnreadableError(f"a frame cannot be compressed ({type(error).__name__})") from error
        yield stream + b"\0" * (len(stream) % 2)


def by_pixel(frame: bytes, image: Image) -> bytes:
    """A native frame of planar configuration 1 (the planes one after the other) in that of 0."""
    if image.samples == 1 or image.planar == 0:
        return frame
    cells = np.frombuffer(frame, f"<u{image.allocated // 8}").reshape(image.samples, -1)
    return cells.T.tobytes()
