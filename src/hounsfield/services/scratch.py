"""What is made for one answer and is large waits on the disk: whoever takes it slowly, or not at all, costs
no memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hounsfield.domain.errors import StorageFullError
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import DataSetReader

#: Up to so many bytes stay in memory.
SMALL = 4 << 20
#: Bytes that are read at one time.
CHUNK = 1 << 20


class Scratch:
    """Thread-safe. `room`: bytes that the disk has left for this."""

    def __init__(self, folder: Path, room: Callable[[], int]) -> None:
        self.folder = folder
        self.room = room

    def keep(self, data: bytes) -> DataSetReader:
        """The same bytes; of many of them the file, which has no name, is gone with the reader. Raises
        StorageFullError."""
        if len(data) <= SMALL:
            view = memoryview(data)
            return DataSetReader(lambda offset, length: view[offset : offset + length], len(data))
        if self.room() < len(data):
            raise StorageFullError("The disk has no room to convert an object", "Make room")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 lives with the reader
            view = memoryview(data)
            while len(view):
                view = view[file.write(view) :]
        except OSError as error:
            raise StorageFullError(f"The disk takes no converted object: {error.strerror}") from error
        return DataSetReader(lambda offset, length: os.pread(file.fileno(), length, offset), len(data))


def pieces(kept: DataSetReader) -> Iterator[Piece]:
    """All of it, in pieces of at most `CHUNK`."""
    for offset in range(0, kept.size, CHUNK):
        yield kept.read(offset, min(CHUNK, kept.size - offset))
