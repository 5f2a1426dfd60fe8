"""The data sets of kept objects, for those who send them: read beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.services.reading import Reader

#: Objects up to this size are read as a whole, and the next ones ahead of their turn.
SMALL = 4 * 1024 * 1024


class DataSets:
    """`executor`: the threads that read; None for the event loop's own."""

    def __init__(self, reader: Reader, executor: Executor | None = None) -> None:
        self.reader = reader
        self.executor = executor

    async def whole(self, instance: StoredInstance) -> Piece:
        """Raises DamagedError, NotFoundError."""
        at = instance.location
        if (piece := self.reader.blobs.cached(at, at.meta_length)) is not None:
            return piece
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, self.reader.data_set, instance)

    async def pieces(self, instance: StoredInstance) -> AsyncIterator[Piece]:
        """The same in pieces, for objects too large for memory."""
        loop = asyncio.get_running_loop()
        chunks = self.reader.data_set_chunks(instance)
        while (piece := await loop.run_in_executor(self.executor, next, chunks, None)) is not None:
            yield piece
