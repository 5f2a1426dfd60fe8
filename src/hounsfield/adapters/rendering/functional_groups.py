"""What an object says about one frame: in its functional groups (PS3.3 C.7.6.16), else at the top level."""

from __future__ import annotations

from hounsfield.wire.dicomfile.outline import Outline

_SHARED, _PER_FRAME = 0x52009229, 0x52009230


class FrameAttributes:
    """Of one object; `of(number)` for the frame of that number (from 1)."""

    def __init__(self, elements: Outline) -> None:
        self.elements = elements
        self.shared = elements.item(_SHARED)

    def of(self, number: int) -> tuple[Outline, ...]:
        """Where to look for a macro, nearest first: the frame's own group, the shared one."""
        own = self.elements.item(_PER_FRAME, number - 1)
        return tuple(group for group in (own, self.shared) if group is not None)

    def macro(self, number: int, sequence: int, wanted: tuple[int, ...]) -> Outline:
        """The item of the macro `sequence` that counts for the frame, if it has one of the attributes
        `wanted`; else the data set itself."""
        for group in self.of(number):
            item = group.item(sequence)
            if item is not None and any(tag in item for tag in wanted):
                return item
        return self.elements
