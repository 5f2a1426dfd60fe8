"""Bounded reading of the deflated transfer syntax (PS3.5 A.5: a raw deflate stream)."""

from __future__ import annotations

import zlib
from typing import Final

from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.layouts import Buffer

#: No data set is inflated further for its header or its JSON, whatever it claims to be.
MAX_INFLATED: Final = 1 << 24
_CHUNK: Final = 1 << 16


class Inflater:
    """Inflates the beginning of `data`, step by step; memory is bounded by what is asked for."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._position = 0
        self._rest = b""
        self._plain = bytearray()
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        """Whether there is no more to inflate: the stream ended, or the data did."""
        return self._stream.eof or (self._position >= len(self._data) and not self._rest)

    @property
    def whole(self) -> bool:
        """Whether the stream came to its own end (RFC 1951 3.2.3)."""
        return self._stream.eof

    def up_to(self, size: int) -> bytes:
        """The first `size` inflated bytes (fewer where it ends), earlier ones included; at most MAX_INFLATED.
        Raises MalformedError."""
        size = min(size, MAX_INFLATED)
        while len(self._plain) < size and not self.ended:
            if not self._rest:
                self._rest = bytes(self._data[self._position : self._position + _CHUNK])
                self._position += len(self._rest)
            try:
                self._plain += self._stream.decompress(self._rest, size - len(self._plain))
            except zlib.error as error:
                raise MalformedError(f"not a deflate stream ({error})", self._position) from error
            self._rest = self._stream.unconsumed_tail
        return bytes(self._plain)
