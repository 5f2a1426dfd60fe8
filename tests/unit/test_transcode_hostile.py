"""Broken and hostile objects: each costs its own conversion, and nothing else."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from struct import pack

import imagecodecs
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rle.rle import encode_frame

from hounsfield.adapters import pixel_process
from hounsfield.adapters.pixel_conversion import convert
from hounsfield.adapters.pixel_pool import reader_of
from hounsfield.adapters.pixel_process import PixelProcess
from hounsfield.adapters.transcode import Transcoder
from hounsfield.domain.errors import UnreadableError
from support_transcode import (
    BIG,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    J2K,
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    encapsulated,
    pixels,
    read,
)

ARRAY = (np.arange(40 * 40).reshape(40, 40) % 251).astype("u1")
STREAMS = {
    JPEG: bytes(imagecodecs.jpeg8_encode(ARRAY, level=90)),
    JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(ARRAY, lossless=True)),
    JPEG_LS: bytes(imagecodecs.jpegls_encode(ARRAY)),
    J2K: bytes(imagecodecs.jpeg2k_encode(ARRAY, codecformat="j2k", reversible=True, level=0)),
    HTJ2K: bytes(imagecodecs.htj2k_encode(ARRAY)),
    RLE: bytes(encode_frame(ARRAY.tobytes(), 40, 40, 1, 8, "<")),
}
LARGEST = 1 << 26
_CONVERT = {"do": "convert", "source": J2K, "target": EXPLICIT, "largest": 1 << 30}


@pytest.fixture(scope="module")
def transcoder() -> Iterator[Transcoder]:
    made = Transcoder(processes=1, largest=LARGEST, seconds=10)
    yield made
    made.close()


def _object(syntax: str, stream: bytes | None = None, **changes: int) -> bytes:
    shape = (changes.pop("rows", 40), changes.pop("columns", 40))
    return encapsulated([[STREAMS[syntax] if stream is None else stream]], shape, bits=8, **changes)  # type: ignore[arg-type]


def _still_works(transcoder: Transcoder) -> bool:
    native = transcoder.convert(_object(J2K), J2K, EXPLICIT)
    return np.array_equal(pixels(read(native, EXPLICIT)), ARRAY)


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_stream_cut_short_is_refused(transcoder: Transcoder, syntax: str, kept: float) -> None:
    """Never filled up with grey, nor with what the memory held before."""
    stream = STREAMS[syntax]
    with pytest.raises(UnreadableError):
        transcoder.convert(_object(syntax, stream[: int(len(stream) * kept)]), syntax, EXPLICIT)
    assert _still_works(transcoder)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_an_end_put_behind_half_a_codestream_does_not_help(transcoder: Transcoder, kept: float) -> None:
    stream = STREAMS[HTJ2K][: int(len(STREAMS[HTJ2K]) * kept)] + b"\xff\xd9"
    with pytest.raises(UnreadableError, match="ends before"):
        transcoder.convert(_object(HTJ2K, stream), HTJ2K, EXPLICIT)


def test_an_error_that_the_htj2k_decoder_keeps_to_itself_is_noticed(transcoder: Transcoder) -> None:
    """It would give an array of whatever was in memory."""
    stream = bytearray(STREAMS[HTJ2K])
    refused = 0
    for place in range(len(stream) // 2, len(stream) - 2):
        broken = bytes(stream[:place]) + b"\xa5" + bytes(stream[place + 1 :])
        try:
            transcoder.convert(_object(HTJ2K, broken), HTJ2K, EXPLICIT)
        except UnreadableError as error:
            refused += "codestream is broken" in error.what
    assert refused


@pytest.mark.parametrize("syntax", STREAMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_give_pixels_or_a_refusal(
    transcoder: Transcoder, syntax: str, data: st.DataObject
) -> None:
    stream = bytearray(STREAMS[syntax])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(stream) - 1) | st.integers(0, min(60, len(stream) - 1)))
        stream[place] = data.draw(st.integers(0, 255))
    whole = _object(syntax, bytes(stream))
    try:
        native = transcoder.convert(whole, syntax, EXPLICIT)
    except UnreadableError as error:
        assert error.what
    else:
        assert pixels(read(native, EXPLICIT)).shape == (40, 40)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), target=st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
def test_broken_data_sets_are_refused_or_converted(data: st.DataObject, target: str) -> None:
    """The conversion itself, without a process around it, raises nothing else."""
    source = data.draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG, RLE]))
    whole = bytearray(
        _object(RLE) if source == RLE else b"".join(convert(_object(RLE), RLE, source, LARGEST))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, min(400, len(whole) - 1)))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    try:
        b"".join(convert(bytes(whole), source, target, LARGEST))
    except UnreadableError as error:
        assert error.what


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=300), source=st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED, J2K]))
def test_noise_is_refused(noise: bytes, source: str) -> None:
    target = IMPLICIT if source == EXPLICIT else EXPLICIT
    try:
        b"".join(convert(noise, source, target, LARGEST))
    except UnreadableError as error:
        assert error.what


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 65535, "columns": 65535},
        {"count": 2_000_000_000},
        {"count": 40_000},
        {"rows": 41},
        {"rows": 0},
        {"count": 0},
    ],
)
@pytest.mark.parametrize("syntax", [J2K, RLE, JPEG])
def test_forged_sizes_are_refused_before_anything_is_decoded(
    transcoder: Transcoder, syntax: str, changes: dict[str, int]
) -> None:
    with pytest.raises(UnreadableError):
        transcoder.convert(_object(syntax, **changes), syntax, EXPLICIT)
    assert _still_works(transcoder)


def test_a_stream_larger_than_declared_is_refused_before_it_is_decoded() -> None:
    stream = bytearray(STREAMS[J2K])
    stream[8:16] = pack(">II", 65535, 65535)
    with pytest.raises(UnreadableError, match="65535 x 65535"):
        b"".join(convert(_object(J2K, bytes(stream)), J2K, EXPLICIT, LARGEST))


def test_a_deflate_bomb_is_refused(transcoder: Transcoder) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(200)) + deflate.flush()
    with pytest.raises(UnreadableError, match="too large"):
        transcoder.convert(bomb, DEFLATED, EXPLICIT)
    assert _still_works(transcoder)


def test_a_deflate_stream_without_its_end_is_refused(transcoder: Transcoder) -> None:
    plain = transcoder.convert(_object(J2K), J2K, EXPLICIT)
    deflated = transcoder.convert(plain, EXPLICIT, DEFLATED)
    with pytest.raises(UnreadableError, match="too early"):
        transcoder.convert(deflated[:-20], DEFLATED, EXPLICIT)


def test_sequences_without_end_in_depth_are_refused(transcoder: Transcoder) -> None:
    deep = (b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 10_000
    with pytest.raises(UnreadableError, match="nested"):
        transcoder.convert(deep, EXPLICIT, IMPLICIT)


def test_pixels_of_defined_length_must_be_native_ones(transcoder: Transcoder) -> None:
    data = _object(J2K)
    data = data[: data.index(b"\xe0\x7f\x10\0")]
    native = data + b"\xe0\x7f\x10\0OB\0\0" + pack("<I", 1600) + ARRAY.tobytes()
    assert transcoder.convert(native, J2K, EXPLICIT) == native
    stream = STREAMS[J2K] + b"\0" * (len(STREAMS[J2K]) % 2)
    with pytest.raises(UnreadableError, match="neither encapsulated"):
        transcoder.convert(data + b"\xe0\x7f\x10\0OB\0\0" + pack("<I", len(stream)) + stream, J2K, EXPLICIT)


def test_a_dead_process_costs_nothing_but_its_object() -> None:
    transcoder = Transcoder(processes=1)
    try:
        assert _still_works(transcoder)
        child = max(psutil.Process().children(), key=lambda process: process.create_time())
        child.kill()
        child.wait(10)
        assert _still_works(transcoder)
    finally:
        transcoder.close()


def test_a_conversion_that_takes_too_long_ends_its_process() -> None:
    """By the child's own alarm: the parent would wait longer."""
    process = PixelProcess(2 << 30)
    array = np.random.default_rng(1).integers(0, 255, (1000, 1000)).astype("u1")
    stream = bytes(imagecodecs.jpeg2k_encode(array, codecformat="j2k", reversible=True, level=0))
    data = encapsulated([[stream]] * 200, (1000, 1000), bits=8)
    with pytest.raises(UnreadableError, match="longer than 1 s"):
        process.ask(_CONVERT, reader_of(data), 1)
    assert not process.alive


