"""Outgoing buffers, and messages cut into P-DATA-TF PDUs of the peer's size (PS3.8 9.3.5, Annex E)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

#: PDU type, PDU length, PDV length, presentation context id, message control header.
_HEAD = struct.Struct(">BxLLBB")
#: Bytes of a P-DATA-TF variable field that are not payload, with one PDV in it.
_OVERHEAD = 6
#: A payload this short is cheaper to copy behind its header than to write as a buffer of its own.
_SHORT = 512


class Outgoing:
    """What is to be written, in order. Payload is never copied, short commands excepted."""

    __slots__ = ("_largest", "_own_limit", "buffers")

    def __init__(self, own_limit: int) -> None:
        self.buffers: list[bytes | memoryview] = []
        self._own_limit = own_limit
        self._largest = 0
        self.limit_to(0)

    def limit_to(self, peer_maximum: int) -> None:
        """Take the peer's maximum length (0 for none), which the own limit may lower."""
        maximum = min(peer_maximum or self._own_limit, self._own_limit)
        self._largest = (maximum - _OVERHEAD) & ~1  # fragments of even length, as every receiver expects

    def take(self) -> list[bytes | memoryview]:
        taken, self.buffers = self.buffers, []
        return taken

    def fragment(self, context_id: int, is_command: bool, pieces: Sequence[Buffer], last: bool) -> None:
        """Append the headers and slices of one command or data set, or of a part of one (`last` false)."""
        views = [piece if isinstance(piece, bytes) else memoryview(piece).cast("B") for piece in pieces]
        left = sum(map(len, views))
        control = 1 if is_command else 0
        final = control | 2 if last else control
        add = self.buffers.append
        largest = self._largest
        if left <= largest and len(views) == 1:
            view = views[0]
            if left <= _SHORT:
                if left or last:
                    add(_HEAD.pack(4, left + 6, left + 2, context_id, final) + bytes(view))
            else:
                add(_HEAD.pack(4, left + 6, left + 2, context_id, final))
                add(view)
            return
        if not left:
            if last:
                add(_HEAD.pack(4, 6, 2, context_id, final))
            return
        room = 0
        for piece in views:
            view, start, end = memoryview(piece), 0, len(piece)
            while start < end:
                if not room:
                    room = min(left, largest)
                    left -= room
                    add(_HEAD.pack(4, room + 6, room + 2, context_id, control if left else final))
                stop = min(end, start + room)
                add(view[start:stop])
                room -= stop - start
                start = stop
