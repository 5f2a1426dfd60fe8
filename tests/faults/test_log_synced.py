"""Appends that are durable when they return: by one write where that is enough."""

from __future__ import annotations

import errno
import os

import pytest

from hounsfield.domain.errors import StorageFullError
from support_blobs import SEGMENT, data_set, disk, incoming, noise


def test_a_failed_synced_append_refuses_all_of_it_and_leaves_the_segment(tmp_path, monkeypatch):
    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    before = log.append_synced([incoming(b"before")])
    real = os.pwritev

    def fails(fd: int, buffers: list[bytes], position: int, flags: int = 0) -> int:
        done = real(fd, buffers, position)
        if flags & os.RWF_DSYNC:
            raise OSError(errno.EIO, "written, but not durable")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fails)
        with pytest.raises(StorageFullError, match="disk failed"):
            log.append_synced([incoming(b"lost"), incoming(noise(3 * SEGMENT), 3)])
    assert not list(tmp_path.glob("large/**/*.dcm"))
    after = log.append_synced([incoming(b"after")])
    assert after[0].key != before[0].key
    log.checkpoint()
    log.close()
    blobs.close()
    assert [data_set(disk(tmp_path), location) for location in (*before, *after)] == [b"before", b"after"]


def test_a_synced_append_is_durable_whatever_its_size(tmp_path, monkeypatch):
    """By one write for a segment or, where the kernel takes less at one time, by a sync besides."""
    synced: set[int] = set()
    real, real_sync, most = os.pwritev, os.fdatasync, [1 << 30]

    def writes(fd: int, buffers: list[bytes], position: int, flags: int = 0) -> int:
        whole = b"".join(buffers)[: most[0]]
        if flags & os.RWF_DSYNC and len(whole) == sum(map(len, buffers)):
            synced.add(os.fstat(fd).st_ino)
        return real(fd, [whole], position, flags)

    def syncs(fd: int) -> None:
        real_sync(fd)
        synced.add(os.fstat(fd).st_ino)

    blobs = disk(tmp_path)
    log = blobs.open_log("w")
    monkeypatch.setattr(os, "pwritev", writes)
    monkeypatch.setattr(os, "fdatasync", syncs)
    kept = []
    for limit in (1 << 30, 700):
        most[0] = limit
        synced.clear()
        locations = log.append_synced([incoming(noise(size, size), size) for size in (10, 40_000, 50_000)])
        segments = {tmp_path / location.key for location in locations}
        assert len(segments) == 2
        assert {path.stat().st_ino for path in segments} <= synced
        kept += locations
    assert [len(data_set(blobs, location)) for location in kept] == [10, 40_000, 50_000] * 2
    log.close()
    blobs.close()
