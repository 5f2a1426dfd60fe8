"""Where bytes are kept on the local disk.

Under the data folder:  log/<writer>/<number>-<generation>.seg   intake log segments
                        large/<yyyy>/<mm>/<hash>-<random>.dcm    large objects, plain Part 10 files
                        packs/<yyyy>/<mm>/<study>/<series>.zip   series packs
                        incoming/                                what is being received or written
                        set-aside/<hash>.dcm                     what no index could take: no blobs
A key is that path, or `file:<absolute path>` for a file indexed in place, which is read and never touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from hounsfield.adapters.disk_files import files_below, keep_file
from hounsfield.adapters.durable import Piece, Reserve, make_folder, read_exactly, sync_folder
from hounsfield.adapters.intake_log import DiskIntakeLog, LogEnd
from hounsfield.adapters.left_files import objects_in
from hounsfield.adapters.log_folder import Checkpoint, LogFolder, Segment
from hounsfield.adapters.log_replay import DiskReplay, ReplayEnd, large_keys
from hounsfield.adapters.open_files import FileView, OpenFile, OpenFiles
from hounsfield.adapters.packs import GUARD_LENGTH, DiskPackWriter, clear_left_packs, guard, pack_key
from hounsfield.adapters.segment_pool import SegmentPool
from hounsfield.adapters.segments import HEADER_LENGTH, PAGE, parse_record, parse_segment_name, scan
from hounsfield.domain.errors import BlobMovedError, ConflictError, DamagedError, RefusedError
from hounsfield.domain.study import Location

_IN_PLACE = "file:"
_TREES = ("large", "packs")
#: Up to here the check of what stands before the object and the read are one pread.
_READ_THROUGH = 64 << 10
#: Of what lies between two looks it is taken that it is in memory when both are.
_LOOK_EVERY = 128 << 10


class DiskBlobs:
    """`ports.blobs.Blobs` under one data folder. Thread-safe; many processes may share the folder."""

    def __init__(
        self,
        root: Path,
        *,
        segment_size: int = 64 << 20,
        spare_segments: int = 4,
        min_free_bytes: int = 512 << 20,
        recycle_grace: float = 60.0,
        open_files: int = 128,
    ) -> None:
        if segment_size % PAGE or segment_size < 4 * PAGE:
            raise ValueError(f"a segment is a multiple of {PAGE} bytes, at least four: {segment_size}")
        self._root = root.absolute()
        self._logs = self._root / "log"
        make_folder(self._root)
        self._reserve = Reserve(self._root, min_free_bytes)
        self._pool = SegmentPool(
            self._logs / ".spare",
            self._reserve,
            segment_size=segment_size,
            spares=spare_segments,
            grace=recycle_grace,
        )
        self._files = OpenFiles(self._path_of, open_files)
        self._writeback = ThreadPoolExecutor(1, "spill-writeback")
        self._replayed: dict[str, ReplayEnd] = {}

    def close(self) -> None:
        """Stop the threads and close the files; logs are closed by those who opened them."""
        self._pool.stop()
        self._writeback.shutdown()
        self._files.close()

    # -- logs

    def open_log(self, writer: str) -> DiskIntakeLog:
        folder = LogFolder(self._logs, writer)
        folder.lock()
        try:
            before = folder.checkpoint()
            end = self._end_of(folder, before)
            # from here on not clean, and what another process replayed before is out of date
            now = Checkpoint(before.counter + 1, before.sequence, before.position)
            folder.write_checkpoint(now, synced=True)
            log = DiskIntakeLog(self._root, folder, self._pool, self._reserve, self._writeback, end, now)
            log.clear_incoming()
        except BaseException:
            folder.unlock()
            raise
        clear_left_packs(self._root)
        self._pool.start()
        return log

    def _end_of(self, folder: LogFolder, checkpoint: Checkpoint) -> LogEnd:
        """Where the log goes on. Raises ConflictError when it holds what was not replayed."""
        segments = folder.segments()
        replayed = self._replayed.pop(folder.writer, None)
        end = LogEnd(checkpoint.sequence, position=checkpoint.position)
        if replayed is not None and replayed.counter == checkpoint.counter:
            end = LogEnd(replayed.sequence, position=replayed.position)
        elif not checkpoint.clean:
            _refuse_unreplayed(folder, segments, checkpoint)
        last = segments[-1] if segments else None
        if last is not None and last.sequence > end.sequence:  # taken, and nothing written to it
            end.sequence, end.position = last.sequence, PAGE
        if last is not None and last.sequence == end.sequence:
            end.generation = last.generation
            end.key = f"log/{folder.writer}/{last.path.name}"
            end.fd = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
            end.size = os.fstat(end.fd).st_size
        return end

    def replay(self, writer: str) -> DiskReplay:
        def remember(end: ReplayEnd) -> None:
            self._replayed[writer] = end

        return DiskReplay(LogFolder(self._logs, writer), self._path_of, remember)

    def writers(self) -> list[str]:
        if not self._logs.is_dir():
            return []
        names = (path.name for path in self._logs.iterdir() if path.is_dir() and path.name[0] != ".")
        return sorted(name for name in names if LogFolder(self._logs, name).segments())

    # -- reading

    def read(self, location: Location, offset: int = 0, length: int = -1) -> Piece:
        file = self._files.acquire(location.key)
        try:
            return _read(file, location, offset, length)
        finally:
            self._files.release(file)

    def cached(self, location: Location, offset: int = 0) -> Piece | None:
        file = self._files.acquire_open(location.key)
        if file is None:
            return None
        try:
            before = _length_before(file)
            data = bytearray(before + location.length)
            try:
                count = os.preadv(file.fd, [data], location.offset - before, os.RWF_NOWAIT)
            except OSError:
                return None  # not in memory, or a file system that cannot tell
            if count != len(data):
                return None
            if before:
                _check_before(file, location, bytes(data[:before]))
            return memoryview(data)[before + offset :]
        except (BlobMovedError, DamagedError):
            return None  # `read` says what is wrong
        finally:
            self._files.release(file)

    def view(self, location: Location, offset: int = 0) -> FileView | None:
        if location.key.startswith(_IN_PLACE):
            return None  # others may cut it short
        file = self._files.acquire_open(location.key)
        if file is None:
            return None
        start, length = location.offset + offset, location.length - offset
        found = self._files.view(file, start, length)
        if found is None:
            self._files.release(file)
            return None
        try:
            if _in_memory(file, location):
                return found
        except (BlobMovedError, DamagedError):
            pass  # `read` says what is wrong
        found.close()
        return None

    @contextmanager
    def open(self, location: Location) -> Iterator[Callable[[int, int], Piece]]:
        file = self._files.acquire(location.key)
        try:
            yield lambda offset, length: _read(file, location, offset, length)
        finally:
            self._files.release(file)

    def _path_of(self, key: str) -> Path:
        """Raises DamagedError for what cannot be a key: nothing outside of the data folder but in place."""
        if key.startswith(_IN_PLACE + "/"):
            return Path(key.removeprefix(_IN_PLACE))
        tree, *names = key.split("/")
        if tree not in ("log", *_TREES) or not names or any(name in ("", ".", "..") for name in names):
            raise DamagedError(f"{key!r} is not the key of a blob", "Run `hounsfield doctor`")
        return self._root / key

    # -- packs, and housekeeping

    def write_pack(self, study_uid: str, series_uid: str, generation: int, at: int) -> DiskPackWriter:
        return DiskPackWriter(self._root, pack_key(study_uid, series_uid, generation, at), at, self._reserve)

    def keys(self) -> Iterator[tuple[str, int]]:
        for tree in ("large", "log", "packs"):  # in order
            for key, length in files_below(self._root / tree, f"{tree}/"):
                if tree != "log" or self._is_segment(key):
                    yield key, length

    def _is_segment(self, key: str) -> bool:
        parts = key.split("/")
        return len(parts) == 3 and parts[1][0] != "." and parse_segment_name(parts[2]) is not None

    def length(self, key: str) -> int | None:
        try:
            return self._path_of(key).stat().st_size
        except FileNotFoundError:
            return None

    def changed_at(self, key: str) -> int:
        try:
            status = self._path_of(key).stat()
        except FileNotFoundError:
            return 0
        return max(status.st_mtime_ns, status.st_ctime_ns) // 1000

    def objects_in(self, key: str) -> Iterator[tuple[str, bytes]]:
        return objects_in(self._path_of(key), key)

    def logged(self) -> set[str]:
        return {key for writer in self.writers() for key in large_keys(LogFolder(self._logs, writer))}

    def set_aside(self, location: Location, content_hash: bytes) -> str:
        name = f"set-aside/{content_hash.hex()[:40]}.dcm"
        with self.open(location) as read:
            keep_file(self._root / name, read, location.length)
        return name

    def aside(self) -> list[tuple[str, int]]:
        found = files_below(self._root / "set-aside", "set-aside/")
        return [(name, length) for name, length in found if not name.startswith("set-aside/.")]

    def remove(self, key: str) -> bool:
        if key.startswith(_IN_PLACE):
            raise RefusedError(
                f"{key} was indexed in place: it is not ours to remove", "Remove it where it was made"
            )
        path = self._path_of(key)
        if key.startswith("log/"):
            return self._remove_segment(key, path)
        self._files.forget(key)
        if path.exists():
            path.unlink()
            sync_folder(path.parent)
            self._remove_if_empty(path.parent)
        return True

    def _remove_segment(self, key: str, path: Path) -> bool:
        parsed = parse_segment_name(path.name)
        folder = LogFolder(self._logs, path.parent.name)
        if parsed is None or path.parent != folder.path:
            raise DamagedError(f"{key!r} is not the key of a log segment", "Run `hounsfield doctor`")
        if not path.exists():
            return True
        if parsed[0] >= folder.checkpoint().sequence and not self._is_at_rest(folder):
            return False
        self._files.forget(key)
        self._pool.give_back(path)
        return True

    def _is_at_rest(self, folder: LogFolder) -> bool:
        """Whether nothing of the log would be replayed, and nobody is writing to it."""
        if not folder.checkpoint().clean:
            return False
        try:
            folder.lock()
        except ConflictError:
            return False
        try:
            return folder.checkpoint().clean
        finally:
            folder.unlock()

    def _remove_if_empty(self, folder: Path) -> None:
        """The folder of a study whose last pack went; never the month, which another may be about to use."""
        if folder.parent.parent.parent == self._root / "packs" and not any(folder.iterdir()):
            try:
                folder.rmdir()
            except OSError:
                return  # a pack came in between

    def free_bytes(self) -> int:
        return self._reserve.free_bytes()


def _refuse_unreplayed(folder: LogFolder, segments: list[Segment], checkpoint: Checkpoint) -> None:
    for segment in segments:
        if segment.sequence < checkpoint.sequence:
            continue
        start = checkpoint.position if segment.sequence == checkpoint.sequence else PAGE
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if next(scan(fd, segment.generation, start), None) is not None:
                raise ConflictError(
                    f"The intake log {folder.writer!r} holds objects that may not be in the index",
                    "Replay it to its end before it is opened",
                )
        finally:
            os.close(fd)


def _in_memory(file: OpenFile, location: Location) -> bool:
    """Whether an object is in the page cache, by a look at some of its pages. Raises what `_check_before`
    does."""
    before = _length_before(file)
    head = bytearray(before + 1)
    end = location.offset + location.length
    try:
        if os.preadv(file.fd, [head], location.offset - before, os.RWF_NOWAIT) != len(head):
            return False
        if before:
            _check_before(file, location, bytes(head[:before]))
        one = [bytearray(1)]
        for at in (*range(location.offset + _LOOK_EVERY, end, _LOOK_EVERY), end - 1):
            if os.preadv(file.fd, one, at, os.RWF_NOWAIT) != 1:
                return False
    except OSError:
        return False  # not in memory, or a file system that cannot tell
    return True


def _read(file: OpenFile, location: Location, offset: int, length: int) -> Piece:
    """Bytes of the object, after a look at what stands before it: is it still this object?"""
    if offset < 0:
        raise ValueError(f"an offset within an object is not negative: {offset}")
    rest = max(location.length - offset, 0)
    if length < 0 or length > rest:
        length = rest
    before = _length_before(file)
    start = location.offset - before
    if start < 0:
        raise DamagedError(f"Nothing can begin at {location.offset} of {file.key}", "Run `hounsfield doctor`")
    try:
        if before and offset <= _READ_THROUGH:
            data = memoryview(read_exactly(file.fd, before + offset + length, start))
            head, data = data[:before], data[before + offset :]
        else:
            data = memoryview(read_exactly(file.fd, length, location.offset + offset))
            head = memoryview(os.pread(file.fd, before, start))
    except OSError as error:
        raise DamagedError(
            f"{file.key} cannot be read at {location.offset}: {error.strerror}", "Check the disk"
        ) from error
    if before:
        _check_before(file, location, bytes(head))
    if len(data) != length:
        raise DamagedError(
            f"{file.key} is cut short: {location.offset + location.length} bytes were there",
            "Bring it back from a backup, or have the object sent again",
        )
    return data


def _length_before(file: OpenFile) -> int:
    if file.generation is not None:
        return HEADER_LENGTH
    return GUARD_LENGTH if file.key.startswith("packs/") else 0


def _check_before(file: OpenFile, location: Location, head: bytes) -> None:
    if file.generation is None:
        if head != guard(location.length):
            raise DamagedError(
                f"No member of {location.length} bytes begins at {location.offset} of {file.key}",
                "Verify the study; bring the pack back from a backup",
            )
        return
    record = parse_record(head, location.offset - HEADER_LENGTH, file.generation)
    if record is None:
        raise BlobMovedError(
            f"{file.key} no longer holds an object at {location.offset}", "Look it up in the index again"
        )
    if (record.meta_length, record.inline_length) != (location.meta_length, location.length):
        raise DamagedError(
            f"Another object than the index says is at {location.offset} of {file.key}",
            "Run `hounsfield doctor`",
        )
