"""Files that are not what they claim to be: file meta groups damaged, cut anywhere, filled with noise."""

from __future__ import annotations

import random
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hounsfield.services.importing import Import, Report
from support_hostile import EXPLICIT, data_set, element, padded
from support_ours import Ours, ours
from support_server import MIB, loaded, study
from support_services import close_store, open_store

FILE = bytes(128) + b"DICM"
SYNTAX = element(0x00020010, b"UI", padded(EXPLICIT))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Ours]:
    with ours(tmp_path) as made:
        yield made


def import_all(mine: Ours, folder: Path, files: dict[str, bytes]) -> Report:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    store = open_store(mine.house)
    try:
        run = Import(store, mine.house.database, mine.house.clock, state=mine.house.root / "imports")
        return run.run([folder])
    finally:
        close_store(store)


def group_length(value: int) -> bytes:
    return element(0x00020000, b"UL", struct.pack("<L", value))


DAMAGED = {
    "nothing behind DICM": FILE,
    "a group length of 4 GiB": FILE + group_length(0xFFFFFFFF) + SYNTAX + data_set("1.2.1"),
    "an unknown VR of huge length": FILE + group_length(40) + b"\2\0\x77\0ZZ\0\0\xff\xff\xff\xff" + SYNTAX,
    "a value of huge length": FILE
    + group_length(40)
    + element(0x00020001, b"OB", b"\0\1", 0xFFFFFFF0)
    + SYNTAX,
    "a sequence in the meta group": FILE
    + group_length(40)
    + element(0x00020100, b"SQ", b"", 0xFFFFFFFF) * 5000
    + SYNTAX,
    "a transfer syntax that is a path": FILE
    + group_length(20)
    + element(0x00020010, b"UI", b"../../../x\0\0")
    + data_set("1.2.2"),
    "a million meta elements": FILE + group_length(8) + element(0x00020012, b"UI", b"") * 300_000,
    "noise behind DICM": FILE + random.Random(3).randbytes(5000),
}


def test_damaged_file_meta_groups(mine: Ours, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    good = study(1)[0]
    report = import_all(mine, tmp_path / "in", {**DAMAGED, "good.dcm": good})
    assert report.new >= 1 and loaded(good).SOPInstanceUID in mine.uids
    assert report.files == len(DAMAGED) + 1
    assert mine.uids <= {loaded(good).SOPInstanceUID, "1.2.1", "1.2.2"}
    named = {Path(name).name for name, kind, why in report.notes if why}
    assert named >= {"an unknown VR of huge length", "a value of huge length", "noise behind DICM"}
    assert len(mine.house.events("instance.refused")) == report.refused > 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 * MIB // 1024


def test_a_file_cut_at_every_byte(mine: Ours, tmp_path: Path) -> None:
    """Every byte of the meta group and of the header; then every 97th. What is taken, is taken at the end of
    an element, with all that an object needs."""
    data = study(1, pixels=bytes(4000))[0]
    lengths = [*range(700), *range(700, len(data), 97)]
    report = import_all(mine, tmp_path / "in", {f"{n:05}.dcm": data[:n] for n in lengths})
    assert report.files == len(lengths)
    taken = report.new + report.conflicting + report.identical
    assert taken <= 6, "the rows, columns and bits that follow the series' UID"
    assert report.refused > 200
    for instance in mine.house.instances():
        assert instance.location.length < len(data) - 4000


def test_noise_of_every_size(mine: Ours, tmp_path: Path) -> None:
    chance = random.Random(11)
    files = {f"{n}": chance.randbytes(n) for n in (0, 1, 2, 127, 131, 132, 133, 1000, 100_000)}
    files |= {
        f"{n}.dcm": FILE + group_length(len(SYNTAX)) + SYNTAX + chance.randbytes(n) for n in range(0, 900, 30)
    }
    report = import_all(mine, tmp_path / "in", files)
    assert report.new == 0 and report.files == len(files)
    assert all(why for _, _, why in report.notes)
