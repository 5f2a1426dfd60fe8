"""Overlay planes, groups 6000 to 601E (PS3.3 C.9.2): graphics over an image, drawn into it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hounsfield.adapters.rendering.frame_pixels import LARGEST_PIXELS
from hounsfield.wire.dicomfile.outline import Outline

#: Elements of an overlay group, by their number in it.
_ROWS, _COLUMNS, _FRAMES, _TYPE, _ORIGIN, _FRAME_ORIGIN = 0x10, 0x11, 0x15, 0x40, 0x50, 0x51
_BIT_POSITION, _DATA = 0x0102, 0x3000
_GROUPS = range(0x60000000, 0x60200000, 0x20000)


class Overlay(NamedTuple):
    """`mask`: bool (rows, columns). `row`, `column`: where its first pixel lies in the image, from 0."""

    mask: Any
    row: int
    column: int


def overlays(elements: Outline, number: int, cells: Any) -> Iterator[Overlay]:
    """Those of the frame `number`, graphics and regions alike. `cells`: the frame's, in whose unused bits
    old objects keep theirs. What makes no sense is left out: an image without its graphics is better than
    none."""
    for group in _GROUPS:
        rows, columns = (int(elements.number(group + n, 0)) for n in (_ROWS, _COLUMNS))
        origin = elements.numbers(group + _ORIGIN, "SS") or (1, 1)
        if len(origin) < 2 or not 0 < rows * columns <= LARGEST_PIXELS:
            continue
        mask = None
        if group + _DATA in elements:
            mask = _plane(elements, group, rows * columns, number)
        else:
            bit = int(elements.number(group + _BIT_POSITION, 0))
            if cells.ndim == 2 and cells.dtype.kind == "u" and 0 < bit < cells.dtype.itemsize * 8:
                mask = ((cells >> bit) & 1).astype(bool)
                if mask.shape != (rows, columns):
                    mask = None
        if mask is not None:
            yield Overlay(mask.reshape(rows, columns), int(origin[0]) - 1, int(origin[1]) - 1)


def _plane(elements: Outline, group: int, pixels: int, number: int) -> Any:
    """The bits of one overlay frame; None where it has none for the frame `number`."""
    frames = int(elements.number(group + _FRAMES, 1)) or 1
    first = int(elements.number(group + _FRAME_ORIGIN, 1)) or 1
    index = number - first if group + _FRAMES in elements and frames > 1 else 0
    if not 0 <= index < frames:
        return None
    data = np.frombuffer(elements.raw(group + _DATA), "u1")
    if elements.layout.order == ">" and elements.vr(group + _DATA) == "OW":
        data = data[: data.size // 2 * 2].view("u2").byteswap().view("u1")
    begin, end = index * pixels, (index + 1) * pixels
    if end > data.size * 8:
        return None
    bits = np.unpackbits(data[begin // 8 : -(-end // 8)], bitorder="little")
    return bits[begin % 8 : begin % 8 + pixels].astype(bool)


def draw(levels: Any, overlay: Overlay) -> None:
    """White into a grey or RGB image of uint8, as far as it lies within."""
    rows, columns = levels.shape[:2]
    height, width = overlay.mask.shape
    top, left = max(overlay.row, 0), max(overlay.column, 0)
    bottom, right = min(overlay.row + height, rows), min(overlay.column + width, columns)
    if top >= bottom or left >= right:
        return
    mask = overlay.mask[
        top - overlay.row : bottom - overlay.row, left - overlay.column : right - overlay.column
    ]
    levels[top:bottom, left:right][mask] = 255
