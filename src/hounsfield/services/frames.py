"""Frames of kept objects, one by one (PS3.18 10.4.1.1.6): stored bytes where those are wanted, else decoded
or compressed anew by the renderer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.ports.pixels import Transcoder
from hounsfield.ports.rendering import DataSetReader, Renderer
from hounsfield.services.datasets import SMALL
from hounsfield.services.reading import Reader
from hounsfield.services.scratch import Scratch
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.frames import FrameMap, locate_frames
from hounsfield.wire.dicomfile.outline import Outline, outline
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE, IMPLICIT_LE, transfer_syntax

#: Bytes of decoded frames asked of the renderer at one time.
BATCH = 8 << 20
#: Bytes of a stored frame or value that are read at one time.
CHUNK = 1 << 20
#: Syntaxes whose values stand in the data set as they go out: not deflated, not in big endian.
_PLAIN = frozenset({IMPLICIT_LE, EXPLICIT_LE})


@dataclass(slots=True)
class OpenObject:
    """The data set of a kept object, to be read as it goes out: little endian, not deflated.

    `transfer_syntax`: in which it is now. `in_memory`: whether reading waits for nothing.
    """

    instance: StoredInstance
    reader: DataSetReader
    transfer_syntax: str
    in_memory: bool = False

    def outline(self) -> Outline:
        """Raises UnreadableError."""
        try:
            return outline(self.reader.read, self.reader.size, self.transfer_syntax)
        except MalformedError as error:
            raise _unreadable(self.instance, error) from error

    def frame_map(self) -> FrameMap:
        """Raises UnreadableError for an object without pixels, or with broken ones."""
        try:
            return locate_frames(self.reader.read, self.reader.size, self.transfer_syntax)
        except MalformedError as error:
            raise _unreadable(self.instance, error) from error

    def read(self, places: Sequence[tuple[int, int]]) -> Iterator[Piece]:
        """The bytes at these offsets and of these lengths, in pieces of at most `CHUNK`."""
        for offset, length in places:
            end = offset + length
            while offset < end:
                size = min(CHUNK, end - offset)
                yield self.reader.read(offset, size)
                offset += size


class Objects:
    """Opens kept objects. Its calls wait: beside the event loop."""

    def __init__(self, reader: Reader, transcoder: Transcoder, scratch: Scratch) -> None:
        self.reader = reader
        self.transcoder = transcoder
        self.scratch = scratch

    def open(self, instance: StoredInstance) -> OpenObject:
        """Raises DamagedError, NotFoundError, StorageFullError, and UnreadableError where it cannot be
        brought into a form in which values go out."""
        stored = instance.transfer_syntax_uid
        known = transfer_syntax(stored)
        if known.deflated or not known.little_endian:
            data = bytes(self.reader.data_set(instance))
            kept = self.scratch.keep(self.transcoder.convert(data, stored, EXPLICIT_LE))
            return OpenObject(instance, kept, EXPLICIT_LE, in_memory=kept.size <= SMALL)
        if instance.location.length <= SMALL:
            return _in_memory(instance, self.reader.data_set(instance), stored)
        return OpenObject(instance, self.reading(instance), stored)

    def at_once(self, instance: StoredInstance) -> OpenObject | None:
        """The same for an event loop: where it is in memory and needs no conversion; else None."""
        at, stored = instance.location, instance.transfer_syntax_uid
        if at.length > SMALL or not (stored in _PLAIN or transfer_syntax(stored).encapsulated):
            return None
        data = self.reader.blobs.cached(at, at.meta_length)
        return None if data is None else _in_memory(instance, data, stored)

    def reading(self, instance: StoredInstance) -> DataSetReader:
        """Reads a large object where it is at each time."""

        def read(offset: int, length: int) -> Piece:
            def use(location: Location) -> Piece:
                return self.reader.blobs.read(location, location.meta_length + offset, length)

            return self.reader.at(instance, use)

        return DataSetReader(read, instance.location.length - instance.location.meta_length)


def _in_memory(instance: StoredInstance, data: Piece, syntax: str) -> OpenObject:
    view = memoryview(data)
    reader = DataSetReader(lambda offset, length: view[offset : offset + length], len(view))
    return OpenObject(instance, reader, syntax, in_memory=True)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame on its way out. `places`: where its bytes stand in the open object, to be read; else `data`
    is them."""

    number: int
    length: int
    places: Sequence[tuple[int, int]] = ()
    data: Piece = b""


class Frames:
    """The frames of one open object in one transfer syntax: the stored one, Explicit VR Little Endian for
    native frames, or one that the transcoder compresses into."""

    def __init__(self, opened: OpenObject, renderer: Renderer, syntax: str) -> None:
        """Raises UnreadableError."""
        self.opened = opened
        self.renderer = renderer
        self.map = opened.frame_map()
        self.syntax = syntax
        native = {*_PLAIN, opened.transfer_syntax}
        self.as_stored = syntax == opened.transfer_syntax if self.map.encapsulated else syntax in native

    @property
    def in_place(self) -> bool:
        """Whether frames go out as bytes that stand in the object: they are neither made nor shifted."""
        return self.as_stored and (self.map.encapsulated or self.map.frame_bits % 8 == 0)

    @property
    def frame_bytes(self) -> int:
        """Of a decoded one."""
        return -(-self.map.frame_bits // 8)

    @property
    def together(self) -> int:
        """How many are decoded or compressed at one time."""
        return max(1, BATCH // max(1, self.frame_bytes))

    def check(self, numbers: Sequence[int]) -> None:
        """Raises NotFoundError for a frame that is not there."""
        if numbers and max(numbers) > self.map.frames:
            raise NotFoundError(f"There is no frame {max(numbers)}: the object has {self.map.frames}")

    def __call__(self, numbers: Sequence[int]) -> Iterator[Frame]:
        """In the order asked for. Raises UnreadableError, NotFoundError, DamagedError."""
        self.check(numbers)
        if self.as_stored:
            for number in numbers:
                yield self._stored(number)
            return
        for at in range(0, len(numbers), self.together):
            some = numbers[at : at + self.together]
            made = self.renderer.frames(self.opened.reader, self.opened.transfer_syntax, some, self.syntax)
            for number, data in zip(some, made, strict=True):
                yield Frame(number, len(data), data=data)

    def listed(self, numbers: Sequence[int]) -> list[Frame]:
        return list(self(numbers))

    def _stored(self, number: int) -> Frame:
        try:
            places = self.map.frame(number)
            before = self.map.bits_before(number)
        except MalformedError as error:
            raise _unreadable(self.opened.instance, error) from error
        if not self.map.encapsulated and (before or self.map.frame_bits % 8):
            ((offset, length),) = places
            bits = int.from_bytes(self.opened.reader.read(offset, length), "little") >> before
            data = (bits & (1 << self.map.frame_bits) - 1).to_bytes(self.frame_bytes, "little")
            return Frame(number, len(data), data=data)
        return Frame(number, sum(length for _, length in places), places)

    def pieces(self, frame: Frame) -> Iterator[Piece]:
        if frame.places:
            yield from self.opened.read(frame.places)
        else:
            yield frame.data

    def video(self) -> Frame:
        """The whole of a stored video, whose frames cannot be told apart."""
        try:
            places = self.map.all_fragments()
        except MalformedError as error:
            raise _unreadable(self.opened.instance, error) from error
        return Frame(1, sum(length for _, length in places), places)


def _unreadable(instance: StoredInstance, error: MalformedError) -> UnreadableError:
    return UnreadableError(f"Object {instance.sop_instance_uid} cannot be given in parts: {error}")
