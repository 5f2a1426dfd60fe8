"""A disk that is full, fails or stops: a round is refused as a whole, and the log goes on; kill -9."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hounsfield.domain.errors import ConflictError, StorageFullError
from support_blobs import SEGMENT, data_set, disk, incoming, meta_of, noise, replayed


class Failing:
    """os.pwritev that fails at its n-th call, after writing some of it."""

    def __init__(self, at: int, code: int, *, partly: int = 0, from_then_on: bool = False) -> None:
        self.real = os.pwritev
        self.left = at
        self.code = code
        self.partly = partly
        self.from_then_on = from_then_on

    def __call__(self, fd: int, buffers: list[bytes], position: int) -> int:
        self.left -= 1
        if self.left == 0 or (self.left < 0 and self.from_then_on):
            if self.partly:
                os.pwrite(fd, b"".join(buffers)[: self.partly], position)
            raise OSError(self.code, os.strerror(self.code))
        return self.real(fd, buffers, position)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("partly", [0, 300, 30_000])
def test_a_failed_round_is_undone_and_the_log_goes_on(tmp_path, monkeypatch, code, call, partly):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    before = log.append([incoming(b"before")])
    log.sync()
    spill = log.spill(meta_of(7))
    spill.write(b"large")
    large = incoming(b"large", 7)
    large.pieces, large.spill = None, spill
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", Failing(call, code, partly=partly))
        with pytest.raises(StorageFullError, match=r"intake log 'w'"):
            log.append([large, *(incoming(noise(25_000, number), number) for number in range(5))])
    assert not list(tmp_path.glob("large/**/*.dcm"))
    spill.discard()  # is the caller's again
    assert not list((tmp_path / "incoming" / "w").iterdir())
    after = log.append([incoming(b"after")])
    log.sync()
    log.close()
    blobs.close()
    found, _ = replayed(tmp_path)
    assert [record.location for record, _ in found] == before + after


def test_a_log_that_cannot_undo_refuses_until_it_can(tmp_path, monkeypatch):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    before = log.append([incoming(b"before")])
    log.sync()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", Failing(1, errno.EIO, partly=5000, from_then_on=True))
        with pytest.raises(StorageFullError):
            log.append([incoming(b"refused")])
        with pytest.raises(StorageFullError, match="undoing a failed write"):
            log.append([incoming(b"refused, too")])
    assert data_set(blobs, before[0]) == b"before"
    after = log.append([incoming(b"after")])
    log.sync()
    log.close()
    blobs.close()
    assert [record.location for record, _ in replayed(tmp_path)[0]] == before + after


def test_a_log_that_could_never_undo_opens_again(tmp_path, monkeypatch):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", Failing(1, errno.EIO, partly=5000, from_then_on=True))
        with pytest.raises(StorageFullError):
            log.append([incoming(b"refused")])
        log.close()
    with pytest.raises(StorageFullError, match="closed"):
        log.append([incoming(b"after")])
    list(blobs.replay("w"))
    log = blobs.open_log("w")
    log.append([incoming(b"after")])
    log.close()
    blobs.close()


def test_a_failed_sync_refuses_all_since_the_last_and_leaves_the_segment(tmp_path, monkeypatch):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    before = log.append([incoming(b"before")])
    log.sync()
    log.append([incoming(b"lost"), incoming(noise(3 * SEGMENT), 3)])
    log.append([incoming(b"lost too")])

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(StorageFullError, match="syncing"):
            log.sync()
    assert not list(tmp_path.glob("large/**/*.dcm"))
    after = log.append([incoming(b"after")])
    log.sync()
    assert after[0].key != before[0].key
    log.close()
    blobs.close()
    assert [record.location for record, _ in replayed(tmp_path)[0]] == before + after


def test_every_file_of_a_round_is_synced(tmp_path, monkeypatch):
    """A round over several segments, with large objects: nothing is left to the kernel's leisure."""
    synced: set[int] = set()

    def watching(real):
        def call(fd: int) -> None:
            real(fd)
            synced.add(os.fstat(fd).st_ino)

        return call

    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, watching(getattr(os, name)))
    locations = log.append(
        [incoming(noise(length, length), length) for length in (10, 40_000, 50_000, 99_000)]
    )
    segments = {tmp_path / location.key for location in locations if location.key.startswith("log/")}
    large = tmp_path / locations[3].key
    assert len(segments) == 2
    assert {large.stat().st_ino, large.parent.stat().st_ino} <= synced  # before a record names it
    synced.clear()
    log.sync()
    assert {path.stat().st_ino for path in segments} <= synced
    synced.clear()
    log.checkpoint()
    log.close()
    assert (tmp_path / "log" / "w" / "checkpoint").stat().st_ino in synced  # says clean
    synced.clear()
    blobs.open_log("w")
    assert (tmp_path / "log" / "w" / "checkpoint").stat().st_ino in synced  # says no longer clean
    synced.clear()
    pack = blobs.write_pack("1.2", "1.2.3", 1, 0)
    pack.add("1.dcm", iter([b"x"]), 1)
    path = tmp_path / pack.finish()[0]
    assert {path.stat().st_ino, path.parent.stat().st_ino} <= synced
    blobs.close()


