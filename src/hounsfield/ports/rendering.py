"""Stored objects as what a browser shows (PS3.18 8.7.4), and their frames one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from hounsfield.ports.blobs import Piece

#: Media types of images that are made; the first is what is sent where the client has no wish.
STILL_TYPES = ("image/jpeg", "image/png", "image/gif", "image/jxl")
#: Those that hold several frames, one after the other.
MOVING_TYPES = ("image/gif",)


class Window(NamedTuple):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3; `width` is greater than 0, for "linear" at least 1."""

    center: float
    width: float
    function: Literal["linear", "linear-exact", "sigmoid"] = "linear"


class Viewport(NamedTuple):
    """PS3.18 8.3.5.1.3: the largest size of the result in pixels, and the region of the image that it shows.

    `width`, `height` None: that of the region. `source_width`, `source_height` None: up to the image's edge;
    negative: that many pixels, mirrored. `relative`: the region is told in parts of the image's width and
    height, not in pixels.
    """

    width: int | None = None
    height: int | None = None
    source_x: float = 0
    source_y: float = 0
    source_width: float | None = None
    source_height: float | None = None
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is wanted of one object.

    `media_type`: one of those that `Renderer.media_types` gives. `frames`: from 1; () means all for types
    that hold several, else the representative one. `quality`: 1 to 100, of lossy types. `annotation`: of
    "patient", "technique" and "overlay", burnt into the image. `icc`: "no", "yes" (the object's own profile,
    or sRGB for colour that has none), "srgb" (converted), "" (the object's own, if any). `fast`: less exact
    and smaller, as a thumbnail may be. `link`: of a report's references to other objects, with {study},
    {series} and {instance}; '' for plain text.
    """

    media_type: str = "image/jpeg"
    frames: tuple[int, ...] = ()
    window: Window | None = None
    viewport: Viewport | None = None
    quality: int = 90
    annotation: frozenset[str] = frozenset()
    icc: str = ""
    fast: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class DataSetReader:
    """A data set that need not be in memory: `read(offset, length)` gives exactly those bytes of it."""

    read: Callable[[int, int], Piece]
    size: int


class Renderer(Protocol):
    """Thread-safe. Calls take long, and memory, though not of this process: beside the event loop."""

    def media_types(self, sop_class_uid: str, transfer_syntax_uid: str) -> tuple[str, ...]:
        """Into what an object of this class and syntax is rendered, best first; () for nothing. Of video, PDF
        and CDA it is what is stored, which `servers` pass through without calling `render`."""
        ...

    def render(self, data_set: Piece | DataSetReader, transfer_syntax_uid: str, how: Rendering) -> bytes:
        """One image, or a page of HTML or SVG. Raises UnreadableError where the object cannot be rendered
        (no pixels, a broken stream, more than is rendered for anybody), NotFoundError for a frame that is
        not there."""
        ...

    async def render_here(self, data_set: Piece, transfer_syntax_uid: str, how: Rendering) -> bytes:
        """The same on an event loop, which it does not hold up, for a small data set that is in memory."""
        ...

    def card(self, sop_class_uid: str, transfer_syntax_uid: str, how: Rendering) -> bytes:
        """A picture that says in words what an object of this class and syntax is, as large as the viewport
        of `how`: the thumbnail of what is no image."""
        ...

    def frames(
        self,
        data_set: Piece | DataSetReader,
        transfer_syntax_uid: str,
        frames: Sequence[int],
        target_syntax: str,
    ) -> list[bytes]:
        """The frames (from 1) as they stand in native Pixel Data of `target_syntax` (Explicit VR Little
        Endian and its like), or as one compressed stream each. Raises UnreadableError, NotFoundError."""
        ...
