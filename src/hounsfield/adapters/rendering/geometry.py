"""The region of an image that is wanted, mirrored and scaled to its viewport (PS3.18 8.3.5.1.3).

An image for which no size is asked is sent in its own: one pixel for each value of the matrix. One that is
fitted into a size keeps the proportions of what it shows (PS3.3 C.7.6.3.1.7), so its pixels become square.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.rendering import Viewport
from hounsfield.wire.dicomfile.outline import Outline

_ASPECT_RATIO, _SPACING, _IMAGER_SPACING, _SCANNED_SPACING = 0x00280034, 0x00280030, 0x00181164, 0x00182010
#: Pixels of a result, whatever is asked for.
LARGEST_RESULT = 1 << 26


def aspect_ratio(elements: Outline, measures: Outline) -> float:
    """Height of a pixel by its width (PS3.3 C.7.6.3.1.7); 1 where nothing tells."""
    places = (
        (elements, _ASPECT_RATIO),
        (measures, _SPACING),
        (elements, _IMAGER_SPACING),
        (elements, _SCANNED_SPACING),
    )
    for where, tag in places:
        values = where.numbers(tag)
        if len(values) == 2 and values[0] > 0 and values[1] > 0:
            ratio = values[0] / values[1]
            return float(ratio) if 0.05 <= ratio <= 20 else 1.0
    return 1.0


def fit(image: Any, viewport: Viewport, ratio: float) -> Any:
    """uint8 (rows, columns[, 3]) -> the same of the region asked for, as large as fits the viewport, pixels
    square. Raises UnreadableError for a region that has no pixel of the image."""
    image, width, height = _region(image, viewport)
    if viewport.width is None and viewport.height is None:
        return image
    across, down = float(width), height * ratio
    scale = min(
        (viewport.width or LARGEST_RESULT) / across if viewport.width else np.inf,
        (viewport.height or LARGEST_RESULT) / down if viewport.height else np.inf,
    )
    columns, rows = max(round(across * scale), 1), max(round(down * scale), 1)
    if rows * columns > LARGEST_RESULT:
        raise UnreadableError(f"an image of {columns} x {rows} pixels is more than is rendered for anybody")
    return resized(image, rows, columns)


def _region(image: Any, viewport: Viewport) -> tuple[Any, int, int]:
    rows, columns = image.shape[:2]
    across, down = (columns, rows) if viewport.relative else (1, 1)
    left, right, mirrored = _span(viewport.source_x, viewport.source_width, across, columns)
    top, bottom, upside_down = _span(viewport.source_y, viewport.source_height, down, rows)
    if left >= right or top >= bottom:
        raise UnreadableError("the region asked for lies outside of the image")
    image = image[top:bottom, left:right]
    if mirrored:
        image = image[:, ::-1]
    if upside_down:
        image = image[::-1]
    return np.ascontiguousarray(image), right - left, bottom - top


def _span(begin: float, length: float | None, unit: int, whole: int) -> tuple[int, int, bool]:
    first = min(max(round(begin * unit), 0), whole)
    if length is None:
        return first, whole, False
    return first, min(max(round((begin + abs(length)) * unit), 0), whole), length < 0


def resized(image: Any, rows: int, columns: int) -> Any:
    """By the mean of what each pixel covers where it becomes smaller, by interpolation where larger."""
    if rows <= image.shape[0]:
        image = _along(image, rows, 0)
        return _rounded(_along(image, columns, 1))
    image = _along(image, columns, 1)
    return _rounded(_along(image, rows, 0))


def _rounded(image: Any) -> Any:
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(np.clip(image + 0.5, 0, 255).astype("u1"))


def _along(image: Any, size: int, axis: int) -> Any:
    """Float of the new size along one axis."""
    old = image.shape[axis]
    if size == old:
        return image
    if size > old:
        at = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
        low = np.floor(at).astype("i4")
        share = (at - low).astype("f4").reshape([-1 if n == axis else 1 for n in range(image.ndim)])
        below = np.take(image, low, axis).astype("f4")
        above = np.take(image, np.minimum(low + 1, old - 1), axis).astype("f4")
        return below + (above - below) * share
    if old % size == 0:
        shape = (*image.shape[:axis], size, old // size, *image.shape[axis + 1 :])
        return image.reshape(shape).mean(axis + 1, dtype="f4")
    edges = np.arange(size + 1) * (old / size)
    sums = np.cumsum(image, axis, dtype="f8")
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    low = np.minimum(np.floor(edges).astype("i4"), old - 1)
    share = (edges - low).reshape([-1 if n == axis else 1 for n in range(image.ndim)])
    at_edges = np.take(sums, low, axis) * (1 - share) + np.take(sums, low + 1, axis) * share
    return (np.diff(at_edges, axis=axis) * (size / old)).astype("f4")