def test_the_reserve_is_kept(tmp_path: Path):
    blobs = disk(tmp_path, min_free_bytes=1 << 60)
    log = blobs.open_log("w")
    for write in (
        lambda: log.append([incoming(b"x")]),
        lambda: log.spill(b"meta"),
        lambda: blobs.write_pack("1", "2", 1, 0),
    ):
        with pytest.raises(StorageFullError, match="in reserve"):
            write()
    assert not list(tmp_path.glob("**/*.part"))
    log.close()
    blobs.close()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 1 MiB."""
    root = tmp_path / "small"
    root.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", root], capture_output=True)
    if made.returncode:
        pytest.skip("mounting needs root")
    yield root
    subprocess.run(["umount", root], check=True)


def test_a_disk_that_is_really_full(small_disk: Path):
    blobs = disk(small_disk)
    log = blobs.open_log("w")
    kept, refused = [], 0
    for number in range(40):
        try:
            kept += log.append([incoming(noise(40_000, number), number)])
            log.sync()
        except StorageFullError:
            refused += 1
    assert kept
    assert refused
    spill = log.spill(meta_of(1))
    with pytest.raises(StorageFullError, match="full"):
        for _ in range(300):
            spill.write(noise(10_000))
    spill.discard()
    pack = blobs.write_pack("1.2", "1.2.3", 1, 0)
    with pytest.raises(StorageFullError):
        pack.add("1.dcm", iter([noise(2 << 20)]), 2 << 20)
    pack.abandon()
    (small_disk / kept[0].key).unlink()
    (last,) = log.append([incoming(noise(40_000), 99)])
    log.sync()
    log.close()
    blobs.close()
    assert [record.location for record, _ in replayed(small_disk)[0]] == [*kept[1:], last]


def test_files_may_not_grow(tmp_path: Path):
    """RLIMIT_FSIZE: the kernel cuts writes short in the middle of a round, then refuses them."""
    told = run(
        tmp_path,
        """
        import resource
        log = blobs.open_log("w")
        log.append([incoming(b"before")])
        log.sync()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            log.append([incoming(noise(10_000, 1)), incoming(noise(10_000, 2))])
        except StorageFullError as error:
            print(error.what)
        log.append([incoming(b"after")])
        log.sync()
        """,
    )
    out, _ = told.communicate(timeout=60)
    assert told.returncode == 0
    assert "disk is full" in out
    assert [data for _, data in replayed(tmp_path)[0]] == [b"before", b"after"]


def run(root: Path, code: str) -> subprocess.Popen[str]:
    begin = f"""
from pathlib import Path
from hounsfield.domain.errors import StorageFullError
from support_blobs import disk, incoming, meta_of, noise
blobs = disk(Path({str(root)!r}), spare_segments=2)
"""
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-c", begin + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )


WORK = """
import random, sys
for record in blobs.replay("w"):
    pass
log = blobs.open_log("w")
print("open", flush=True)
chance = random.Random(SEED)
number = SEED * 100_000
while True:
    objects = []
    for _ in range(chance.randrange(1, 6)):
        number += 1
        data = noise(chance.choice((10, 3000, 20_000, 90_000)), number)
        each = incoming(data, number)
        if number % 5 == 0:
            each.spill, each.pieces = log.spill(each.meta), None
            each.spill.write(data)
        objects.append((number, len(data), each))
    log.append([each for _, _, each in objects])
    log.sync()
    for name, length, _ in objects:
        print(name, length, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path):
    acknowledged: dict[int, int] = {}
    chance = random.Random(11)
    for turn in range(12):
        writer = run(tmp_path, WORK.replace("SEED", str(turn)))
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 40))]
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.read().splitlines()
        writer.wait()
        for line in lines:
            if len(words := line.split()) == 2 and line.endswith("\n"):
                acknowledged[int(words[0])] = int(words[1])
    blobs = disk(tmp_path)
    kept: dict[bytes, bytes] = {}
    for record in blobs.replay("w"):
        kept[bytes(blobs.read(record.location, 0, record.location.meta_length))] = data_set(
            blobs, record.location
        )
    assert len(acknowledged) > 60
    for number, length in acknowledged.items():
        assert kept[meta_of(number)] == noise(length, number)
    log = blobs.open_log("w")
    assert not list((tmp_path / "incoming" / "w").iterdir())
    log.checkpoint()
    log.close()
    assert list(blobs.replay("w")) == []
    blobs.close()


def test_a_killed_writer_lets_go_of_its_log(tmp_path: Path):
    writer = run(tmp_path, WORK.replace("SEED", "1"))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    blobs = disk(tmp_path)
    with pytest.raises(ConflictError, match="in use"):
        list(blobs.replay("w"))
    writer.kill()
    writer.wait()
    list(blobs.replay("w"))
    blobs.open_log("w").close()
    blobs.close()


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_segment_that_could_not_be_opened_is_the_next_one(tmp_path, monkeypatch, call):
    """No descriptor was left, say; nothing may hold its place for ever."""
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    before = log.append([incoming(noise(40_000))])
    log.sync()
    real = getattr(os, call)

    def fails(first: object, *more: object) -> int:
        where = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else first
        if str(where).endswith(("/log/w", ".seg")) and any(tmp_path.glob("log/w/00000002-*")):
            raise OSError(errno.EMFILE, "no descriptor left")
        return real(first, *more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        for _ in range(2):
            with pytest.raises(StorageFullError):
                log.append([incoming(noise(40_000, 1))])
    after = log.append([incoming(noise(40_000, 1))])
    log.sync()
    log.close()
    blobs.close()
    assert [record.location for record, _ in replayed(tmp_path)[0]] == before + after
    assert len(list(tmp_path.glob("log/w/*.seg"))) == 2
