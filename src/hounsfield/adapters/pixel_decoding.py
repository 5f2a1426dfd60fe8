"""Compressed frames to native pixel cells (PS3.5 section 8), through imagecodecs and pylibjpeg-rle.

Runs in the process of `pixel_process` alone: what the decoders do with hostile streams stays there.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import imagecodecs
import numpy as np
from rle.rle import decode_frame

from hounsfield.adapters.pixel_streams import (
    CODINGS,
    DEFLATED,
    HTJ2K,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    JPEG_XL,
    RLE,
    UNCOMPRESSED,
    StreamHead,
    check_whole,
    codestream,
    jpeg_2000_head,
    jpeg_head,
)
from hounsfield.adapters.pixel_values import Image
from hounsfield.domain.errors import UnreadableError

#: Of one frame: the stream and the image as declared -> the native cells, colour by pixel, little endian.
Decode = Callable[[bytes, Image], bytes]


def as_decoded(image: Image, syntax: str, first: bytes) -> Image:
    """The attributes that the native form has, judged by the declared ones and the first frame.

    Colour that JPEG or JPEG 2000 transformed becomes RGB; JPEG-LS, lossless JPEG and RLE keep theirs. Raises
    UnreadableError for what cannot be decoded without doubt.
    """
    if image.samples not in (1, 3) or image.allocated not in (8, 16, 32, 64):
        raise UnreadableError(f"pixels of {image.samples} samples of {image.allocated} bits are not decoded")
    coding = CODINGS[syntax]
    if coding in (UNCOMPRESSED, DEFLATED):  # native already
        return image
    photometric = image.photometric
    head = None
    if coding in (JPEG, JPEG_LS):
        head = jpeg_head(first)
    elif coding in (JPEG_2000, HTJ2K):
        head = jpeg_2000_head(codestream(first))
    elif coding == JPEG_XL and image.samples > 1:
        photometric = "RGB"
    if image.samples > 1 and head is not None:
        photometric = _colour(photometric, coding, head)
    if photometric == "YBR_FULL_422":  # nothing is subsampled any more
        photometric = "YBR_FULL"
    image = replace(image, photometric=photometric, planar=0)
    if head is not None and head.precision > image.allocated:
        allocated = 16 if head.precision <= 16 else 32
        image = replace(image, allocated=allocated, stored=head.precision, high=head.precision - 1)
    return image


def _colour(declared: str, coding: str, head: StreamHead) -> str:
    if declared in ("YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        raise UnreadableError(f"the colours of {declared} are not decoded")
    if declared in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    if coding == JPEG and not head.lossless and declared.startswith("YBR"):
        return "RGB"
    return declared


def _jpeg(stream: bytes, image: Image) -> bytes:
    """`image` is as declared: its photometric interpretation tells what the components are."""
    head = jpeg_head(stream)
    _check(head, image)
    if image.samples == 1:
        array = imagecodecs.jpeg8_decode(stream, colorspace="GRAYSCALE", outcolorspace="GRAYSCALE")
    else:
        transformed = image.photometric.startswith("YBR") or head.adobe == 1
        components = "YCbCr" if transformed and not head.lossless else "RGB"
        array = imagecodecs.jpeg8_decode(stream, colorspace=components, outcolorspace="RGB")
    return _cells(array, head, image)


def _jpeg_ls(stream: bytes, image: Image) -> bytes:
    head = jpeg_head(stream)
    _check(head, image)
    return _cells(imagecodecs.jpegls_decode(stream), head, image)


def _jpeg_2000(stream: bytes, image: Image) -> bytes:
    stream = codestream(stream)
    head = jpeg_2000_head(stream)
    _check(head, image)
    return _cells(imagecodecs.jpeg2k_decode(stream, numthreads=1), head, image)


def _htj2k(stream: bytes, image: Image) -> bytes:
    """imagecodecs does not raise what goes wrong after the header, and would return memory as it found it:
    so the hook for such exceptions is asked, and the array is ours."""
    stream = codestream(stream)
    head = jpeg_2000_head(stream)
    _check(head, image)
    check_whole(stream)
    swallowed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, swallowed.append
    try:
        array = imagecodecs.htj2k_decode(stream, planar=False, out=np.zeros(_shape(image), _type_of(head)))
    finally:
        sys.unraisablehook = hook
    if swallowed:
        raise UnreadableError("a frame's HTJ2K codestream is broken")
    return _cells(array, head, image)


def _jpeg_xl(stream: bytes, image: Image) -> bytes:
    """The decoder allocates what the stream asks for: the process's limit is the only one."""
    array = imagecodecs.jpegxl_decode(stream, numthreads=1)
    if array.dtype.kind != "u" or array.shape != _shape(image):
        raise UnreadableError("a frame's JPEG XL stream does not give the pixels that are declared")
    return _cells(array, StreamHead(image.rows, image.columns, image.samples, image.stored), image)


