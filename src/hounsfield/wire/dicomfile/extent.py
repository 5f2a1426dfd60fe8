"""Whether a data set is all there: a walk over what the header scan has left, by lengths alone.

A store may not acknowledge an object whose pixel data stop before their length; the scan of the header
would not notice. The walk reads the head of each element behind the header and no value, so it costs a
microsecond or two for an image; where it would cost much (very many elements of undefined length) or where
the elements are not what the transfer syntax says, it judges nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final

from hounsfield.wire.dicomfile.errors import LimitError, TruncatedError
from hounsfield.wire.dicomfile.header import Header
from hounsfield.wire.dicomfile.inflate import Inflater
from hounsfield.wire.dicomfile.layouts import BIG, ITEM, LITTLE, SEQUENCE_END, UNDEFINED, Buffer, Layout
from hounsfield.wire.dicomfile.skipping import OddError, skip_sequence
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

#: Elements and fragments looked at, at most; what goes on behind them is not judged.
MAX_STEPS: Final = 20_000
#: A deflated data set is inflated to its end for this up to so many bytes.
MAX_INFLATED: Final = 4 << 20

#: Steps that were not counted one by one are by the bytes that they passed.
_BYTES_OF_A_STEP: Final = 64
_PIXEL_DATA: Final = 0x7FE00010
_LONGEST_HEAD: Final = 12
_SEQUENCE_VRS: Final = ("SQ", "UN")


def check_whole(header: Header, pieces: Sequence[Buffer], transfer_syntax_uid: str) -> None:
    """Raises TruncatedError where the data set of `header`, in `pieces`, ends within an element.

    `header` is complete or was read from all of the data set.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    layout = LITTLE if syntax.little_endian else BIG
    try:
        if syntax.deflated:
            pieces = _inflated(pieces)
        if header.rest >= 0 and pieces:
            _walk(pieces, header.rest, layout, header.explicit)
    except (OddError, LimitError):
        pass


def check_rest(pieces: Sequence[Buffer], rest: int, transfer_syntax_uid: str) -> None:
    """The same for a header that ends at `rest`, of a data set as its transfer syntax says; not deflated."""
    syntax = transfer_syntax(transfer_syntax_uid)
    try:
        _walk(pieces, rest, LITTLE if syntax.little_endian else BIG, syntax.explicit)
    except (OddError, LimitError):
        pass


def _inflated(pieces: Sequence[Buffer]) -> Sequence[Buffer]:
    """The inflated data set; empty where it is too large to be looked at."""
    inflater = Inflater(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    plain = inflater.up_to(MAX_INFLATED)
    if not inflater.ended:
        return ()
    if not inflater.whole:
        raise TruncatedError("the deflate stream has no end", len(plain))
    return (plain,)


def _walk(pieces: Sequence[Buffer], position: int, layout: Layout, explicit: bool) -> None:
    total = sum(map(len, pieces))
    _, explicit_head, implicit_head, long_length, short_vrs, long_vrs = layout
    window, base, end = pieces[0], 0, len(pieces[0])
    tag, steps = -1, MAX_STEPS
    while steps > 0:
        steps -= 1
        if position >= total:
            if position > total:
                raise TruncatedError("the data end within a value", total, tag)
            return None
        if position + _LONGEST_HEAD > end:
            window, base, end = _window(pieces, position)
        at = position - base
        if explicit:
            at = _skip_short(window, at, explicit_head, short_vrs)
            if at != position - base:
                steps -= (base + at - position) // _BYTES_OF_A_STEP
                position, tag = base + at, -1
                continue
        if end - position < 8:
            return _padding(window, at, position)
        group, element, length = implicit_head(window, at)
        tag = group << 16 | element
        position += 8
        vr = ""
        if explicit:
            _, _, number, length = explicit_head(window, at)
            if number not in short_vrs:
                vr = long_vrs.get(number, "")
                if not vr:
                    return None
                if position + 4 > total:
                    raise TruncatedError("the data end within a length", total, tag)
                length = long_length(window, at + 8)[0]
                position += 4
        if length != UNDEFINED:
            position += length
        elif tag == _PIXEL_DATA and vr not in _SEQUENCE_VRS:
            position = _skip_fragments(pieces, position, total, layout)
        else:
            whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            behind = skip_sequence(whole, position, layout, not explicit, steps=steps)
            steps -= (behind - position) // _BYTES_OF_A_STEP
            position = behind
    raise LimitError(f"more than {MAX_STEPS} elements behind the header", position)


def _skip_short(
    window: Buffer,
    at: int,
    head: Callable[[Buffer, int], tuple[int, int, int, int]],
    short_vrs: dict[int, str],
) -> int:
    """The offset of the first element whose length has 32 bits: most of the way, in few operations."""
    try:
        for _ in repeat(None, 1000):
            _, _, number, length = head(window, at)
            if number not in short_vrs:
                break
            at += 8 + length
    except struct.error:
        pass  # behind the end of the window
    return at


def _skip_fragments(pieces: Sequence[Buffer], position: int, total: int, layout: Layout) -> int:
    """The offset behind encapsulated pixel data (PS3.5 A.4), whose fragments begin at `position`."""
    window, base, end = pieces[0], 0, len(pieces[0])
    for _ in repeat(None, MAX_STEPS):
        if position + 8 > total:
            raise TruncatedError("the data end within encapsulated pixel data", total, _PIXEL_DATA)
        if position < base or position + 8 > end:
            window, base, end = _window(pieces, position)
        group, element, length = layout.implicit_head(window, position - base)
        position += 8
        tag = group << 16 | element
        if tag == SEQUENCE_END:
            return position
        if tag != ITEM or length == UNDEFINED:
            raise OddError
        position += length
    raise LimitError(f"more than {MAX_STEPS} fragments", position)


def _window(pieces: Sequence[Buffer], position: int) -> tuple[Buffer, int, int]:
    """A buffer that holds the bytes at `position`: as many as a head has, or all up to the end. Its offset in
    the data set, and that of its end."""
    head = bytearray()
    base = 0
    for piece in pieces:
        end = base + len(piece)
        if position < end:
            if not head and position + _LONGEST_HEAD <= end:
                return piece, base, end
            head += piece[max(position - base, 0) :][: _LONGEST_HEAD - len(head)]
            if len(head) == _LONGEST_HEAD:
                break
        base = end
    return head, position, position + len(head)


def _padding(window: Buffer, at: int, position: int) -> None:
    if any(window[at:]):
        raise TruncatedError("the data end within a tag or length", position)


__all__ = ["check_whole"]
