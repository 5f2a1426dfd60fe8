"""The two requests of the renderer, answered in a pixel process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hounsfield.adapters.pixel_data_set import DataSet
from hounsfield.adapters.pixel_encoding import as_encoded, encoded_frames
from hounsfield.adapters.rendering import lettering
from hounsfield.adapters.rendering.encoding import encode
from hounsfield.adapters.rendering.frame_pixels import FramePixels, outline_of
from hounsfield.adapters.rendering.kinds import Kind, kind_of
from hounsfield.adapters.rendering.report import presentation_state, report
from hounsfield.adapters.rendering.still import Still
from hounsfield.adapters.rendering.waveform import waveform
from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.rendering import STILL_TYPES, Rendering, Viewport, Window

_SOP_CLASS = 0x00080016
#: Sides of a picture whose size nobody told.
_CARD = 200


def rendered(request: Mapping[str, Any], data_set: DataSet) -> bytes:
    """Raises UnreadableError, NotFoundError, MalformedError."""
    how = _rendering(request["how"])
    syntax = request["syntax"]
    if how.media_type in STILL_TYPES:
        return Still(data_set, syntax, how).file()
    elements, _ = outline_of(data_set, syntax)
    kind = kind_of(elements.text(_SOP_CLASS), syntax)
    if how.media_type == "text/html" and kind == Kind.REPORT:
        return report(elements, how.link)
    if how.media_type == "text/html" and kind == Kind.STATE:
        return presentation_state(elements, how.link)
    if how.media_type == "image/svg+xml" and kind == Kind.WAVEFORM:
        return waveform(elements)
    raise UnreadableError(f"the object is not rendered as {how.media_type}")


def card(request: Mapping[str, Any]) -> bytes:
    """As large as the viewport, else as a thumbnail."""
    how = _rendering(request["how"])
    width, height = how.viewport[:2] if how.viewport is not None else (None, None)
    width, height = width or height or _CARD, height or width or _CARD
    return encode([lettering.card(request["words"], width, height)], how.media_type, how.quality, b"", 0)


def frames(request: Mapping[str, Any], data_set: DataSet) -> Iterator[tuple[bytes, ...]]:
    """The frames asked for, natively or as streams of another transfer syntax. Raises UnreadableError,
    NotFoundError, MalformedError."""
    elements, read = outline_of(data_set, request["syntax"])
    pixels = FramePixels(elements, read, request["syntax"])
    target = request["target"]
    for number in request["frames"]:
        cells, image = pixels.decoded(number)
        if target:
            as_encoded(image, target)
            cells = b"".join(encoded_frames(iter((cells,)), image, target))
        yield (cells,)


def _rendering(how: Mapping[str, Any]) -> Rendering:
    window, viewport = how["window"], how["viewport"]
    return Rendering(
        media_type=how["media_type"],
        frames=tuple(how["frames"]),
        window=Window(*window) if window else None,
        viewport=Viewport(*viewport) if viewport else None,
        quality=how["quality"],
        annotation=frozenset(how["annotation"]),
        icc=how["icc"],
        fast=how["fast"],
        link=how["link"],
    )