def test_a_process_that_says_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    process = PixelProcess(1 << 30)
    monkeypatch.setattr(pixel_process, "GRACE", 0.0)
    psutil.Process(process._process.pid).suspend()
    with pytest.raises(UnreadableError, match="longer than 1 s"):
        process.ask(_CONVERT, reader_of(_object(J2K)), 1)
    assert not process.alive


def test_memory_beyond_the_limit_is_refused() -> None:
    transcoder = Transcoder(processes=1, memory=64 << 20)
    try:
        assert _still_works(transcoder)
        native = transcoder.convert(_object(RLE), RLE, EXPLICIT)
        at = native.index(b"\xe0\x7f\x10\0")
        huge = native[:at] + b"\xe0\x7f\x10\0OW\0\0" + pack("<I", 100 << 20) + bytes(100 << 20)
        with pytest.raises(UnreadableError):
            transcoder.convert(huge, EXPLICIT, BIG)
        assert _still_works(transcoder)
    finally:
        transcoder.close()


def test_after_close_nothing_is_converted_and_no_process_is_left() -> None:
    transcoder = Transcoder(processes=2)
    assert _still_works(transcoder)
    before = {child.pid for child in psutil.Process().children()}
    transcoder.close()
    with pytest.raises(UnreadableError, match="stopping"):
        transcoder.convert(_object(J2K), J2K, EXPLICIT)
    assert len({child.pid for child in psutil.Process().children()}) < len(before)


def test_several_threads_share_the_processes() -> None:
    shared = Transcoder(processes=2)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.extend(_still_works(shared) for _ in range(5)))
        for _ in range(6)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == [True] * 30
        assert len(shared._pool._running) <= 2
    finally:
        shared.close()


def test_the_process_holds_no_secrets_and_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUNSFIELD_DATABASE", "postgresql://user:secret@host/x")
    process = PixelProcess(1 << 30)
    child = psutil.Process(process._process.pid)
    assert "HOUNSFIELD_DATABASE" not in child.environ()
    process._connection.close()
    assert process._process.wait(30) == 0
