"""Files and folders that survive a power cut, and the reserve of free room kept on their disk."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from hounsfield.domain.errors import StorageFullError

Piece = bytes | bytearray | memoryview

_IOV_MAX = 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_error(error: OSError, doing: str) -> StorageFullError:
    """What a failed write means to the sender of an object: we cannot take it now."""
    if error.errno in _FULL:
        return StorageFullError(f"The disk is full: {doing} failed", "Free some room or add storage")
    if error.errno == errno.EROFS:
        return StorageFullError(
            f"The disk is read-only: {doing} failed", "Look at the system log for its reason"
        )
    return StorageFullError(
        f"The disk failed ({error.strerror or error}): {doing}", "Look at the system log and check the disk"
    )


def sync_folder(folder: Path) -> None:
    """Make names made, changed or removed in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably. Only its owner and group may look inside."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode=0o750, exist_ok=True)
    sync_folder(folder.parent)


def move_into_place(source: Path, target: Path) -> None:
    """Rename, and make the new name durable before the old one may vanish."""
    source.rename(target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


def create(path: Path) -> int:
    """A new file, open for reading and writing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)


def write_all(fd: int, piece: Piece) -> None:
    """write(2) until all of it is written."""
    written = os.write(fd, piece)
    if written == len(piece):
        return
    rest = memoryview(piece)[written:]
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def write_vector(fd: int, buffers: list[Piece], position: int, total: int) -> None:
    """pwritev(2) of all buffers, which are `total` bytes. Raises OSError; ValueError when they are not."""
    if len(buffers) <= _IOV_MAX and os.pwritev(fd, buffers, position) == total:
        return
    start = position
    for first in range(0, len(buffers), _IOV_MAX):
        batch = buffers[first : first + _IOV_MAX]
        while batch:
            written = os.pwritev(fd, batch, position)
            position += written
            while batch and written >= len(batch[0]):
                written -= len(batch.pop(0))
            if written:
                batch[0] = memoryview(batch[0])[written:]
    if position - start != total:
        raise ValueError(f"{total} bytes were to be written, but the pieces have {position - start}")


def write_synced(fd: int, buffers: list[Piece], position: int, total: int) -> bool:
    """`write_vector` by one call that returns once the bytes are durable. False when one was not enough: then
    nothing is known of them."""
    return len(buffers) <= _IOV_MAX and os.pwritev(fd, buffers, position, os.RWF_DSYNC) == total


def read_exactly(fd: int, length: int, position: int) -> bytes | bytearray:
    """pread(2) of `length` bytes; fewer only at the end of the file."""
    data = os.pread(fd, length, position)
    if len(data) == length or not data:
        return data
    whole = bytearray(data)
    while len(whole) < length and (data := os.pread(fd, length - len(whole), position + len(whole))):
        whole += data
    return whole


class Reserve:
    """Refuses writes before the disk is quite full, so that database and ledger can go on."""

    def __init__(self, root: Path, min_free_bytes: int) -> None:
        self._root = root
        self._min_free = min_free_bytes
        self._looked_at = 0.0
        self._free = 0

    def free_bytes(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def check(self, need: int = 0) -> None:
        """Raises StorageFullError when less than the reserve is left. Looks at most once a second."""
        now = time.monotonic()
        if now - self._looked_at >= 1.0:
            self._free = self.free_bytes()
            self._looked_at = now
        if self._free - need < self._min_free:
            raise StorageFullError(
                f"Only {self._free // 1_000_000} MB are left on the disk of {self._root}; "
                f"{self._min_free // 1_000_000} MB are kept in reserve",
                "Free some room or add storage",
            )
