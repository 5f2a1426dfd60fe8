"""The header scan against broken and hostile data sets: the right header or an error, in bounds."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomfile.elements import decode
from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.header import read_header
from hounsfield.wire.dicomfile.json_model import data_set_json
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
)

DATA = Path(pydicom.__file__).parent / "data" / "test_files"
NAMES = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",
    "nested_priv_SQ.dcm",
    "UN_sequence.dcm",
    "rtplan.dcm",
]


def data_set(name: str) -> tuple[bytes, str]:
    data = (DATA / name).read_bytes()
    meta = read_meta(data)
    return data[meta.meta_length :][:6000], meta.transfer_syntax_uid


SOURCES = [data_set(name) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_truncated_at_every_byte(name: str) -> None:
    """Cut anywhere, it is refused, or nothing is said that the whole does not say."""
    data, syntax = data_set(name)
    whole = read_header(data, syntax)
    refused = 0
    for cut in range(min(len(data), 3500)):
        try:
            header = read_header(data[:cut], syntax)
        except MalformedError:
            refused += 1
            continue
        assert header.values.items() <= whole.values.items()
        assert header.request.items() <= whole.request.items()
        if header.complete and not header.handed_over:
            assert header.values == whole.values
            assert header.request == whole.request
    assert refused > 100


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 12))
def test_mutations_raise_nothing_else(source: tuple[bytes, str], seed: int, changes: int) -> None:
    data, syntax = source
    dice = random.Random(seed)
    mutated = bytearray(data)
    for _ in range(changes):
        at = dice.randrange(len(mutated))
        match dice.randrange(4):
            case 0:
                mutated[at] = dice.randrange(256)
            case 1:
                mutated[at : at + 4] = dice.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\0\xe0", b"SQ\0\0"]
                )
            case 2:
                del mutated[at : at + dice.randrange(1, 9)]
            case _:
                mutated[at:at] = dice.randbytes(dice.randrange(1, 9))
    for syntax_uid in (syntax, dice.choice([IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE])):
        for read in (read_header, data_set_json):
            try:
                read(bytes(mutated), syntax_uid)
            except MalformedError:
                pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    for read in (
        lambda data: read_header(data, EXPLICIT_LE),
        lambda data: read_header(data, IMPLICIT_LE),
        lambda data: read_header(data, EXPLICIT_BE),
        lambda data: read_header(data, DEFLATED_LE),
        lambda data: data_set_json(data, IMPLICIT_LE),
        lambda data: decode(data, explicit=True),
        lambda data: decode(data, explicit=False),
        read_meta,
        lambda data: read_meta(bytes(128) + b"DICM" + data),
    ):
        try:
            read(noise)
        except MalformedError:
            pass


def long(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, length)


OPEN_SEQUENCE = long(0x00081115, b"SQ", 0xFFFFFFFF)
OPEN_ITEM = b"\xfe\xff\0\xe0\xff\xff\xff\xff"


def nested(depth: int) -> bytes:
    return (OPEN_SEQUENCE + OPEN_ITEM) * depth


def small_sequences(count: int) -> bytes:
    return OPEN_SEQUENCE + b"\xfe\xff\0\xe0\0\0\0\0" * count + b"\xfe\xff\xdd\xe0\0\0\0\0"


TINY = b"".join(
    struct.pack("<HH2sH", 0x0009 + 2 * (i >> 16), i & 0xFFFF, b"LO", 0) for i in range(0x10, 300_000)
)
BACKWARDS = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 0) + TINY

HOSTILE = {
    "a value of 4 GiB": long(0x00090010, b"OB", 0xFFFFFFFE),
    "a wanted value of 4 GiB": long(0x00081030, b"UT", 0xFFFFFFFE),
    "nested 10,000 deep": nested(10_000),
    "nested 10,000 deep, never ended": OPEN_SEQUENCE + OPEN_ITEM * 10_000,
    "undefined length that never ends": OPEN_SEQUENCE + small_sequences(1000)[12:-8],
    "a million tiny items": small_sequences(1_000_000),
    "hundreds of thousands of elements": TINY,
    "hundreds of thousands of elements in wrong order": BACKWARDS,
    "an unknown VR, then depth": struct.pack("<HH2sH", 0x0008, 1, b"qq", 0) + nested(10_000),
    "item delimiters only": b"\xfe\xff\x0d\xe0\0\0\0\0" * 1000,
}


#: Those that take long enough for a count, under a tracer too long for a test.
COUNTED = [case for case in HOSTILE if "million" in case or "hundreds" in case]


@pytest.mark.parametrize("case", [case for case in HOSTILE if case not in COUNTED])
def test_hostile_structure_is_refused_in_bounded_memory(case: str) -> None:
    data = HOSTILE[case]
    tracemalloc.start()
    try:
        for syntax in (EXPLICIT_LE, IMPLICIT_LE):
            try:
                header = read_header(data, syntax)
            except MalformedError:
                continue
            assert 0x00080018 not in header.values
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("case", COUNTED)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
def test_too_many_elements_are_refused(case: str, syntax: str) -> None:
    with pytest.raises(LimitError):
        read_header(HOSTILE[case], syntax)


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("a value of 4 GiB", TruncatedError),
        ("a wanted value of 4 GiB", TruncatedError),
        ("nested 10,000 deep", LimitError),
        ("undefined length that never ends", TruncatedError),
        ("a million tiny items", LimitError),
        ("hundreds of thousands of elements", LimitError),
    ],
)
def test_the_error_says_which(case: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_header(HOSTILE[case], EXPLICIT_LE)


def test_a_value_too_long_to_be_a_key() -> None:
    data = long(0x00080080, b"UT", 1 << 20) + b"x" * (1 << 20)
    with pytest.raises(LimitError):
        read_header(data, EXPLICIT_LE)


@pytest.mark.parametrize("start", [b"", long(0x00090010, b"OB", 1 << 28)], ids=["zeros", "one long element"])
def test_deflate_bomb(start: bytes) -> None:
    """256 MiB in 256 KiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    megabyte = bytes(1 << 20)
    bomb = b"".join(
        [packer.compress(start), *(packer.compress(megabyte) for _ in range(256)), packer.flush()]
    )
    assert (1 << 28) / len(bomb) > 900
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError):
            read_header(bomb, DEFLATED_LE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_what_is_no_deflate_stream() -> None:
    with pytest.raises(MalformedError, match="deflate"):
        read_header(b"\xff" * 100, DEFLATED_LE)


def test_json_of_hostile_structure() -> None:
    for case, data in HOSTILE.items():
        if "hundreds" in case or case == "item delimiters only":  # a large object, and an empty one
            continue
        with pytest.raises(MalformedError):
            data_set_json(data, EXPLICIT_LE)
