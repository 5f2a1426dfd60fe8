"""Files kept open for reading: an open costs more than the read of a small object."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from hounsfield.adapters.segments import parse_segment_name
from hounsfield.domain.errors import BlobMovedError, DamagedError


class OpenFile:
    __slots__ = ("dropped", "fd", "generation", "key", "users")

    def __init__(self, key: str, fd: int, generation: bytes | None) -> None:
        self.key = key
        self.fd = fd
        self.generation = generation  # of a log segment
        self.users = 0
        self.dropped = False


class OpenFiles:
    """The `limit` files used last. Thread-safe; a file in use is not closed under its reader."""

    def __init__(self, path_of: Callable[[str], Path], limit: int) -> None:
        self._path_of = path_of
        self._limit = limit
        self._files: OrderedDict[str, OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def acquire(self, key: str) -> OpenFile:
        """Raises BlobMovedError when it is not there. Must be followed by `release`."""
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                self._files.move_to_end(key)
                file.users += 1
                return file
        opened = self._open(key)
        with self._lock:
            file = self._files.setdefault(key, opened)
            file.users += 1
            if file is not opened:
                os.close(opened.fd)  # another thread was quicker
            while len(self._files) > self._limit:
                self._drop(self._files.popitem(last=False)[1])
        return file

    def acquire_open(self, key: str) -> OpenFile | None:
        """The same for a file that is open already."""
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                self._files.move_to_end(key)
                file.users += 1
            return file

    def release(self, file: OpenFile) -> None:
        with self._lock:
            file.users -= 1
            if file.dropped and not file.users:
                os.close(file.fd)

    def forget(self, key: str) -> None:
        with self._lock:
            file = self._files.pop(key, None)
            if file is not None:
                self._drop(file)

    def close(self) -> None:
        with self._lock:
            while self._files:
                self._drop(self._files.popitem()[1])

    def _drop(self, file: OpenFile) -> None:
        file.dropped = True
        if not file.users:
            os.close(file.fd)

    def _open(self, key: str) -> OpenFile:
        path = self._path_of(key)
        segment = parse_segment_name(path.name) if key.startswith("log/") else None
        try:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                self.close()  # make room among our own
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BlobMovedError(f"{key} is not there", "Look its objects up in the index again") from error
        except OSError as error:
            raise DamagedError(
                f"{key} cannot be opened: {error.strerror}", "Check the disk, permissions and open-file limit"
            ) from error
        return OpenFile(key, fd, segment[1] if segment else None)
