"""One frame of an object as an array of cells, whatever its transfer syntax (PS3.5 8.1, 8.2, PS3.3 C.7.6.3).

Arrays are (rows, columns) or (rows, columns, samples). Cells of grey and palette images are as they stand,
with whatever their unused bits hold.
"""

from __future__ import annotations

import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hounsfield.adapters.pixel_conversion import LARGEST_FRAME, LARGEST_INFLATED, inflated
from hounsfield.adapters.pixel_data_set import DataSet
from hounsfield.adapters.pixel_decoding import as_decoded, decoder
from hounsfield.adapters.pixel_streams import CODINGS, DEFLATED, JPEG, UNCOMPRESSED
from hounsfield.adapters.pixel_values import Image
from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.wire.dicomfile.frames import DOUBLE_PIXEL_DATA, FLOAT_PIXEL_DATA, FrameMap, map_frames
from hounsfield.wire.dicomfile.outline import Outline, Read, outline
from hounsfield.wire.dicomfile.transfer_syntaxes import DEFLATED_LE

#: Pixels of one frame that is rendered: several times its bytes are needed on the way.
LARGEST_PIXELS = 1 << 27
#: Seconds of the processor for decoding any frame, and cells decoded in one more: the slowest decoder does
#: several times as many.
_SECONDS, _CELLS_A_SECOND = 2.0, 1 << 20


def outline_of(data_set: DataSet, syntax: str) -> tuple[Outline, Read]:
    """The elements of a data set, and the bytes that their offsets count. Raises MalformedError."""
    if syntax != DEFLATED_LE:
        return outline(data_set.read, data_set.size, syntax), data_set.read
    plain = memoryview(inflated(data_set.whole(), LARGEST_INFLATED))
    return outline(lambda at, length: plain[at : at + length], len(plain), syntax), (
        lambda at, length: plain[at : at + length]
    )


class FramePixels:
    """The frames of one object. `image` tells what the arrays are, once the first was asked for: colour that
    the compression transformed is RGB then."""

    def __init__(self, elements: Outline, read: Read, syntax: str) -> None:
        self.elements = elements
        self.map: FrameMap = map_frames(elements, syntax)
        self._read = read
        self._syntax = syntax
        found = self.map
        self.image = Image(
            found.rows,
            found.columns,
            found.samples,
            found.allocated,
            found.stored,
            max(found.high, found.stored - 1),  # one below leaves no room for the stored bits
            found.signed,
            found.frames,
            found.photometric,
            found.planar,
        )
        if (
            found.rows * found.columns * found.samples > LARGEST_PIXELS
            or found.frame_bits > LARGEST_FRAME * 8
        ):
            raise UnreadableError(
                f"frames of {found.rows} x {found.columns} pixels are larger than is rendered for anybody"
            )
        if found.encapsulated and syntax not in CODINGS:
            raise UnreadableError(f"pixels of the transfer syntax {syntax} are not decoded")

    @property
    def _words(self) -> bool:
        """Whether cells of a byte or less stand in words of the other byte order (PS3.5 8.1.1)."""
        elements = self.map.elements
        return self.map.allocated <= 8 and elements.layout.order == ">" and elements.vr(self.map.tag) == "OW"

    def _of_words(self, offset: int, length: int) -> memoryview:
        first = (offset - self.map.offset) % 2
        words = self._read(offset - first, first + length + (first + length) % 2)
        return memoryview(np.frombuffer(words, "u2").byteswap().tobytes())[first : first + length]

    @property
    def floating(self) -> bool:
        return self.map.tag in (FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)

    def stream(self, number: int) -> bytes | memoryview:
        """The bytes of a frame as they stand. Raises NotFoundError, MalformedError."""
        try:
            pieces = self.map.frame(number)
        except IndexError as error:
            raise NotFoundError(str(error)) from error
        if sum(length for _, length in pieces) > LARGEST_FRAME:
            raise UnreadableError(f"frame {number} is larger than is decoded for anybody")
        if self._words:
            return self._of_words(*pieces[0])
        if len(pieces) == 1:
            return memoryview(self._read(*pieces[0]))
        return b"".join([self._read(*piece) for piece in pieces])

    def array(self, number: int) -> Any:
        """Raises UnreadableError, NotFoundError, MalformedError."""
        stream = self.stream(number)
        coding = CODINGS.get(self._syntax) if self.map.encapsulated else None
        if coding in (DEFLATED, UNCOMPRESSED):
            return self._native(_inflated_frame(stream, self.map) if coding == DEFLATED else stream, 0)
        if coding is None:
            return self._native(stream, self.map.bits_before(number))
        return self._decoded(bytes(stream), coding)

    def decoded(self, number: int) -> tuple[bytes, Image]:
        """The native cells of a frame, colour by pixel, little endian, and what they are."""
        array = self.array(number)
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(), self.image

    def _decoded(self, stream: bytes, coding: str) -> Any:
        declared = self.image
        if declared.photometric.startswith("YBR_PARTIAL"):
            declared = replace(declared, photometric="YBR_FULL_422" if coding == JPEG else "YBR_ICT")
        image = as_decoded(declared, self._syntax, stream)
        try:
            with _bounded(image.rows * image.columns * image.samples):
                cells = decoder(self._syntax)(stream, replace(image, photometric=declared.photometric))
        except (RuntimeError, ValueError, zlib.error) as error:  # as the decoders do
            raise UnreadableError(f"a frame's stream is broken ({error})") from error
        if image.photometric != self.image.photometric:
            self.image = replace(self.image, photometric=image.photometric)
        self.image = replace(
            self.image, allocated=image.allocated, stored=image.stored, high=image.high, planar=0
        )
        return np.frombuffer(cells, f"<u{image.allocated // 8}").reshape(_shape(image))

    def _native(self, cells: bytes | memoryview, bits_before: int) -> Any:
        image = self.image
        if self.floating:
            kind = f"{self.map.elements.layout.order}f{4 if self.map.tag == FLOAT_PIXEL_DATA else 8}"
            return np.frombuffer(cells, kind).reshape(_shape(image))
        if image.allocated in (8, 16, 32, 64):
            values = self._whole_cells(cells)
        else:
            values = _packed(cells, image.allocated, self.map.frame_bits, bits_before)
        if self.map.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and image.samples == 3:
            return _subsampled(values, image)
        if image.samples > 1 and image.planar == 1:
            planes = values.reshape(image.samples, image.rows, image.columns)
            return np.ascontiguousarray(np.moveaxis(planes, 0, -1))
        if image.rows * image.columns * image.samples != values.size:
            raise UnreadableError(f"the colours of {image.photometric[:16]} are not rendered")
        return values.reshape(_shape(image))

    def _whole_cells(self, cells: bytes | memoryview) -> Any:
        return np.frombuffer(cells, f"{self.map.elements.layout.order}u{self.image.allocated // 8}")


