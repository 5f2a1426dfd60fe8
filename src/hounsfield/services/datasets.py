"""The data sets of kept objects, for those who send them: read beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece, View
from hounsfield.services.reading import Reader
from hounsfield.services.stepping import stepped

#: Objects up to this size are read as a whole, and the next ones ahead of their turn.
SMALL = 4 * 1024 * 1024


class DataSets:
    """`executor`: the threads that read; None for the event loop's own."""

    def __init__(self, reader: Reader, executor: Executor | None = None) -> None:
        self.reader = reader
        self.executor = executor

    def view(self, instance: StoredInstance) -> View | None:
        """Its data set to be sent from where it lies, when that needs no waiting for a disk."""
        return self.reader.blobs.view(instance.location, instance.location.meta_length)

    async def whole(self, instance: StoredInstance) -> Piece:
        """Raises DamagedError, NotFoundError."""
        at = instance.location
        if (piece := self.reader.blobs.cached(at, at.meta_length)) is not None:
            return piece
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, self.reader.data_set, instance)

    async def pieces(self, instance: StoredInstance) -> AsyncIterator[Piece]:
        """The same in pieces, for objects too large for memory."""
        async for piece in self.part10_pieces(instance, instance.location.meta_length):
            yield piece

    async def part10(self, instance: StoredInstance) -> Piece:
        """The Part 10 object as kept, preamble and file meta group included."""
        if (piece := self.reader.blobs.cached(instance.location)) is not None:
            return piece
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, self.reader.part10, instance)

    async def part10_pieces(self, instance: StoredInstance, start: int = 0) -> AsyncIterator[Piece]:
        """The same in pieces, from byte `start` on; the next is read while one is used."""
        async for piece in stepped(self.executor, self.reader.chunks(instance, start=start)):
            yield piece
