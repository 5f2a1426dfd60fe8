"""Finding the files of an import: nothing trusts a name, a reference or a claimed size."""

import os
import struct
import zipfile
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from hounsfield.domain.errors import UnreadableError
from hounsfield.services import walking
from hounsfield.services.walking import Found, Passed, printable, referenced_files, walk


def found(paths):
    return [item for item in walk(paths) if isinstance(item, Found)]


def passed(paths):
    return [item for item in walk(paths) if isinstance(item, Passed)]


def element(tag, vr, value):
    value += b" " * (len(value) % 2)
    if vr == b"SQ":
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def dicomdir(*references):
    """A minimal DICOMDIR, explicit VR little endian, one record for each reference."""
    items = b""
    for reference in references:
        record = element(0x00041430, b"CS", b"IMAGE") + element(0x00041500, b"CS", reference)
        items += struct.pack("<HHI", 0xFFFE, 0xE000, len(record)) + record
    body = element(0x00041130, b"CS", b"DISK") + element(0x00041220, b"SQ", items)
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, 0) + body


def read_all(item):
    stream = item.open()
    data = b""
    while piece := stream.read(1 << 16):
        data += piece
    stream.close()
    return data


def test_a_folder_is_walked_in_order_of_names_without_following_links(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    for name in ("b/deep/2", "b/1", "a/9", "0"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    names = [str(Path(item.name).relative_to(tmp_path)) for item in found([tmp_path])]
    assert names == ["0", "a/9", "b/1", "b/deep/2"]
    assert sorted(Path(item.name).name for item in passed([tmp_path])) == ["c", "loop", "pipe"]


def test_what_is_not_there_or_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    answers = passed([tmp_path / "missing", tmp_path / "pipe", Path("with\0nul")])
    assert [a.refused for a in answers] == [True, True, True]
    assert "No such file" in answers[0].why


def test_a_dicomdir_leads_to_its_files_whatever_their_case(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "im000001.;1").write_bytes(b"one")
    (tmp_path / "LOOSE").write_bytes(b"not named")
    (tmp_path / "dicomdir").write_bytes(dicomdir(b"IMAGES\\IM000001", b"IMAGES\\IM000001", b"IMAGES\\IM2"))
    listed = list(walk([tmp_path / "dicomdir"]))
    assert [item.path for item in listed if isinstance(item, Found)] == [tmp_path / "images" / "im000001.;1"]
    assert [item.why for item in listed if isinstance(item, Passed)] == [
        "the DICOMDIR refers to it, but it is not there"
    ]


@pytest.mark.parametrize(
    "reference",
    [b"..\\SECRET", b"../SECRET", b"/ETC/PASSWD", b"IMAGES\\..\\..\\SECRET", b"", b".", b"LINK",
     b"OUT\\SECRET", b"A\0B", b"X" * 4096],
)  # fmt: skip
def test_a_dicomdir_never_leads_out_of_its_folder(tmp_path, reference):
    inside = tmp_path / "disk"
    (inside / "images").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "out").symlink_to(tmp_path)
    (inside / "DICOMDIR").write_bytes(dicomdir(reference))
    assert found([inside / "DICOMDIR"]) == []
    assert [item.refused for item in passed([inside / "DICOMDIR"])] == [True]


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
def test_references_agree_with_pydicom(name):
    path = get_testdata_file(f"dicomdirtests/{name}") or get_testdata_file(name)
    expected = [
        tuple(
            [record.ReferencedFileID] if isinstance(record.ReferencedFileID, str) else record.ReferencedFileID
        )
        for record in pydicom.dcmread(path).DirectoryRecordSequence
        if "ReferencedFileID" in record
    ]
    assert expected
    assert list(referenced_files(Path(path).read_bytes())) == expected


def test_a_dicomdir_nested_without_end_costs_no_stack():
    deep = struct.pack("<HH2sHI", 4, 0x1220, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    data = dicomdir() + deep * 100_000 + element(0x00041500, b"CS", b"DEEP")
    assert list(referenced_files(data)) == [("DEEP",)]


@given(st.binary(max_size=400), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(noise, at):
    good = dicomdir(b"A\\B", b"C")
    for data in (noise, good[:at], good[:at] + noise + good[at:]):
        try:
            for reference in referenced_files(data):
                assert all(isinstance(component, str) for component in reference)
        except UnreadableError as error:
            assert error.what


def test_a_zip_gives_its_members_and_never_their_names_as_paths(tmp_path):
    path = tmp_path / "study.ZIP"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside", b"slip")
        archive.writestr("/etc/absolute", b"root")
        archive.writestr("a/b/c.dcm", b"nested")
        archive.writestr("a/inner.zip", b"PK\x03\x04")
        archive.mkdir("a/folder")
    items = found([tmp_path])
    assert [item.path for item in items] == [None, None, None]
    assert [read_all(item) for item in items] == [b"slip", b"root", b"nested"]
    assert ["ZIP within a ZIP" in item.why for item in passed([path])] == [True]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["study.ZIP"]


def test_members_stay_readable_after_the_walk_has_gone_on(tmp_path):
    for name in ("one.zip", "two.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x", name.encode())
    assert [read_all(item) for item in list(walk([tmp_path]))] == [b"one.zip", b"two.zip"]


def test_a_bomb_stops_at_a_multiple_of_the_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "RATIO_FLOOR", 1 << 20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}", bytes(16 << 20))
    taken = 0
    with pytest.raises(UnreadableError, match="200 times"):
        for item in found([path]):
            stream = item.open()
            while piece := stream.read(1 << 16):
                taken += len(piece)
    assert taken <= max(1 << 20, 200 * path.stat().st_size)


@pytest.mark.parametrize("claimed", [1, 3_000_000_000])
def test_a_forged_size_is_not_believed(tmp_path, claimed):
    content = b"0123456789" * 100
    path = tmp_path / "forged.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", content)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", claimed)
    path.write_bytes(data)
    (item,) = found([path])
    if claimed < len(content):
        with pytest.raises(UnreadableError):
            read_all(item)
    else:
        assert read_all(item) == content


def test_a_broken_or_encrypted_zip_is_refused(tmp_path):
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and then nothing")
    locked = tmp_path / "locked.zip"
    with zipfile.ZipFile(locked, "w") as archive:
        archive.writestr("x", b"x")
    data = bytearray(locked.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(data)
    answers = passed([tmp_path])
    assert [a.refused for a in answers] == [True, True]
    assert "encrypted" in answers[1].why


def test_a_damaged_member_is_refused(tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    (item,) = found([path])
    with pytest.raises(UnreadableError, match="damaged"):
        read_all(item)


def test_names_are_fit_to_be_printed():
    assert printable("a\x1b[31mb\nc\udcff") == "a\ufffd[31mb\ufffdc\ufffd"
    assert len(printable("x" * 5000)) < 1100
