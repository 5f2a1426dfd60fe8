"""Where frames stand: with offset tables, without, with wrong ones, and in bytes that are no object."""

from __future__ import annotations

from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.frames import FrameMap, locate_frames
from support_rendering import explicit, image_set
from support_transcode import BIG, EXPLICIT, IMPLICIT, J2K, RLE, encapsulated


class Reading:
    """Counts what is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = 0

    def __call__(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= offset + length <= len(self.data)
        self.bytes += length
        return self.data[offset : offset + length]


def _map(data: bytes, syntax: str) -> tuple[FrameMap, Reading]:
    reading = Reading(data)
    return locate_frames(reading, len(data), syntax), reading


def _frame(found: FrameMap, data: bytes, number: int) -> bytes:
    return b"".join(data[at : at + length] for at, length in found.frame(number))


@given(frames=st.integers(1, 5), rows=st.integers(1, 9), columns=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_native_frames_by_arithmetic(frames: int, rows: int, columns: int) -> None:
    cells = np.arange(frames * rows * columns, dtype="u2").reshape(frames, rows, columns)
    data = explicit(image_set(cells, frames=frames))
    found, _ = _map(data, EXPLICIT)
    assert [_frame(found, data, n) for n in range(1, frames + 1)] == [frame.tobytes() for frame in cells]
    with pytest.raises(IndexError):
        found.frame(frames + 1)


def test_frames_of_single_bits_need_not_begin_with_a_byte() -> None:
    data_set = image_set(np.zeros((3, 3), "u1"))
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.NumberOfFrames = 1, 1, 0, 3
    data_set.PixelData = bytes((1, 2, 3, 4))
    data = explicit(data_set)
    found, _ = _map(data, EXPLICIT)
    assert [_frame(found, data, n) for n in (1, 2, 3)] == [b"\1\2", b"\2\3", b"\3\4"]
    assert [found.bits_before(n) for n in (1, 2, 3)] == [0, 1, 2]


@pytest.mark.parametrize("table", [True, False])
def test_a_frame_of_a_large_object_is_found_without_the_others(table: bool) -> None:
    parts = [[bytes([n]) * 100_000] for n in range(50)]
    offsets = [n * 100_008 for n in range(50)] if table else None
    data = encapsulated(parts, (10, 10), bits=8, table=offsets)
    found, reading = _map(data, RLE)
    assert _frame(found, data, 40) == parts[39][0]
    assert reading.bytes < (400_000 if table else len(data))


@given(
    lengths=st.lists(
        st.lists(st.integers(0, 40).map(lambda n: 2 * n + 4), min_size=1, max_size=4), max_size=6
    ),
    kind=st.sampled_from(["right table", "no table", "wrong table"]),
    shift=st.integers(1, 30),
)
@settings(max_examples=80, deadline=None)
def test_fragments_of_frames(lengths: list[list[int]], kind: str, shift: int) -> None:
    frames = [
        [(b"\xff\x4f\xff\x51" if n == 0 else b"\0\0\0\0") + b"x" * (size - 4) for n, size in enumerate(sizes)]
        for sizes in lengths
    ]
    if not frames:
        return
    starts, at = [], 0
    for parts in frames:
        starts.append(at)
        at += sum(len(part) + 8 for part in parts)
    table = {"right table": starts, "no table": None, "wrong table": [s + shift for s in starts]}[kind]
    data = encapsulated(frames, (10, 10), bits=8, table=table)
    found, _ = _map(data, J2K)
    for number, parts in enumerate(frames, 1):
        assert _frame(found, data, number) == b"".join(parts)
    assert len(found.all_fragments()) == sum(map(len, frames))


def test_what_is_declared_and_not_there() -> None:
    data = encapsulated([[b"abcd"]], (10, 10), bits=8, count=2**31 - 1)
    found, _ = _map(data, RLE)
    with pytest.raises(MalformedError):
        found.frame(2**31 - 1)
    data_set = image_set(np.zeros((4, 4), "u1"), NumberOfFrames=9)
    data = explicit(data_set)
    found, _ = _map(data, EXPLICIT)
    assert _frame(found, data, 1) == bytes(16)
    with pytest.raises(MalformedError):
        found.frame(2)
    endless = data[:-24] + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + pack("<HHI", 0xFFFE, 0xE000, 0)
    with pytest.raises(MalformedError):
        _map(endless, RLE)[0].frame(1)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), syntax=st.sampled_from([EXPLICIT, RLE, J2K, IMPLICIT, BIG]))
def test_any_bytes_are_an_object_or_malformed(data: st.DataObject, syntax: str) -> None:
    whole = bytearray(encapsulated([[b"abcd", b"efgh"], [b"ijkl"]], (10, 10), bits=8, table=[0, 24]))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found, reading = _map(cut, syntax)
        for number in range(1, min(found.frames, 4) + 1):
            assert all(at + length <= len(cut) for at, length in found.frame(number))
        assert reading.bytes < 1 << 22
    except MalformedError:
        pass
