"""Series packs: ZIP files whose members are stored, not compressed, so that a member is a range of the file.

Any tool that reads ZIP opens them. ZIP64 (APPNOTE 4.5.3) where a length, an offset or the number of members
asks for it. The last extra field of each local header is ours: it repeats the length of the member, so that
a reader who knows only (offset, length) can see that a member of that length begins there.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hounsfield.adapters.durable import (
    Piece,
    Reserve,
    create,
    make_folder,
    move_into_place,
    storage_error,
    write_vector,
)
from hounsfield.domain.ids import path_name

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")
_ZIP64_EXTRA = 0x0001
_GUARD = struct.Struct("<HHQ")
_GUARD_ID = 0x4648
GUARD_LENGTH = _GUARD.size
_CRC_OFFSET = 14  # of the CRC within a local header
_MAX32 = 0xFFFFFFFF  # stands in a 32-bit field whose value is in a ZIP64 one
_MAX16 = 0xFFFF
_ZIP64_FROM = _MAX32
_UNIX = 3 << 8
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_GATHER = 1 << 20
#: Synced in doses, so that a store round's sync never waits behind a whole pack.
_SYNC_EVERY = 8 << 20


def guard(length: int) -> bytes:
    """The bytes immediately before a member of `length` bytes."""
    return _GUARD.pack(_GUARD_ID, 8, length)


def pack_key(study_uid: str, series_uid: str, generation: int, at: int) -> str:
    month = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y/%m")
    suffix = f".g{generation}" if generation > 1 else ""
    return f"packs/{month}/{path_name(study_uid)}/{path_name(series_uid)}{suffix}.zip"


def _short(value: int) -> int:
    """As it stands in a 32-bit field."""
    return value if value < _ZIP64_FROM else _MAX32


class DiskPackWriter:
    """One pack under its temporary name until `finish`."""

    def __init__(self, root: Path, key: str, at: int, reserve: Reserve) -> None:
        self._root = root
        self._key = key
        self._reserve = reserve
        moment = datetime.fromtimestamp(at / 1_000_000, UTC)
        year = min(max(moment.year, 1980), 2107)
        self._date = (year - 1980) << 9 | moment.month << 5 | moment.day
        self._time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
        self._position = 0
        self._synced = 0
        self._names: set[bytes] = set()
        self._directory: list[bytes] = []
        folder = root / "incoming" / ".packs"
        make_folder(folder)
        self._path = folder / f"{secrets.token_hex(8)}.part"
        try:
            reserve.check()
            self._fd = create(self._path)
        except OSError as error:
            raise storage_error(error, f"beginning {key}") from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # tells `clear_left_packs` that it is being written

    def add(self, name: str, pieces: Iterator[Piece], length: int) -> int:
        member = (name if _PLAIN_NAME.match(name) else path_name(name)).encode("ascii")
        if member in self._names:
            raise ValueError(f"the pack has a member {member.decode()} already")
        header_at = self._position
        needs_64 = length >= _ZIP64_FROM
        extra = (struct.pack("<HHQQ", _ZIP64_EXTRA, 16, length, length) if needs_64 else b"") + guard(length)
        size = _MAX32 if needs_64 else length
        version = 45 if needs_64 else 20
        fields = (version, 0, 0, self._time, self._date)
        try:
            if length <= _GATHER:
                gathered = list(pieces)
                crc = 0
                for piece in gathered:
                    crc = zlib.crc32(piece, crc)
                header = _LOCAL.pack(b"PK\3\4", *fields, crc, size, size, len(member), len(extra))
                total = len(header) + len(member) + len(extra) + length
                self._write([header + member + extra, *gathered], total)
            else:
                header = _LOCAL.pack(b"PK\3\4", *fields, 0, size, size, len(member), len(extra))
                self._write([header + member + extra], len(header) + len(member) + len(extra))
                crc = self._stream(pieces, length)
                os.pwrite(self._fd, crc.to_bytes(4, "little"), header_at + _CRC_OFFSET)
            if self._position - self._synced >= _SYNC_EVERY:
                self._sync()
        except OSError as error:
            raise storage_error(error, f"writing {self._key}") from error
        self._names.add(member)
        self._directory.append(self._entry(member, crc, length, header_at))
        return self._position - length

    def _write(self, buffers: list[Piece], total: int) -> None:
        write_vector(self._fd, buffers, self._position, total)
        self._position += total

    def _stream(self, pieces: Iterator[Piece], length: int) -> int:
        crc, rest = 0, length
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            rest -= len(piece)
            self._write([piece], len(piece))
            if self._position - self._synced >= _SYNC_EVERY:
                self._sync()
        if rest:
            raise ValueError(f"a member said to be {length} bytes long came with {length - rest}")
        return crc

    def _sync(self) -> None:
        self._reserve.check()
        os.fdatasync(self._fd)
        self._synced = self._position

    def _entry(self, member: bytes, crc: int, length: int, header_at: int) -> bytes:
        """Its line in the central directory."""
        long = [value for value in (length, length, header_at) if value >= _ZIP64_FROM]
        extra = struct.pack(f"<HH{len(long)}Q", _ZIP64_EXTRA, 8 * len(long), *long) if long else b""
        version = 45 if long else 20
        size = _short(length)
        fields = (_UNIX | version, version, 0, 0, self._time, self._date, crc, size, size)
        lengths = (len(member), len(extra), 0, 0, 0)
        attributes = 0o100640 << 16
        entry = _CENTRAL.pack(b"PK\1\2", *fields, *lengths, attributes, _short(header_at))
        return entry + member + extra

    def _end(self, start: int, size: int) -> bytes:
        count = len(self._directory)
        end = _END.pack(
            b"PK\5\6", 0, 0, min(count, _MAX16), min(count, _MAX16), _short(size), _short(start), 0
        )
        if count < _MAX16 and start < _ZIP64_FROM and size < _ZIP64_FROM:
            return end
        end64 = _END64.pack(b"PK\6\6", _END64.size - 12, _UNIX | 45, 45, 0, 0, count, count, size, start)
        return end64 + _LOCATOR64.pack(b"PK\6\7", 0, start + size, 1) + end

    def finish(self) -> tuple[str, int]:
        start = self._position
        directory = b"".join(self._directory)
        end = self._end(start, len(directory))
        try:
            self._write([directory, end], len(directory) + len(end))
            os.fsync(self._fd)
            key, target = self._free_name()
            make_folder(target.parent)
            move_into_place(self._path, target)
        except OSError as error:
            raise storage_error(error, f"writing {self._key}") from error
        os.close(self._fd)
        self._fd = -1
        return key, self._position

    def _free_name(self) -> tuple[str, Path]:
        """Never the name of what is there: a job that died after this point may have left its pack."""
        key, number = self._key, 1
        while (self._root / key).exists():
            number += 1
            key = f"{self._key.removesuffix('.zip')}-{number}.zip"
        return key, self._root / key

    def abandon(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)


def clear_left_packs(root: Path, *, older_than: float = 60.0) -> int:
    """Remove the unfinished packs of processes that were killed; returns how many."""
    removed = 0
    for path in (root / "incoming" / ".packs").glob("*.part"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if time.time() - os.fstat(fd).st_mtime < older_than:
                continue
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed += 1
        except BlockingIOError:
            continue  # being written
        finally:
            os.close(fd)
    return removed
