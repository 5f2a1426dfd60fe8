"""The fragments of encapsulated Pixel Data in memory (`wire.dicomfile.frames`), in terms of our errors."""

from __future__ import annotations

from collections.abc import Sequence

from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile import frames
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.frames import Fragments
from hounsfield.wire.dicomfile.outline import Source

__all__ = ["Fragments", "frames_of", "read_fragments"]


def read_fragments(data: bytes, position: int, end: int) -> Fragments:
    """The items at `position`. Raises UnreadableError."""
    view = memoryview(data)
    source = Source(lambda offset, length: view[offset : offset + length], len(view))
    try:
        return frames.read_fragments(source, position, end)
    except MalformedError as error:
        raise UnreadableError(str(error)) from error


def frames_of(fragments: Fragments, count: int, extended: Sequence[int]) -> list[list[tuple[int, int]]]:
    """The fragments of each of `count` frames. Raises UnreadableError."""
    try:
        return frames.split_frames(fragments, count, extended)
    except MalformedError as error:
        raise UnreadableError(error.what) from error
