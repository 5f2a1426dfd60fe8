"""A data set as the pixel process sees it: fetched from the parent as far as it is asked for."""

from __future__ import annotations

import struct
from multiprocessing.connection import Connection
from typing import Final

from hounsfield.domain.errors import UnreadableError

#: The message that asks for bytes: their offset and length follow.
READ: Final = b"?"
RANGE: Final = struct.Struct("<QQ")


class DataSet:
    """`ahead`: its beginning, which came with the request."""

    def __init__(self, connection: Connection, size: int, ahead: memoryview) -> None:
        self.size = size
        self._connection = connection
        self._ahead = ahead[:size]

    def read(self, offset: int, length: int) -> memoryview:
        """Without a copy where the bytes are here. Raises UnreadableError beyond the end."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise UnreadableError("the data set ends before its pixels do")
        if offset + length <= len(self._ahead):
            return self._ahead[offset : offset + length]
        self._connection.send_bytes(READ + RANGE.pack(offset, length))
        return memoryview(self._connection.recv_bytes())

    def whole(self) -> bytes:
        here = len(self._ahead)
        rest = self.read(here, self.size - here) if here < self.size else b""
        return b"".join((self._ahead, rest))