def _rle(stream: bytes, image: Image) -> bytes:
    """PS3.5 Annex G: a segment for each byte of each sample; the planes come one after the other."""
    if len(stream) < 64:
        raise UnreadableError("a frame's RLE stream ends within its header")
    segments = int.from_bytes(stream[:4], "little")
    if segments != image.samples * image.allocated // 8:
        raise UnreadableError(f"a frame's RLE stream has {segments} segments, which its pixels do not have")
    pixels = image.rows * image.columns
    planes = decode_frame(stream, pixels, image.allocated, "<")
    if len(planes) != image.frame_length:
        raise UnreadableError("a frame's RLE stream does not give as many pixels as are declared")
    if image.samples == 1:
        return bytes(planes)
    cells = np.frombuffer(planes, f"<u{image.allocated // 8}").reshape(image.samples, pixels)
    return cells.T.tobytes()


def _as_it_is(stream: bytes, image: Image) -> bytes:
    """Encapsulated Uncompressed: at most a byte of padding follows."""
    if not 0 <= len(stream) - image.frame_length <= 1:
        raise UnreadableError("a frame's length is not that of its pixels")
    return stream[: image.frame_length]


def _deflated(stream: bytes, image: Image) -> bytes:
    """Deflated Image Frame Compression: each frame a raw deflate stream."""
    cells = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, image.frame_length + 1)
    if len(cells) != image.frame_length:
        raise UnreadableError("a frame's deflate stream does not give as many pixels as are declared")
    return cells


def _check(head: StreamHead, image: Image) -> None:
    if (head.rows, head.columns, head.components) != (image.rows, image.columns, image.samples):
        raise UnreadableError(
            f"a frame's stream has {head.rows} x {head.columns} x {head.components} samples, "
            f"declared are {image.rows} x {image.columns} x {image.samples}"
        )
    if head.precision > image.allocated:
        raise UnreadableError(f"a frame's samples have {head.precision} bits, {image.allocated} are declared")


def _shape(image: Image) -> tuple[int, ...]:
    return (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)


def _type_of(head: StreamHead) -> str:
    size = 1 if head.precision <= 8 else 2 if head.precision <= 16 else 4
    return f"{'i' if head.signed else 'u'}{size}"


def _cells(array: Any, head: StreamHead, image: Image) -> bytes:
    """Samples in pixel cells of Bits Allocated, with the sign that Pixel Representation wants.

    JPEG and JPEG-LS know no sign, and some JPEG 2000 encoders tell the wrong one: there the samples are the
    lowest bits of the cell (PS3.5 8.1.1), and its sign bit is that of Bits Stored.
    """
    if array.shape != _shape(image):
        raise UnreadableError("a frame's stream does not give the pixels that it announces")
    size = image.allocated // 8
    cells = array.astype(f"<u{size}")
    spare = image.allocated - image.stored
    if image.signed and not head.signed and spare and head.precision <= image.stored:
        cells = (cells << spare).view(f"<i{size}") >> spare
    elif head.signed and not image.signed and spare:
        cells &= (1 << image.stored) - 1
    return bytes(cells.tobytes())


_DECODERS: Final[Mapping[str, Decode]] = {
    JPEG: _jpeg,
    JPEG_LS: _jpeg_ls,
    JPEG_2000: _jpeg_2000,
    HTJ2K: _htj2k,
    JPEG_XL: _jpeg_xl,
    RLE: _rle,
    UNCOMPRESSED: _as_it_is,
    DEFLATED: _deflated,
}


def decoder(syntax: str) -> Decode:
    """Of a transfer syntax in `CODINGS`."""
    return _DECODERS[CODINGS[syntax]]
