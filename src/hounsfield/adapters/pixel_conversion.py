"""One data set from one transfer syntax to another, in pieces, within limits. Runs in `pixel_process`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from struct import iter_unpack

from hounsfield.adapters.pixel_decoding import as_decoded, decoder
from hounsfield.adapters.pixel_encoding import as_encoded, encoded_frames
from hounsfield.adapters.pixel_frames import Fragments, frames_of
from hounsfield.adapters.pixel_rewriting import Compression, Decoding, Rewriting
from hounsfield.adapters.pixel_streams import CODINGS
from hounsfield.adapters.pixel_values import EXTENDED_OFFSETS, Encoding, Image, Scope, encoding_of, image_of
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.layouts import LITTLE, Buffer, looks_explicit
from hounsfield.wire.dicomfile.transfer_syntaxes import DEFLATED_LE

#: Larger single frames are not decoded: decoders need several times their size.
LARGEST_FRAME = 1 << 29
#: Nor are larger data sets inflated: one byte may become a thousand, and what is large is seldom deflated.
LARGEST_INFLATED = 1 << 28
_CHUNK = 1 << 20


def convert(data: bytes, source: str, target: str, largest: int) -> Iterator[Buffer]:
    """The data set in pieces. `largest`: bytes of pixels beyond which it is refused. Raises
    UnreadableError."""
    if source == DEFLATED_LE:
        data = inflated(data, min(largest, LARGEST_INFLATED))
    decode = _decoding(source, largest) if source in CODINGS else None
    compress = _compression(target, largest) if target in CODINGS else None
    from_, to = encoding_of(source), encoding_of(target)
    if from_.layout is LITTLE and len(data) >= 8:  # some objects are not what they are called
        from_ = Encoding(LITTLE, looks_explicit(data, 0))
    same = decode is None and compress is None and from_ == to
    pieces = iter((data,)) if same else Rewriting(data, from_, to, decode, compress).pieces()
    return _deflated(pieces) if target == DEFLATED_LE else pieces


def _decoding(syntax: str, largest: int) -> Decoding:
    decode_frame = decoder(syntax)

    def decode(data: bytes, fragments: Fragments, scope: Scope) -> tuple[Image, Iterator[bytes]]:
        declared = image_of(scope)
        _check_size(declared, largest)
        extended = [
            offset for (offset,) in iter_unpack("<Q", _whole(scope.values.get(EXTENDED_OFFSETS, b"")))
        ]
        parts = frames_of(fragments, declared.frames, extended)
        streams = (b"".join([data[at : at + length] for at, length in pieces]) for pieces in parts)
        first = next(streams)
        native = as_decoded(declared, syntax, first)
        _check_size(native, largest)
        # what the components are is told by the declared photometric interpretation
        wanted = replace(native, photometric=declared.photometric)

        def frames() -> Iterator[bytes]:
            for stream in chain((first,), streams):
                try:
                    yield decode_frame(stream, wanted)
                except (RuntimeError, ValueError, zlib.error) as error:  # as the decoders do
                    raise UnreadableError(f"a frame's stream is broken ({error})") from error

        return native, frames()

    return decode


def _compression(target: str, largest: int) -> Compression:
    def compress(image: Image, frames: Iterator[bytes]) -> tuple[Image, Iterator[bytes]]:
        _check_size(image, largest)
        return as_encoded(image, target), encoded_frames(frames, image, target)

    return compress


def _whole(offsets: bytes) -> bytes:
    return offsets[: len(offsets) // 8 * 8]


def _check_size(image: Image, largest: int) -> None:
    if image.frame_length > LARGEST_FRAME or image.frame_length * image.frames > largest:
        raise UnreadableError(
            f"{image.frames} x {image.rows} x {image.columns} pixels are more than is decoded for anybody"
        )


def inflated(data: bytes, largest: int) -> bytes:
    """Raises UnreadableError for what is no whole deflate stream."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = stream.decompress(data, largest)
    except zlib.error as error:
        raise UnreadableError(f"the data set is no deflate stream ({error})") from error
    if not stream.eof:
        more = bool(stream.unconsumed_tail)
        raise UnreadableError(f"the deflated data set {'is too large' if more else 'ends too early'}")
    return plain


def _deflated(pieces: Iterator[Buffer]) -> Iterator[bytes]:
    """A raw deflate stream, padded to even length (PS3.5 A.5)."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for piece in pieces:
        for at in range(0, len(piece), _CHUNK):
            done = stream.compress(piece[at : at + _CHUNK])
            size += len(done)
            yield done
    rest = stream.flush()
    size += len(rest)
    yield rest + b"\0" * (size % 2)
