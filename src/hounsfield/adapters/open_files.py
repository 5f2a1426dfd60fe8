"""Files kept open for reading: an open costs more than the read of a small object."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from hounsfield.adapters.segments import PAGE, parse_segment_name, read_segment_header
from hounsfield.domain.errors import BlobMovedError, DamagedError


class OpenFile:
    __slots__ = ("dropped", "fd", "generation", "key", "map", "users", "views")

    def __init__(self, key: str, fd: int, generation: bytes | None) -> None:
        self.key = key
        self.fd = fd
        self.generation = generation  # of a log segment
        self.users = 0
        self.dropped = False
        self.map: memoryview | None = None
        self.views = 0


class FileView:
    """Bytes of a file where they lie (`ports.blobs.View`); meanwhile it is locked against another life."""

    __slots__ = ("_file", "_files", "piece")

    def __init__(self, files: OpenFiles, file: OpenFile, piece: memoryview) -> None:
        self._files = files
        self._file: OpenFile | None = file
        self.piece = piece

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._files.end_view(file)


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

    def view(self, file: OpenFile, start: int, length: int) -> FileView | None:
        """Its bytes from `start` on, mapped. Takes over one `acquire`; None, and it did not, when the file is
        about to get another life, is too short, or can be neither locked nor mapped."""
        with self._lock:
            if not file.views and not _locked(file):
                return None
            file.views += 1
            try:
                if file.map is None:
                    file.map = memoryview(mmap.mmap(file.fd, 0, prot=mmap.PROT_READ))
                whole = file.map
            except (OSError, ValueError):  # an empty file
                whole = memoryview(b"")
        if start + length > len(whole):
            self._unlock(file)
            return None
        return FileView(self, file, whole[start : start + length])

    def end_view(self, file: OpenFile) -> None:
        self._unlock(file)
        self.release(file)

    def _unlock(self, file: OpenFile) -> None:
        with self._lock:
            file.views -= 1
            if not file.views:
                fcntl.flock(file.fd, fcntl.LOCK_UN)

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


def _locked(file: OpenFile) -> bool:
    """Whether it could be locked against another life, and has not got one since it was opened."""
    try:
        fcntl.flock(file.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    if file.generation is None:
        return True
    try:
        if read_segment_header(os.pread(file.fd, PAGE, 0)) == file.generation:
            return True
    except OSError:
        pass  # `read` says what is wrong
    fcntl.flock(file.fd, fcntl.LOCK_UN)
    return False
