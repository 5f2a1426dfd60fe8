"""Series packs: ZIP files for everybody, ranges of bytes for us."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from hounsfield.adapters import packs
from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.errors import BlobMovedError, DamagedError
from hounsfield.domain.study import Location
from support_blobs import AT, disk, noise


@pytest.fixture
def blobs(tmp_path: Path):
    made = disk(tmp_path)
    yield made
    made.close()


def write(
    blobs: DiskBlobs, members: dict[str, bytes], *, generation: int = 1
) -> tuple[str, dict[str, Location]]:
    pack = blobs.write_pack("1.2.840.1", "1.2.840.1.1", generation, AT)
    offsets = {}
    for name, data in members.items():
        pieces = (memoryview(data)[at : at + 60_000] for at in range(0, len(data), 60_000))
        offsets[name] = pack.add(name, pieces, len(data))
    key, _ = pack.finish()
    return key, {name: Location(key, offset, len(members[name]), 0) for name, offset in offsets.items()}


MEMBERS = {
    "1.2.3.1.dcm": noise(70_000, 1),
    "1.2.3.2.dcm": b"",
    "1.2.3.3.dcm": noise(3 << 20, 3),
    "metadata.json.gz": noise(500, 4),
}


def test_any_zip_tool_opens_it(blobs: DiskBlobs, tmp_path: Path):
    key, locations = write(blobs, MEMBERS)
    assert key == "packs/2025/06/1.2.840.1/1.2.840.1.1.zip"
    with zipfile.ZipFile(tmp_path / key) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == MEMBERS
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
    if unzip := shutil.which("unzip"):
        told = subprocess.run([unzip, "-tq", tmp_path / key], capture_output=True, text=True)
        assert (told.returncode, told.stderr) == (0, ""), told.stdout
    for name, location in locations.items():
        assert bytes(blobs.read(location)) == MEMBERS[name]
        assert bytes(blobs.read(location, 100, 50)) == MEMBERS[name][100:150]
    with blobs.open(locations["1.2.3.3.dcm"]) as read:
        assert bytes(read(2 << 20, 10)) == MEMBERS["1.2.3.3.dcm"][2 << 20 : (2 << 20) + 10]


@pytest.mark.parametrize("limit", [0, 1000, 80_000])
def test_zip64(blobs: DiskBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int):
    """Lengths and offsets past a limit go into ZIP64 fields, wherever that limit is."""
    monkeypatch.setattr(packs, "_ZIP64_FROM", limit)
    key, locations = write(blobs, MEMBERS)
    with zipfile.ZipFile(tmp_path / key) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == MEMBERS
    if unzip := shutil.which("unzip"):
        assert subprocess.run([unzip, "-tq", tmp_path / key], capture_output=True).returncode == 0
    assert bytes(blobs.read(locations["metadata.json.gz"])) == MEMBERS["metadata.json.gz"]


def test_more_members_than_a_plain_zip_counts(blobs: DiskBlobs, tmp_path: Path):
    pack = blobs.write_pack("1.2", "1.2.3", 1, AT)
    for number in range(66_000):
        pack.add(f"1.{number}.dcm", iter([b"x"]), 1)
    key, _ = pack.finish()
    with zipfile.ZipFile(tmp_path / key) as file:
        assert len(file.namelist()) == 66_000
        assert file.read("1.65999.dcm") == b"x"


def test_generations_and_names(blobs: DiskBlobs, tmp_path: Path):
    assert write(blobs, {"1.dcm": b"a"}, generation=2)[0].endswith("/1.2.840.1.1.g2.zip")
    # the pack of a job that died before the index knew of it is never written over
    first, _ = write(blobs, {"1.dcm": b"first"})
    second, locations = write(blobs, {"1.dcm": b"second"})
    assert first != second
    assert zipfile.ZipFile(tmp_path / first).read("1.dcm") == b"first"
    assert bytes(blobs.read(locations["1.dcm"])) == b"second"
    assert len(list((tmp_path / first).parent.iterdir())) == 3


@pytest.mark.parametrize("uid", ["../../../../tmp/x", "/etc/x", "", "1.2.3/../..", "a\0b", "1" * 4096, ".."])
def test_hostile_names_stay_inside(blobs: DiskBlobs, tmp_path: Path, uid: str):
    pack = blobs.write_pack(uid, uid, 1, AT)
    pack.add(uid + ".dcm", iter([b"abc"]), 3)
    key, _ = pack.finish()
    path = (tmp_path / key).resolve()
    assert path.is_relative_to(tmp_path / "packs" / "2025" / "06")
    assert len(path.relative_to(tmp_path).parts) == 5
    (name,) = zipfile.ZipFile(path).namelist()
    assert "/" not in name
    assert ".." not in name


def test_what_is_refused(blobs: DiskBlobs, tmp_path: Path):
    pack = blobs.write_pack("1.2", "1.2.3", 1, AT)
    pack.add("1.dcm", iter([b"abc"]), 3)
    with pytest.raises(ValueError, match="already"):
        pack.add("1.dcm", iter([b"abc"]), 3)
    with pytest.raises(ValueError, match="pieces have"):
        pack.add("2.dcm", iter([b"abc"]), 4)
    with pytest.raises(ValueError, match="came with"):
        pack.add("3.dcm", iter([b"abc"]), 2 << 20)
    pack.abandon()
    pack.abandon()
    assert not list(tmp_path.glob("**/*.part"))
    assert list(blobs.keys()) == []


def test_a_wrong_location_is_told(blobs: DiskBlobs, tmp_path: Path):
    _, locations = write(blobs, MEMBERS)
    right = locations["1.2.3.1.dcm"]
    with pytest.raises(DamagedError, match="No member"):
        blobs.read(Location(right.key, right.offset + 1, right.length, 0))
    with pytest.raises(DamagedError, match="No member"):
        blobs.read(Location(right.key, right.offset, right.length - 1, 0))
    os.truncate(tmp_path / right.key, right.offset + 10)
    with pytest.raises(DamagedError, match="cut short"):
        blobs.read(right)


def test_a_removed_pack_is_gone_with_its_folder(blobs: DiskBlobs, tmp_path: Path):
    key, locations = write(blobs, {"1.dcm": b"a"})
    assert bytes(blobs.read(locations["1.dcm"])) == b"a"
    assert blobs.remove(key)
    assert blobs.remove(key)
    with pytest.raises(BlobMovedError):
        blobs.read(locations["1.dcm"])
    assert not (tmp_path / key).parent.exists()
    assert (tmp_path / key).parent.parent.is_dir()


def test_only_the_packs_of_the_dead_are_cleared(blobs: DiskBlobs, tmp_path: Path):
    living = blobs.write_pack("1.2", "1.2.3", 1, AT)
    dead = blobs.write_pack("1.2", "1.2.4", 1, AT)
    os.close(dead._fd)
    dead._fd = -1
    assert packs.clear_left_packs(tmp_path) == 0  # too young to tell
    assert packs.clear_left_packs(tmp_path, older_than=-1) == 1
    living.add("1.dcm", iter([b"abc"]), 3)
    key, _ = living.finish()
    assert zipfile.ZipFile(tmp_path / key).read("1.dcm") == b"abc"
