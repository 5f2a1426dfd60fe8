"""Stored values of grey images to grey levels of a display: modality, VOI and presentation transformations
(PS3.3 C.11.1, C.11.2, C.7.6.16.2.9, C.7.6.16.2.10; the pipeline is that of PS3.4 N.2).

Cells of up to 16 bits go through one table of all that a cell can hold, made once for all objects that say
the same about their values; wider ones and floating point are computed pixel by pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hounsfield.adapters.pixel_values import Image
from hounsfield.adapters.rendering.functional_groups import FrameAttributes
from hounsfield.adapters.rendering.lookup_tables import Table, lookup_table
from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.rendering import Window
from hounsfield.wire.dicomfile.outline import Outline

_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_INTERCEPT, _SLOPE = 0x00281052, 0x00281053
_CENTER, _WIDTH, _FUNCTION = 0x00281050, 0x00281051, 0x00281056
_TRANSFORMATION, _FRAME_VOI = 0x00289145, 0x00289132
_SHAPE = 0x20500020
_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_FLOAT_PADDING, _DOUBLE_PADDING = 0x00280122, 0x00280123
_FUNCTIONS = {"": "linear", "LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}

#: Tables kept, each of up to 64 KiB.
_KEPT = 64


@dataclass(frozen=True)
class GreyLook:
    """How the values of a frame become grey levels. `stored`, `high`, `signed`: of a cell. `window` None:
    from the least to the greatest value. `padding`: stored values, both included, that are background."""

    allocated: int
    stored: int
    high: int
    signed: bool
    slope: float
    intercept: float
    modality: Table | None
    voi: Table | None
    window: Window | None
    inverse: bool
    padding: tuple[float, float] | None

    @property
    def key(self) -> tuple[object, ...]:
        tables = tuple(
            (table.first, table.bits, table.entries.tobytes()) if table is not None else ()
            for table in (self.modality, self.voi)
        )
        return (
            *(self.allocated, self.stored, self.high, self.signed, self.slope, self.intercept),
            *tables,
            *(self.window, self.inverse, self.padding),
        )


def grey_look(frame: FrameAttributes, number: int, image: Image, window: Window | None) -> GreyLook:
    """What the object says, but for a `window` that is asked for. Raises UnreadableError, MalformedError."""
    elements = frame.elements
    change = frame.macro(number, _TRANSFORMATION, (_INTERCEPT, _SLOPE))
    slope, intercept = change.number(_SLOPE, 1.0), change.number(_INTERCEPT, 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        slope, intercept = 1.0, 0.0
    modality = None
    item = elements.item(_MODALITY_LUT)
    if item is not None:
        modality = lookup_table(item, signed=image.signed)
    negative = image.signed or intercept < 0 or slope < 0
    voi, own = None, None
    if window is None:
        macro = frame.macro(number, _FRAME_VOI, (_CENTER, _VOI_LUT))
        item = macro.item(_VOI_LUT)
        voi = lookup_table(item, signed=negative and modality is None) if item is not None else None
        own = _window(macro) if voi is None else None
    shape = elements.text(_SHAPE).upper()
    return GreyLook(
        image.allocated,
        image.stored,
        image.high,
        image.signed,
        slope,
        intercept,
        modality,
        voi,
        window or own,
        image.photometric == "MONOCHROME1" or shape == "INVERSE",
        _padding(elements, signed=image.signed),
    )


def _window(macro: Outline) -> Window | None:
    """The first one, if it is one."""
    centers, widths = macro.numbers(_CENTER), macro.numbers(_WIDTH)
    if not centers or not widths:
        return None
    function = _FUNCTIONS.get(macro.text(_FUNCTION).upper(), "linear")
    center, width = float(centers[0]), float(widths[0])
    if not np.isfinite([center, width]).all() or width < (1 if function == "linear" else 1e-30):
        return None
    return Window(center, width, function)  # type: ignore[arg-type]  # one of the three names


def _padding(elements: Outline, *, signed: bool) -> tuple[float, float] | None:
    for tag in (_FLOAT_PADDING, _DOUBLE_PADDING):
        if values := elements.numbers(tag):
            return values[0], values[0]
    if _PADDING not in elements:
        return None
    kind = "SS" if signed else "US"  # whatever is written: some write the other
    values = elements.numbers(_PADDING, kind)
    if not values:
        return None
    limits = elements.numbers(_PADDING_LIMIT, kind) or values
    return min(values[0], limits[0]), max(values[0], limits[0])


class GreyLevels:
    """Makes grey levels, and keeps the tables for it."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def render(self, cells: Any, look: GreyLook) -> Any:
        """uint8, of the shape of `cells`, by a look that has a window or a VOI table."""
        if cells.dtype.kind == "f":
            return _levels(cells.astype("f8"), look)
        if look.allocated > 16:
            return _levels(stored_values(cells, look).astype("f8"), look)
        return np.take(self.table(look), cells)

    def table(self, look: GreyLook) -> Any:
        """uint8 for each cell there can be."""
        key = look.key
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = _table(look)
            if len(self._tables) > _KEPT:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(key)
        return table


