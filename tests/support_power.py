"""A disk that remembers what was synced: at any instant it can tell what a power cut would leave.

Files written through `os` below one folder are followed. What was not synced when the power goes is, block by
block and at random, the old bytes, the new ones, or torn between; names that were made, changed or removed
are there up to some point of the journal, but at least to the last sync of a folder they stand in.
The database is SQLite's: of its write-ahead log there is what the last synced commit left, and of what came
after it any part.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hounsfield.adapters.sql import database as sql_database

SECTOR, PAGE = 512, 4096


@dataclass
class File:
    """One inode. `durable` is what a cut leaves for sure, but for the ranges written since."""

    durable: bytes = b""
    written: list[tuple[int, int]] = field(default_factory=list)

    def keep(self, start: int, data: bytes) -> None:
        """This range is durable now."""
        self.durable = self.durable[:start].ljust(start, b"\0") + data + self.durable[start + len(data) :]


@dataclass(frozen=True)
class Step:
    """One entry of the journal of names."""

    kind: str  # "make", "move", "remove", "folder", "no folder"
    path: str
    target: str = ""
    file: File | None = None

    def folders(self) -> set[str]:
        return {str(Path(path).parent) for path in (self.path, self.target) if path}


class PowerDisk:
    """Follows `root` from `watch` on; what is there by then is durable."""

    def __init__(self, root: Path, database: Path, chance: random.Random) -> None:
        self.root = str(root)
        self.database = database
        self.chance = chance
        self.lock = threading.RLock()
        #: Called before each operation that changes something.
        self.before: Callable[[], None] = lambda: None
        #: Files and folders whose path matches are never synced, whatever the caller believes; "COMMIT":
        #: nor is the database.
        self.lies = re.compile(r"\Z\A")
        self._files: dict[int, File] = {}
        self._journal: list[Step] = []
        self._durable_steps = 0
        self._base = database.read_bytes()
        self._synced_log = len(self._log())
        for path in sorted(root.rglob("*")):
            if path.is_dir():
                self._journal.append(Step("folder", str(path)))
            elif not path.name.startswith(database.name):
                file = self._files[path.stat().st_ino] = File(path.read_bytes())
                self._journal.append(Step("make", str(path), file=file))
        self._durable_steps = len(self._journal)

    # Following

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        real = {name: getattr(os, name) for name in ("open", "write", "pwrite", "pwritev", "posix_fallocate")}
        real |= {
            name: getattr(os, name) for name in ("fsync", "fdatasync", "rename", "unlink", "mkdir", "rmdir")
        }

        def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if not self._ours(path) or not flags & os.O_CREAT or Path(path).exists():
                return int(real["open"](path, flags, *more, **named))
            with self.lock:
                self.before()
                fd = int(real["open"](path, flags, *more, **named))
                file = self._files[os.fstat(fd).st_ino] = File()
                self._journal.append(Step("make", str(path), file=file))
                return fd

        def writing(name: str) -> Callable[..., Any]:
            def call(fd: int, data: Any, *position: int) -> Any:
                file = self._file(fd)
                if file is None:
                    return real[name](fd, data, *position)
                with self.lock:
                    self.before()
                    start = position[0] if position else os.lseek(fd, 0, os.SEEK_CUR)
                    if name == "pwritev" and len(position) > 1:  # with RWF_DSYNC: written, then durable
                        done = real[name](fd, data, position[0])
                        file.written.append((start, start + done))
                        self.before()
                        if not self.lies.search(str(Path(f"/proc/self/fd/{fd}").readlink())):
                            real["fdatasync"](fd)
                            file.keep(start, _content(fd)[start : start + done])
                            file.written.remove((start, start + done))
                        return done
                    if name == "posix_fallocate":  # (fd, offset, length)
                        file.written.append((data, data + position[0]))
                        return real[name](fd, data, *position)
                    done = real[name](fd, data, *position)
                    file.written.append((start, start + done))
                    return done

            return call

        def syncing(name: str) -> Callable[[int], None]:
            def call(fd: int) -> None:
                path = str(Path(f"/proc/self/fd/{fd}").readlink())
                with self.lock:
                    self.before()
                    real[name](fd)
                    if self.lies.search(path):
                        return
                    file = self._file(fd)
                    if file is not None:
                        file.durable = _content(fd)
                        file.written.clear()
                    elif Path(path).is_dir():
                        touched = [n for n, step in enumerate(self._journal) if path in step.folders()]
                        self._durable_steps = max([self._durable_steps, *(n + 1 for n in touched)])

            return call

        def naming(name: str, kind: str) -> Callable[..., None]:
            def call(path: Any, *more: Any, **named: Any) -> None:
                if not self._ours(path):
                    return real[name](path, *more, **named)
                with self.lock:
                    self.before()
                    real[name](path, *more, **named)
                    target = str(more[0]) if kind == "move" else ""
                    self._journal.append(Step(kind, str(path), target))
                    return None

            return call

        patch.setattr(os, "open", opened)
        for name in ("write", "pwrite", "pwritev", "posix_fallocate"):
            patch.setattr(os, name, writing(name))
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, syncing(name))
        patch.setattr(os, "rename", naming("rename", "move"))
        patch.setattr(os, "unlink", naming("unlink", "remove"))
        patch.setattr(os, "mkdir", naming("mkdir", "folder"))
        patch.setattr(os, "rmdir", naming("rmdir", "no folder"))
        commit = sql_database._Writing._commit

        def committed(writing: Any) -> None:
            commit(writing)
            if writing.use == sql_database.SYNCED and not self.lies.search("COMMIT"):
                with self.lock:
                    self._synced_log = max(self._synced_log, len(self._log()))

        patch.setattr(sql_database._Writing, "_commit", committed)

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | Path) and str(path).startswith(self.root + os.sep)

    def _file(self, fd: int) -> File | None:
        return self._files.get(os.fstat(fd).st_ino)

    def _log(self) -> bytes:
        path = Path(f"{self.database}-wal")
        return path.read_bytes() if path.exists() else b""

    # Cutting

    def cut(self, image: Path) -> None:
        """Write what would be left, were the power cut now."""
        with self.lock:
            image.mkdir(parents=True)
            steps = self.chance.choice(
                (
                    self._durable_steps,
                    len(self._journal),
                    self.chance.randint(self._durable_steps, len(self._journal)),
                )
            )
            names: dict[str, File] = {}
            folders: set[str] = set()
            for step in self._journal[:steps]:
                _follow(step, names, folders)
            for folder in sorted(folders):
                (image / Path(folder).relative_to(self.root)).mkdir(exist_ok=True)
            current = self._current()
            for path, file in names.items():
                target = image / Path(path).relative_to(self.root)
                target.write_bytes(self._left(file, current.get(id(file), file.durable)))
            (image / self.database.name).write_bytes(self._base)
            log = self._log()
            rest = self._torn(b"", log[self._synced_log :], [(0, len(log) - self._synced_log)])
            kept = rest[: self.chance.randint(0, len(rest))] if self.chance.random() < 0.7 else b""
            Path(f"{image / self.database.name}-wal").write_bytes(log[: self._synced_log] + kept)

    def _current(self) -> dict[int, bytes]:
        """Content now, by file: of those that have a name; others can only be lost."""
        found = {}
        for path in Path(self.root).rglob("*"):
            file = self._files.get(path.stat().st_ino)
            if file is not None and path.is_file():
                found[id(file)] = path.read_bytes()
        return found

    def _left(self, file: File, current: bytes) -> bytes:
        return self._torn(file.durable, current, file.written)

    def _torn(self, old: bytes, new: bytes, written: list[tuple[int, int]]) -> bytes:
        """`old`, over which some blocks of what was written since are `new`."""
        if not written:
            return old
        keep = self.chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        block = self.chance.choice((SECTOR, PAGE))
        size = len(new) if self.chance.random() < 0.8 else max(len(old), 0)
        left = bytearray(old[:size].ljust(size, b"\0"))
        for start, end in written:
            for at in range(start - start % block, end, block):
                low, high = max(at, start), min(at + block, end, size)
                if low < high and self.chance.random() < keep:
                    left[low:high] = new[low:high].ljust(high - low, b"\0")
        return bytes(left)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _follow(step: Step, names: dict[str, File], folders: set[str]) -> None:
    if step.kind == "make":
        assert step.file is not None
        names[step.path] = step.file
    elif step.kind == "move":
        if step.path in names:
            names[step.target] = names.pop(step.path)
    elif step.kind == "remove":
        names.pop(step.path, None)
    elif step.kind == "folder":
        folders.add(step.path)
    else:
        folders.discard(step.path)


def forget(image: Path) -> None:
    shutil.rmtree(image)
