"""Query parameters of rendered resources (PS3.18 8.3.5), and those of WADO-URI that say the same (9.1.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hounsfield.ports.rendering import Rendering, Viewport, Window
from hounsfield.servers.web.problems import Problem

#: Sides of a viewport.
MOST_PIXELS: Final = 8192
THUMBNAIL: Final = Viewport(200, 200)
_FUNCTIONS: Final = {"linear": "linear", "linear-exact": "linear-exact", "sigmoid": "sigmoid"}
_ANNOTATIONS: Final = frozenset({"patient", "technique", "overlay"})
_PROFILES: Final = frozenset({"no", "yes", "srgb"})


def rendering(query: Mapping[str, str]) -> Rendering:
    """Of the parameters of a rendered resource. Raises Problem 400 with the name of the one that is wrong."""
    how = Rendering()
    if text := query.get("window"):
        parts = text.split(",")
        if len(parts) not in (2, 3):
            raise _wrong("window", "center,width,function")
        how = replace(how, window=_window("window", *parts))
    if text := query.get("viewport"):
        how = replace(how, viewport=_viewport(text))
    if text := query.get("quality"):
        how = replace(how, quality=_integer("quality", text, 1, 100))
    if text := query.get("annotation"):
        how = replace(how, annotation=_annotation(text))
    if text := query.get("iccprofile"):
        if text.lower() not in _PROFILES:
            raise _wrong("iccprofile", f"one of {', '.join(sorted(_PROFILES))}")
        how = replace(how, icc=text.lower())
    return how


def thumbnail(query: Mapping[str, str]) -> Rendering:
    """Of the parameters of a thumbnail, which is 200 pixels wide or high where none tells. Raises Problem."""
    how = rendering({name: query[name] for name in ("viewport",) if name in query})
    return replace(how, viewport=how.viewport or THUMBNAIL, quality=80, fast=True)


def uri_rendering(query: Mapping[str, str]) -> Rendering:
    """Of the parameters of a WADO-URI request. Raises Problem 400."""
    how = Rendering()
    if "windowCenter" in query or "windowWidth" in query:
        if not (query.get("windowCenter") and query.get("windowWidth")):
            raise _wrong("windowCenter", "given together with windowWidth")
        how = replace(how, window=_window("windowWidth", query["windowCenter"], query["windowWidth"]))
    if text := query.get("frameNumber"):
        how = replace(how, frames=(_integer("frameNumber", text, 1, 2**31 - 1),))
    if text := query.get("imageQuality"):
        how = replace(how, quality=_integer("imageQuality", text, 1, 100))
    if text := query.get("annotation"):
        how = replace(how, annotation=_annotation(text))
    width, height = (
        _integer(name, query[name], 1, MOST_PIXELS) if query.get(name) else None
        for name in ("columns", "rows")
    )
    viewport = Viewport(width, height)
    if text := query.get("region"):
        try:
            left, top, right, bottom = (_number("region", part) for part in text.split(","))
        except ValueError as error:
            raise _wrong("region", "xmin,ymin,xmax,ymax") from error
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise _wrong("region", "xmin,ymin,xmax,ymax from 0.0 to 1.0, and the least first")
        viewport = Viewport(width, height, left, top, right - left, bottom - top, relative=True)
    return replace(how, viewport=viewport) if viewport != Viewport() else how


def frame_numbers(text: str) -> tuple[int, ...]:
    """Of the path. Raises Problem 400."""
    numbers = tuple(_integer("the frame list", part, 1, 2**31 - 1) for part in text.split(",")[:10_001])
    if len(numbers) > 10_000:
        raise _wrong("the frame list", "at most 10000 frames")
    return numbers


def _window(name: str, center: str, width: str, function: str = "linear") -> Window:
    function = function.strip().lower().replace("_", "-")
    if function not in _FUNCTIONS:
        raise _wrong(name, f"with one of the functions {', '.join(_FUNCTIONS)}")
    window = Window(_number(name, center), _number(name, width), function)  # type: ignore[arg-type]  # one of the names
    if window.width < 1 if function == "linear" else window.width <= 0:
        raise _wrong(name, "of a width of at least 1, or for other functions than linear above 0")
    return window


def _viewport(text: str) -> Viewport:
    parts = text.split(",")
    if len(parts) not in (2, 6):
        raise _wrong("viewport", "vw,vh or vw,vh,sx,sy,sw,sh")
    width, height = (_integer("viewport", part, 1, MOST_PIXELS) if part else None for part in parts[:2])
    if len(parts) == 2:
        return Viewport(width, height)
    x, y, across, down = (_number("viewport", part) if part.strip() else None for part in parts[2:])
    if across == 0 or down == 0:
        raise _wrong("viewport", "a region of some width and height")
    return Viewport(width, height, x or 0, y or 0, across, down)


def _annotation(text: str) -> frozenset[str]:
    """What is asked for; names that are none are left out (PS3.18 8.3.5.1.1)."""
    return _ANNOTATIONS.intersection(part.strip().lower() for part in text.split(","))


def _integer(name: str, text: str, least: int, most: int) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 10 or not least <= int(text) <= most:
        raise _wrong(name, f"a whole number from {least} to {most}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        number = float(text) if len(text) <= 40 else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e15:
        raise _wrong(name, "made of numbers")
    return number


def _wrong(name: str, wanted: str) -> Problem:
    return Problem(400, "A parameter cannot be used", f"{name} must be {wanted}")
