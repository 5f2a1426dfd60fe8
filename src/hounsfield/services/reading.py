"""Read kept objects, wherever they have moved to since the index was asked.

A pack job may move an object between the answer of the index and the read: its location is then looked up
again. Its bytes are the same in every place, so a read that had begun goes on at the same offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from blake3 import blake3

from hounsfield.domain.errors import BlobMovedError, DamagedError, NotFoundError
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.blobs import Blobs, Piece
from hounsfield.ports.database import Database
from hounsfield.services.archive import Archive

CHUNK = 1024 * 1024
#: An object moves a few times in its life; one that seems to move more often is lost.
MOST_MOVES = 5

T = TypeVar("T")


class Reader:
    """Thread-safe. Calls raise DamagedError (bytes gone or cut short), NotFoundError (no longer kept)."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database = database
        self.blobs = blobs

    def data_set(self, instance: StoredInstance) -> Piece:
        """The data set as received, in its stored transfer syntax, without preamble and file meta group."""
        return self.at(instance, lambda location: self.blobs.read(location, location.meta_length))

    def part10(self, instance: StoredInstance) -> Piece:
        """The whole Part 10 object as kept."""
        return self.at(instance, self.blobs.read)

    def data_set_chunks(self, instance: StoredInstance, size: int = CHUNK) -> Iterator[Piece]:
        """The data set in pieces of at most `size` bytes, for objects too large for memory."""
        return self.chunks(instance, size, instance.location.meta_length)

    def chunks(self, instance: StoredInstance, size: int = CHUNK, start: int = 0) -> Iterator[Piece]:
        """Bytes of the Part 10 object from `start` on, in pieces of at most `size`."""
        location = instance.location
        position, moves = start, 0
        while position < location.length:
            try:
                with self.blobs.open(location) as read:
                    while position < location.length:
                        piece = read(position, min(size, location.length - position))
                        if not len(piece):
                            raise DamagedError(f"Object {instance.sop_instance_uid} is cut short")
                        position += len(piece)
                        yield piece
            except BlobMovedError as error:
                moves += 1
                location = self._moved(instance, location, moves, error)

    def matches_hash(self, instance: StoredInstance) -> bool:
        """Whether the kept data set is the one that was received (BLAKE3)."""
        hasher = blake3()
        for piece in self.data_set_chunks(instance):
            hasher.update(piece)
        return hasher.digest() == instance.content_hash

    def at(self, instance: StoredInstance, use: Callable[[Location], T]) -> T:
        """`use` of the location where the object is now."""
        location, moves = instance.location, 0
        while True:
            try:
                return use(location)
            except BlobMovedError as error:
                moves += 1
                location = self._moved(instance, location, moves, error)

    def _moved(self, instance: StoredInstance, old: Location, moves: int, error: BlobMovedError) -> Location:
        with self.database.read() as tx:
            now = tx.index.locate(instance.sop_instance_uid)
        if now is None or now.content_hash != instance.content_hash:
            raise NotFoundError(f"Object {instance.sop_instance_uid} is no longer kept") from error
        if now.location == old or moves > MOST_MOVES or now.location.length != old.length:
            raise DamagedError(
                f"The bytes of object {instance.sop_instance_uid} are not at {old.key}, offset {old.offset}",
                "Run `hounsfield doctor`, and bring that file back from a backup",
            ) from error
        return now.location


def read_data_set(archive: Archive, instance: StoredInstance) -> Piece:
    """`Reader.data_set` of an opened archive."""
    return Reader(archive.database, archive.blobs).data_set(instance)


def data_set_chunks(archive: Archive, instance: StoredInstance, size: int = CHUNK) -> Iterator[Piece]:
    """`Reader.data_set_chunks` of an opened archive."""
    return Reader(archive.database, archive.blobs).data_set_chunks(instance, size)
