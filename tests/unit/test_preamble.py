"""What else than DICOM a file's preamble makes it."""

import pytest

from hounsfield.domain.preamble import disguise, neutral


def file(preamble: bytes) -> bytes:
    return preamble.ljust(128, b"\0") + b"DICM" + b"data set"


@pytest.mark.parametrize(
    "preamble",
    [b"MZ\x90", b"\x7fELF\x02", b"#!/bin/sh\n", b"PK\x03\x04", b"\xcf\xfa\xed\xfe", b"%PDF-1.7", b"<script>",
     b"\0\0 \n<HTML", b"\xef\xbb\xbf<svg", b"@ECHO off"],
)  # fmt: skip
def test_programs_are_found_and_made_harmless(preamble):
    data = file(preamble)
    assert disguise(data)
    assert neutral(data) == file(b"")


@pytest.mark.parametrize(
    "preamble", [b"", b"II*\0\x10", b"MM\0*", b"some text of a vendor", b"\0" * 127 + b"M"]
)
def test_zeros_tiff_and_plain_text_are_left_alone(preamble):
    assert disguise(file(preamble)) == ""


def test_what_is_not_dicom_is_not_judged():
    assert disguise(b"MZ") == "" and disguise(b"") == ""
