"""Arrays to files of JPEG, PNG, GIF and JPEG XL, with the ICC profile where the format holds one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import pack
from typing import Any

import imagecodecs
import numpy as np

from hounsfield.domain.errors import UnreadableError

#: Sides of an image that the formats hold.
_LARGEST_SIDE = 65500
#: Bytes of a profile in one APP2 segment of JPEG (ICC.1 B.4).
_SEGMENT = 65519


def encode(images: Sequence[Any], media_type: str, quality: int, profile: bytes, delay: int) -> bytes:
    """uint8 images, (rows, columns) or (rows, columns, 3), all of one shape; several for GIF alone, `delay`
    hundredths of a second apart. Raises UnreadableError."""
    first = np.ascontiguousarray(images[0])
    if max(first.shape[:2]) > _LARGEST_SIDE:
        raise UnreadableError("the image is larger than what the format holds")
    match media_type:
        case "image/jpeg":
            return _jpeg(first, quality, profile)
        case "image/png":
            return _png(first, profile)
        case "image/gif":
            return _gif(images, delay)
        case "image/jxl":
            return bytes(imagecodecs.jpegxl_encode(first, level=quality, numthreads=1, effort=3))
    raise UnreadableError(f"{media_type} is no image that is made here")


def _jpeg(image: Any, quality: int, profile: bytes) -> bytes:
    if image.ndim == 2:
        stream = bytes(imagecodecs.jpeg8_encode(image, level=quality))
    else:
        stream = bytes(
            imagecodecs.jpeg8_encode(image, level=quality, subsampling="444" if quality >= 90 else "420")
        )
    if not profile:
        return stream
    parts = [profile[at : at + _SEGMENT] for at in range(0, len(profile), _SEGMENT)]
    if len(parts) > 255:
        return stream
    segments = [
        b"\xff\xe2" + pack(">H", len(part) + 16) + b"ICC_PROFILE\0" + bytes((n, len(parts))) + part
        for n, part in enumerate(parts, 1)
    ]
    place = 2
    if stream[2:4] == b"\xff\xe0":  # JFIF comes first
        place = 4 + int.from_bytes(stream[4:6], "big")
    return stream[:place] + b"".join(segments) + stream[place:]


def _png(image: Any, profile: bytes) -> bytes:
    """As fast as can be: a reader who asks for PNG wants no loss, not the smallest file."""
    stream = bytes(imagecodecs.png_encode(image, level=1, strategy=3, filter=16))
    if not profile:
        return stream
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = pack(">I", len(body) - 4) + body + pack(">I", zlib.crc32(body))
    behind_header = 8 + 25
    return stream[:behind_header] + chunk + stream[behind_header:]


def _gif(images: Sequence[Any], delay: int) -> bytes:
    """GIF89a with one colour table: all greys, or a cube of 6 x 7 x 6 colours."""
    grey = images[0].ndim == 2
    colours = np.repeat(np.arange(256, dtype="u1")[:, None], 3, axis=1) if grey else _cube()
    indexed = [image if grey else _indexed(image) for image in images]
    rows, columns = indexed[0].shape
    pieces = [b"GIF89a", pack("<HHBBB", columns, rows, 0xF7, 0, 0), colours.tobytes()]
    if len(indexed) > 1:  # for ever
        pieces.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
    for image in indexed:
        pieces.append(b"\x21\xf9\x04" + pack("<BHBB", 4, min(delay, 0xFFFF), 0, 0))
        pieces.append(_gif_image(image, colours))
    return b"".join(pieces) + b"\x3b"


def _gif_image(image: Any, colours: Any) -> bytes:
    """Image descriptor and compressed indices, taken out of a file of one image."""
    stream = bytes(imagecodecs.gif_encode(np.ascontiguousarray(image), colormap=colours))
    place = 13 + (3 << (stream[10] & 7) + 1 if stream[10] & 0x80 else 0)
    while stream[place] == 0x21:  # extensions
        place += 2
        while stream[place]:
            place += stream[place] + 1
        place += 1
    if stream[place] != 0x2C:
        raise UnreadableError("the image cannot be written as GIF")
    local = stream[place + 9]
    if local & 0x80:  # its own colour table is the one that all share
        behind = place + 10 + (3 << (local & 7) + 1)
        return stream[place : place + 9] + b"\0" + stream[behind:-1]
    return stream[place:-1]


def _cube() -> Any:
    red, green, blue = np.meshgrid(np.arange(6), np.arange(7), np.arange(6), indexing="ij")
    cube = np.stack([red * 51, green * 42.5, blue * 51], axis=-1).reshape(-1, 3)
    return np.concatenate([cube, np.zeros((4, 3))]).astype("u1")


def _indexed(image: Any) -> Any:
    """Nearest colours of the cube, dithered by an ordered pattern so that gradients do not band."""
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 15 / 32
    rows, columns = image.shape[:2]
    pattern = np.tile(bayer, (-(-rows // 4), -(-columns // 4)))[:rows, :columns]
    levels = [
        np.clip(np.rint(image[..., n] * ((most - 1) / 255) + pattern * 0.8), 0, most - 1).astype("u1")
        for n, most in enumerate((6, 7, 6))
    ]
    return (levels[0] * 42 + levels[1] * 6 + levels[2]).astype("u1")
