"""Images of an object: from its data set to the file that is sent."""

from __future__ import annotations

from typing import Any

import numpy as np

from hounsfield.adapters.pixel_data_set import DataSet
from hounsfield.adapters.rendering import colour, geometry
from hounsfield.adapters.rendering.annotation import texts
from hounsfield.adapters.rendering.encoding import encode
from hounsfield.adapters.rendering.frame_pixels import FramePixels, outline_of
from hounsfield.adapters.rendering.functional_groups import FrameAttributes
from hounsfield.adapters.rendering.grey import GreyLevels, grey_look, settled, stored_values
from hounsfield.adapters.rendering.lettering import annotated
from hounsfield.adapters.rendering.lookup_tables import palette
from hounsfield.adapters.rendering.overlays import draw, overlays
from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.ports.rendering import MOVING_TYPES, Rendering, Window

_REPRESENTATIVE = 0x00286010
_PIXEL_PRESENTATION = 0x00089205
_PALETTE_DESCRIPTOR = 0x00281101
_PIXEL_MEASURES = 0x00289110
_FRAME_TIME, _FRAME_TIME_VECTOR, _DISPLAY_RATE, _CINE_RATE = 0x00181063, 0x00181065, 0x00082144, 0x00180040
#: Frames and pixels of one moving image.
_MOST_FRAMES, _MOST_PIXELS = 2000, 1 << 28
#: Annotations that are text.
_WRITTEN = frozenset({"patient", "technique"})
#: Hundredths of a second between frames where the object does not tell.
_DELAY = 10

_levels = GreyLevels()


class Still:
    """One object and how it is wanted."""

    def __init__(self, data_set: DataSet, syntax: str, how: Rendering) -> None:
        self.elements, read = outline_of(data_set, syntax)
        self.pixels = FramePixels(self.elements, read, syntax)
        self.attributes = FrameAttributes(self.elements)
        self.how = how
        self._window: Window | None = None
        self._shown_window: Window | None = None

    def file(self) -> bytes:
        """Raises UnreadableError, NotFoundError, MalformedError."""
        how = self.how
        numbers = self._numbers()
        images = [self._image(number) for number in numbers]
        profile = b""
        if images[0].ndim == 3 and how.icc != "no":
            own = colour.icc_profile(self.elements)
            if how.icc == "srgb" and own:
                images = [colour.to_srgb(image, own) for image in images]
            ours = how.icc == "srgb" or (how.icc == "yes" and not own)
            profile = colour.srgb_profile() if ours else own
        return encode(images, how.media_type, how.quality, profile, self._delay())

    def _numbers(self) -> list[int]:
        frames, wanted = self.pixels.map.frames, self.how.frames
        for number in wanted:
            if not 1 <= number <= frames:
                raise NotFoundError(f"there is no frame {number}: the object has {frames}")
        if self.how.media_type not in MOVING_TYPES:
            if wanted:
                return [wanted[0]]
            chosen = self.elements.integer(_REPRESENTATIVE, 1)
            return [chosen if 1 <= chosen <= frames else 1]
        found = self.pixels.map
        count = len(wanted) or frames
        if count > _MOST_FRAMES or count * found.rows * found.columns > _MOST_PIXELS:
            raise UnreadableError(f"{count} frames are more than go into one image: ask for some of them")
        return list(wanted) or list(range(1, frames + 1))

    def _image(self, number: int) -> Any:
        cells = self.pixels.array(number)
        image = self._shown(cells, number)
        if "overlay" in self.how.annotation:
            image = image if image.flags.writeable else image.copy()
            for overlay in overlays(self.elements, number, cells):
                draw(image, overlay)
        viewport = self.how.viewport
        if viewport is not None:
            image = geometry.fit(image, viewport, self._aspect_ratio(number))
        if self.how.annotation & _WRITTEN:  # last, so that nothing cuts it off
            lines = texts(self.attributes, number, self.how.annotation, self._shown_window)
            image = annotated(image, lines)
        return image

    def _shown(self, cells: Any, number: int) -> Any:
        image = self.pixels.image
        if image.photometric == "PALETTE COLOR" and cells.ndim == 2:
            values = _indices(cells, image)
            return np.take(palette(self.elements).table(_reach(values)), values, axis=0)
        if cells.ndim == 3:
            return colour.to_rgb(cells, image)
        look = grey_look(self.attributes, number, image, self.how.window or self._window)
        if look.window is None and look.voi is None:  # one for all frames, lest they flicker
            look = settled(cells, look, fast=self.how.fast)
            self._window = look.window
        self._shown_window = look.window
        grey = _levels.render(cells, look)
        if self._supplemented():
            return self._with_colours(grey, stored_values(cells, look))
        return grey

    def _supplemented(self) -> bool:
        """Whether values beyond the grey ones have colours (PS3.3 C.7.6.19, C.8.16.2)."""
        presentation = self.elements.text(_PIXEL_PRESENTATION).upper()
        return presentation in ("COLOR", "MIXED") and _PALETTE_DESCRIPTOR in self.elements

    def _with_colours(self, grey: Any, values: Any) -> Any:
        extra = palette(self.elements)
        rgb = np.repeat(grey[..., None], 3, axis=2)
        chosen = values >= extra.first  # beyond the last entry, that one counts as in all tables
        index = np.minimum(values[chosen].astype("i8") - extra.first, len(extra.colours) - 1)
        rgb[chosen] = extra.colours[index]
        return rgb

    def _aspect_ratio(self, number: int) -> float:
        measures = self.attributes.macro(number, _PIXEL_MEASURES, (0x00280030,))
        return geometry.aspect_ratio(self.elements, measures)

    def _delay(self) -> int:
        """Hundredths of a second from frame to frame (PS3.3 C.7.6.5)."""
        elements = self.elements
        time = elements.number(_FRAME_TIME, 0)
        if time <= 0:
            vector = [step for step in elements.numbers(_FRAME_TIME_VECTOR)[1:] if step > 0]
            time = sum(vector) / len(vector) if vector else 0
        if time <= 0:
            rate = elements.number(_DISPLAY_RATE, 0) or elements.number(_CINE_RATE, 0)
            time = 1000 / rate if rate > 0 else 0
        return max(round(time / 10), 2) if 0 < time < 1e6 else _DELAY


def _indices(cells: Any, image: Any) -> Any:
    """The inputs of a palette: unsigned, without other bits."""
    shift = image.high + 1 - image.stored
    if shift or image.stored < cells.dtype.itemsize * 8:
        return (cells >> shift) & ((1 << image.stored) - 1)
    return cells


def _reach(values: Any) -> int:
    most = int(values.max()) + 1
    if most > 1 << 16:
        raise UnreadableError("the inputs of a palette have more than 16 bits")
    return most
