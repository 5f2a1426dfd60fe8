"""File meta: what we write pydicom reads, what others write wrongly is read, what is hostile is refused."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import pydicom
import pytest

from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.part10 import build_meta, read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from support_dicomfile import pydicom_files

META = build_meta(
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.3.4.5",
    EXPLICIT_LE,
    implementation_class_uid="1.2.826.1",
    implementation_version="VERSION_1",
    source_ae="SCANNER",
)
ELEMENT = b"\x08\0\x60\0CS\2\0CT"


def group(*elements: bytes) -> bytes:
    return bytes(128) + b"DICM" + b"".join(elements)


def short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


SYNTAX = short(0x10, b"UI", EXPLICIT_LE.encode() + b"\0")


def test_pydicom_reads_what_we_build() -> None:
    read = pydicom.dcmread(io.BytesIO(META + ELEMENT))
    meta = read.file_meta
    assert meta.FileMetaInformationGroupLength == len(META) - 144
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert meta.MediaStorageSOPInstanceUID == "1.2.3.4.5"
    assert meta.TransferSyntaxUID == EXPLICIT_LE
    assert meta.ImplementationClassUID == "1.2.826.1"
    assert meta.ImplementationVersionName == "VERSION_1"
    assert meta.SourceApplicationEntityTitle == "SCANNER"
    assert read.Modality == "CT"
    assert len(META) % 2 == 0


def test_we_read_what_we_build() -> None:
    meta = read_meta(META + ELEMENT)
    assert meta.meta_length == len(META)
    assert (meta.transfer_syntax_uid, meta.sop_class_uid, meta.sop_instance_uid) == (
        EXPLICIT_LE,
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.3.4.5",
    )
    assert (meta.implementation_class_uid, meta.implementation_version, meta.source_ae) == (
        "1.2.826.1",
        "VERSION_1",
        "SCANNER",
    )
    assert not meta.guessed


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda path: path.name)
def test_agrees_with_pydicom(path: Path) -> None:
    data = path.read_bytes()
    if path.name in {"README", "no_meta.dcm"}:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True).file_meta
    ours = read_meta(data)
    assert ours.guessed == ("TransferSyntaxUID" not in theirs)
    assert ours.guessed or ours.transfer_syntax_uid == theirs.TransferSyntaxUID
    assert ours.sop_class_uid == theirs.get("MediaStorageSOPClassUID", "")
    assert ours.sop_instance_uid == theirs.get("MediaStorageSOPInstanceUID", "")


@pytest.mark.parametrize("length", [None, 0, 4, 5000, 0xFFFFFFFF])
def test_group_length_missing_or_wrong(length: int | None) -> None:
    head = b"" if length is None else short(0, b"UL", struct.pack("<I", length))
    meta = read_meta(group(head, SYNTAX) + ELEMENT)
    assert meta.transfer_syntax_uid == EXPLICIT_LE
    assert meta.meta_length == 132 + len(head) + len(SYNTAX)


def test_no_preamble() -> None:
    assert read_meta(SYNTAX + ELEMENT).meta_length == len(SYNTAX)


def test_meta_in_implicit_vr() -> None:
    uid = IMPLICIT_LE.encode() + b"\0"
    meta = read_meta(group(struct.pack("<HHI", 2, 0x10, len(uid)) + uid) + ELEMENT)
    assert meta.transfer_syntax_uid == IMPLICIT_LE
    assert meta.meta_length == 132 + 8 + len(uid)


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (ELEMENT, EXPLICIT_LE),
        (b"\0\x08\0\x60CS\0\2CT", EXPLICIT_BE),
        (b"\x08\0\x60\0\2\0\0\0CT", IMPLICIT_LE),
    ],
)
def test_bare_data_set(data: bytes, syntax: str) -> None:
    meta = read_meta(data)
    assert (meta.meta_length, meta.transfer_syntax_uid, meta.guessed) == (0, syntax, True)


def test_missing_transfer_syntax_is_guessed_from_the_data_set() -> None:
    version = short(2, b"UI", b"1.2\0")
    assert read_meta(group(version) + ELEMENT).transfer_syntax_uid == EXPLICIT_LE
    assert read_meta(group(version) + b"\x08\0\x60\0\2\0\0\0CT").transfer_syntax_uid == IMPLICIT_LE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedError),
        (b"GET / HTTP/1.1\r\n\r\n", MalformedError),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), MalformedError),
        (bytes(200), MalformedError),
        (group(short(1, b"ZZ", b"")), MalformedError),
        (group(struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 0xFFFFFFF0)), LimitError),
        (group(struct.pack("<HH2sHI", 2, 0x102, b"UN", 0, 0xFFFFFFFF)), TruncatedError),
        (group(struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 100)), TruncatedError),
        (group(short(0x102, b"SH", b"") * 100_000), LimitError),
        (META[:-3], TruncatedError),
    ],
)
def test_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_meta(data)


def test_truncated_at_every_byte() -> None:
    whole = META + ELEMENT
    for cut in range(len(whole)):
        try:
            meta = read_meta(whole[:cut])
        except MalformedError:
            continue
        assert meta.meta_length <= cut
        if cut >= len(META):
            assert meta == read_meta(whole)


def test_text_that_is_not_ascii_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="ascii"):
        build_meta("1.2", "1.3", "1.4", implementation_class_uid="1.5", implementation_version="Ä")
