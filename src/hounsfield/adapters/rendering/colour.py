"""Colour of every photometric interpretation to RGB of 8 bits (PS3.3 C.7.6.3.1.2), and ICC profiles."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np

from hounsfield.adapters.pixel_values import Image
from hounsfield.domain.errors import UnreadableError

_ICC_PROFILE, _OPTICAL_PATHS = 0x00282000, 0x00480105
#: ITU-R BT.601: red and blue of Cr and Cb, green of both, in units of 2**-16.
_RED, _GREEN_B, _GREEN_R, _BLUE = 91881, -22554, -46802, 116130


def to_rgb(array: Any, image: Image) -> Any:
    """uint8 (rows, columns, 3). Raises UnreadableError."""
    if array.ndim != 3 or array.shape[2] != 3:
        raise UnreadableError(f"the colours of {image.photometric[:16]!r} are not rendered")
    if array.dtype.itemsize > 1:
        shift = max(image.high + 1 - 8, 0)
        array = ((array >> shift) & 0xFF).astype("u1")
    match image.photometric:
        case "RGB" | "YBR_ICT" | "YBR_RCT":
            return array
        case "YBR_FULL" | "YBR_FULL_422":
            return _of_ybr(array)
        case "YBR_PARTIAL_422" | "YBR_PARTIAL_420":
            return _of_ybr(_full_range(array))
        case _:
            raise UnreadableError(f"the colours of {image.photometric[:16]!r} are not rendered")


def _of_ybr(array: Any) -> Any:
    luma = (array[..., 0].astype("i4") << 16) + 32768
    blue, red = array[..., 1].astype("i4") - 128, array[..., 2].astype("i4") - 128
    rgb = np.empty(array.shape, "u1")
    rgb[..., 0] = np.clip((luma + _RED * red) >> 16, 0, 255)
    rgb[..., 1] = np.clip((luma + _GREEN_B * blue + _GREEN_R * red) >> 16, 0, 255)
    rgb[..., 2] = np.clip((luma + _BLUE * blue) >> 16, 0, 255)
    return rgb


def _full_range(array: Any) -> Any:
    """Luma of 16 to 235 and chroma of 16 to 240 spread over all of 8 bits."""
    whole = np.empty(array.shape, "u1")
    luma = (array[..., :1].astype("f4") - 16) * (255 / 219)
    chroma = (array[..., 1:].astype("f4") - 128) * (255 / 224) + 128
    whole[..., :1] = np.clip(luma + 0.5, 0, 255)
    whole[..., 1:] = np.clip(chroma + 0.5, 0, 255)
    return whole


def to_srgb(rgb: Any, profile: bytes) -> Any:
    """By the object's profile. Raises UnreadableError for one that cannot be used."""
    try:
        return imagecodecs.cms_transform(
            np.ascontiguousarray(rgb), profile, imagecodecs.cms_profile("srgb"), colorspace="rgb"
        )
    except (RuntimeError, ValueError) as error:
        raise UnreadableError(f"the object's ICC profile cannot be used ({error})") from error


def srgb_profile() -> bytes:
    return bytes(imagecodecs.cms_profile("srgb"))


def icc_profile(elements: Any) -> bytes:
    """Of the object, or of its optical path; b"" without one, or with what cannot be one."""
    profile: bytes = elements.raw(_ICC_PROFILE)
    if not profile and (path := elements.item(_OPTICAL_PATHS)) is not None:
        profile = path.raw(_ICC_PROFILE)
    size = int.from_bytes(profile[:4], "big")
    return profile[:size] if 128 <= size <= len(profile) and profile[36:40] == b"acsp" else b""
