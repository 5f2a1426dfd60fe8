"""Whether a data set is all there."""

from __future__ import annotations

import struct
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file, get_testdata_files

from hounsfield.wire.dicomfile.errors import MalformedError, TruncatedError
from hounsfield.wire.dicomfile.extent import check_whole
from hounsfield.wire.dicomfile.header import read_header
from hounsfield.wire.dicomfile.part10 import read_meta
from support_hostile import EXPLICIT, IMPLICIT, data_set, element

#: Files that pydicom carries because they end too soon.
CUT = {"MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "rtplan_truncated.dcm"}
FRAGMENTS = element(0x7FE00010, b"OB", b"", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 4) + bytes(4)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def check(data: bytes, syntax: str = EXPLICIT, *cuts: int) -> None:
    """Of the data in pieces that are cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(places)] or [data]
    check_whole(read_header(data, syntax), pieces, syntax)


def test_every_file_of_pydicom() -> None:
    looked = 0
    for name in sorted(get_testdata_files()):
        path = Path(name)
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            meta = read_meta(data)
            body = data[meta.meta_length :]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                header = read_header(body, meta.transfer_syntax_uid)
        except MalformedError:
            continue
        looked += 1
        for size in (len(body) or 1, 997):
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            if path.name in CUT:
                with pytest.raises(TruncatedError):
                    check_whole(header, pieces, meta.transfer_syntax_uid)
            else:
                check_whole(header, pieces, meta.transfer_syntax_uid)
    assert looked > 200


@given(st.lists(st.integers(0, 500), max_size=8))
def test_the_pieces_do_not_matter(cuts: list[int]) -> None:
    whole = data_set("1.2.3", after=element(0x00430010, b"UN", bytes(40)), pixels=bytes(64))
    check(whole, EXPLICIT, *cuts)
    with pytest.raises(TruncatedError):
        check(whole[:-1], EXPLICIT, *cuts)


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 11])
def test_encapsulated_pixel_data_need_their_end(cut: int) -> None:
    whole = data_set("1.2.3", pixels=None) + FRAGMENTS + END
    check(whole, "1.2.840.10008.1.2.4.90")
    with pytest.raises(TruncatedError):
        check(whole[:-cut], "1.2.840.10008.1.2.4.90")


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small.dcm"])
def test_native_pixel_data_of_every_encoding(name: str) -> None:
    data = Path(get_testdata_file(name)).read_bytes()
    meta = read_meta(data)
    body = data[meta.meta_length :]
    check(body, meta.transfer_syntax_uid)
    for cut in (1, 2, 100, 5000):
        with pytest.raises(TruncatedError):
            check(body[:-cut], meta.transfer_syntax_uid, 4000)


def test_sequences_behind_the_header() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 8) + element(0x00081150, b"UI", b"")
    sequence = element(0x52009230, b"SQ", b"", 0xFFFFFFFF) + item * 50 + END
    whole = data_set("1.2.3", after=sequence)
    check(whole, EXPLICIT, 300, 900)
    with pytest.raises(TruncatedError):
        check(whole[: whole.index(END) - 20], EXPLICIT, 300)


def test_padding_at_the_end_is_no_fault() -> None:
    check(data_set("1.2.3") + bytes(6))
    check(data_set("1.2.3") + element(0xFFFCFFFC, b"OB", bytes(100)))
    with pytest.raises(TruncatedError):
        check(data_set("1.2.3") + b"\xfc\xff\xfc\xff")


def test_very_many_elements_are_not_judged() -> None:
    """A walk over all of them would cost more than it tells."""
    tiny = b"".join(element(0x00490000 + n, b"UN", b"") for n in range(0x1000, 0x9000))
    check(data_set("1.2.3", after=tiny, pixels=None))
    check(data_set("1.2.3", after=tiny, pixels=None)[:-1])


def test_a_bare_command_of_implicit_vr_is_not_taken_for_pixels() -> None:
    with pytest.raises(MalformedError):
        check(b"\xe0\x7f\x10\x00\xff\xff\xff\x7f", IMPLICIT)