def settled(cells: Any, look: GreyLook, *, fast: bool = False) -> GreyLook:
    """With a window where the object tells none: all of 8 bits and less; else from the least to the greatest
    value that there is, or where it is to be `fast` without the extremes."""
    if look.window is not None or look.voi is not None:
        return look
    plain = look.modality is None and look.slope == 1 and look.intercept == 0
    floating = cells.dtype.kind == "f"
    if not floating and look.stored <= 8 and not look.signed and plain:
        return _with_ends(look, 0, (1 << look.stored) - 1)
    values = cells[np.isfinite(cells)] if floating else stored_values(cells, look)
    if look.padding is not None:
        low, high = look.padding
        values = values[(values < low) | (values > high)]
    if not values.size:
        return _with_ends(look, 0, 1)
    if fast and values.size > 1000:
        ends = np.percentile(values.ravel()[:: max(1, values.size // 65536)], (0.5, 99.5))
    else:
        ends = np.array([values.min(), values.max()], "f8")
    ends = _modality(ends.astype("f8"), look)
    return _with_ends(look, float(ends.min()), float(ends.max()))


def _with_ends(look: GreyLook, low: float, high: float) -> GreyLook:
    width = high - low
    window = Window(low / 2 + high / 2, width, "linear-exact") if width > 0 else Window(low + 1, 1.0)
    return replace(look, window=window)


def stored_values(cells: Any, look: GreyLook) -> Any:
    """Cells without their other bits, with their sign (PS3.5 8.1.1)."""
    size = cells.dtype.itemsize * 8
    if look.stored == size and not look.signed:
        return cells
    left = size - look.high - 1
    kind = f"{'i' if look.signed else 'u'}{size // 8}"
    return (cells << left).astype(kind, copy=False) >> (size - look.stored)


def _table(look: GreyLook) -> Any:
    """Made of what the stored bits can be, then spread over all cells."""
    wide = np.dtype("u2" if look.allocated > 8 else "u1")
    patterns = np.arange(1 << look.stored)
    values = patterns.astype("f8")
    if look.signed:
        half = 1 << (look.stored - 1)
        values = np.where(patterns >= half, patterns - 2 * half, patterns).astype("f8")
    levels = _levels(values, look)
    cells = 1 << (wide.itemsize * 8)
    low_bits = look.high + 1 - look.stored
    if low_bits:
        levels = np.repeat(levels, 1 << low_bits)
    return np.ascontiguousarray(np.tile(levels, cells // len(levels)))


def _modality(values: Any, look: GreyLook) -> Any:
    if look.modality is not None:
        return look.modality(values).astype("f8")
    if look.slope != 1 or look.intercept != 0:
        return values * look.slope + look.intercept
    return values


def _levels(values: Any, look: GreyLook) -> Any:
    """uint8 of stored values (float64)."""
    background = None
    if look.padding is not None:
        background = (values >= look.padding[0]) & (values <= look.padding[1])
    values = _modality(values, look)
    if look.voi is not None:
        share = look.voi(values).astype("f8") / look.voi.highest
    elif look.window is not None:
        share = _windowed(values, look.window)
    else:
        raise UnreadableError("there is nothing that tells how values become grey levels")
    if look.inverse:
        share = 1 - share
    levels = (np.nan_to_num(share, nan=0.0) * 255 + 0.5).astype("u1")
    if background is not None:
        levels[background] = 0
    return levels


def _windowed(values: Any, window: Window) -> Any:
    """From 0 to 1 (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2)."""
    center, width, function = window
    if function == "sigmoid":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "linear":
        if width <= 1:
            return (values > center - 0.5).astype("f8")
        center, width = center - 0.5, width - 1
    return np.clip((values - center) / width + 0.5, 0, 1)
