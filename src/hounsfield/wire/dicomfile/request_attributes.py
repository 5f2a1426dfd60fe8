"""The first item of Request Attributes Sequence (0040,0275): which order an object belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Final

from hounsfield.wire.dicomfile.errors import LimitError, TruncatedError
from hounsfield.wire.dicomfile.layouts import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    Layout,
    looks_explicit,
)
from hounsfield.wire.dicomfile.skipping import MAX_STEPS, OddError, skip_sequence

CHARACTER_SET: Final = 0x00080005
REQUEST_ATTRIBUTES: Final = 0x00400275

#: What is collected from it: tag -> VR of PS3.6.
REQUEST_TAGS: Final[Mapping[int, str]] = {
    0x00400009: "SH",  # Scheduled Procedure Step ID
    0x00401001: "SH",  # Requested Procedure ID
}
_WANTED_OF_REQUEST: Final = {CHARACTER_SET: "CS", **REQUEST_TAGS}

#: No wanted value is longer, whatever its VR allows.
MAX_VALUE: Final = 0x10000

#: What is found, before it is decoded: tag, VR, value field.
Found = list[tuple[int, str, bytes]]


def collect_request(
    data: Buffer, position: int, length: int, layout: Layout, implicit: bool, request: Found
) -> None:
    """Append to `request` what is wanted of the first item of the sequence whose value field begins at
    `position`. Raises TruncatedError, LimitError, OddError."""
    size = len(data)
    if length == 0:
        return
    if length != UNDEFINED:
        size = min(size, position + length)
    if position + 8 > size:
        raise TruncatedError("the data ends within Request Attributes Sequence", position, REQUEST_ATTRIBUTES)
    group, element, item_length = layout.implicit_head(data, position)
    tag = group << 16 | element
    if tag == SEQUENCE_END:
        return
    if tag != ITEM:
        raise OddError
    position += 8
    end = size if item_length == UNDEFINED else position + item_length
    if end > size:
        raise TruncatedError("the data ends within Request Attributes Sequence", size, REQUEST_ATTRIBUTES)
    _collect_item(data, position, end, item_length == UNDEFINED, layout, implicit, request)


def _collect_item(
    data: Buffer, position: int, end: int, undefined: bool, layout: Layout, implicit: bool, request: Found
) -> None:
    """Collect from one item [position, end); one of undefined length ends with its delimiter."""
    if not implicit and position + 8 <= end:
        implicit = not looks_explicit(data, position)
    wanted = _WANTED_OF_REQUEST
    for _ in repeat(None, MAX_STEPS):
        body = position + 8
        if body > end:
            if undefined or position != end:
                raise TruncatedError("an item ends within an element", position, REQUEST_ATTRIBUTES)
            return
        group, element, length = layout.implicit_head(data, position)
        tag = group << 16 | element
        if tag == ITEM_END:
            return
        vr: str | None = wanted.get(tag)
        if not implicit:
            _, _, number, length = layout.explicit_head(data, position)
            vr = layout.short_vrs.get(number)
            if vr is None:
                vr = layout.long_vrs.get(number)
                if vr is None:
                    raise OddError
                if body + 4 > end:
                    raise TruncatedError("an item ends within a length", position, tag)
                length = layout.long_length(data, body)[0]
                body += 4
        if length == UNDEFINED:
            position = skip_sequence(data, body, layout, implicit)
            continue
        position = body + length
        if position > end:
            raise TruncatedError("an item ends within a value", body, tag)
        if tag in wanted and vr is not None:
            if length > MAX_VALUE:
                raise LimitError(f"a value of {length} bytes", body, tag)
            request.append((tag, vr, bytes(data[body:position])))
    raise LimitError(f"more than {MAX_STEPS} elements in an item", position)
