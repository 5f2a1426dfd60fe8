"""Stepping over sequences and fragments of undefined length (PS3.5 7.5): no recursion, within limits."""

from __future__ import annotations

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

#: Sequences within sequences. Real objects reach 10.
MAX_DEPTH: Final = 64
#: Elements, items and delimiters walked in one call.
MAX_STEPS: Final = 200_000


class OddError(Exception):
    """Not as the transfer syntax says: only a tolerant reader knows what it means. Never leaves this room."""


def skip_sequence(
    data: Buffer, position: int, layout: Layout, implicit: bool, *, steps: int = MAX_STEPS
) -> int:
    """The offset behind the Sequence Delimitation Item that ends the value field at `position`.

    `implicit`: the VR encoding around it. An item of an explicit data set may be implicit all the same: UN of
    undefined length is (PS3.5 6.2.2), and pydicom looks at each item too. Whatever has a length is skipped
    by it; so every open item is one of undefined length.
    Raises TruncatedError, LimitError, OddError.
    """
    size = len(data)
    _, explicit_head, implicit_head, long_length, short_vrs, long_vrs = layout
    outer: list[bool] = []  # for each sequence around the current one: whether its open item is implicit
    in_item = False
    sequence_implicit = item_implicit = implicit
    for _ in repeat(None, steps):
        body = position + 8
        if body > size:
            raise TruncatedError("the data ends within a sequence of undefined length", size)
        group, element, length = implicit_head(data, position)
        tag = group << 16 | element
        if not in_item:
            if tag == ITEM:
                if length != UNDEFINED:
                    position = body + length
                    continue
                position = body
                in_item = True
                item_implicit = sequence_implicit
                if not item_implicit and position + 8 <= size:
                    item_implicit = not looks_explicit(data, position)
            elif tag == SEQUENCE_END:
                if not outer:
                    return body
                item_implicit = outer.pop()
                in_item = True
                position = body
            else:
                raise OddError
            continue
        if tag == ITEM_END:
            in_item = False
            position = body
            sequence_implicit = outer[-1] if outer else implicit
            continue
        if not item_implicit:
            _, _, number, length = explicit_head(data, position)
            if number not in short_vrs:
                if number not in long_vrs:
                    raise OddError
                if body + 4 > size:
                    raise TruncatedError("the data ends within a length", position, tag)
                length = long_length(data, body)[0]
                body += 4
        if length == UNDEFINED:
            if len(outer) >= MAX_DEPTH - 1:
                raise LimitError(f"sequences nested more than {MAX_DEPTH} deep", position, tag)
            outer.append(item_implicit)
            sequence_implicit = item_implicit
            in_item = False
            position = body
        else:
            position = body + length
    raise LimitError(f"more than {steps} elements in one sequence", position)