@contextmanager
def _bounded(cells: int) -> Iterator[None]:
    """Within it the process ends when it takes more of the processor than a frame of so many cells can need:
    some decoders run for ever on a broken stream, and the time of a request is made for large ones."""
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + cells / _CELLS_A_SECOND)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _shape(image: Image) -> tuple[int, ...]:
    return (image.rows, image.columns) if image.samples == 1 else (image.rows, image.columns, image.samples)


def _packed(cells: bytes | memoryview, allocated: int, frame_bits: int, bits_before: int) -> Any:
    """Cells that are no whole number of bytes follow each other without a gap, from the lowest bit on (PS3.5
    8.1.1)."""
    bits = np.unpackbits(np.frombuffer(cells, "u1"), bitorder="little")[
        bits_before : bits_before + frame_bits
    ]
    if allocated == 1:
        return bits
    if allocated > 32:
        raise UnreadableError(f"cells of {allocated} bits are not rendered")
    values = np.zeros(bits.size // allocated, "u4")
    for place in range(allocated):
        values |= bits[place::allocated].astype("u4") << place
    return values


def _subsampled(values: Any, image: Image) -> Any:
    """Y Y Cb Cr of two pixels side by side (PS3.3 C.7.6.3.1.2)."""
    if image.columns % 2 or values.size != image.rows * image.columns * 2:
        raise UnreadableError("subsampled colour of an odd number of columns is not rendered")
    quads = values.reshape(image.rows, image.columns // 2, 4)
    whole = np.empty((image.rows, image.columns, 3), values.dtype)
    whole[:, 0::2, 0] = quads[:, :, 0]
    whole[:, 1::2, 0] = quads[:, :, 1]
    for sample in (1, 2):
        whole[:, 0::2, sample] = whole[:, 1::2, sample] = quads[:, :, sample + 1]
    return whole


def _inflated_frame(stream: bytes | memoryview, found: FrameMap) -> bytes:
    size = -(-found.frame_bits // 8)
    try:
        cells = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream, size + 1)
    except zlib.error as error:
        raise UnreadableError(f"a frame's stream is broken ({error})") from error
    if not size <= len(cells) <= size + 1:
        raise UnreadableError("a frame's deflate stream does not give as many pixels as are declared")
    return cells[:size]
