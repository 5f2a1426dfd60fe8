"""The folder of one writer's log: its lock, its segments, and the checkpoint behind which replay begins."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from hounsfield.adapters.durable import make_folder
from hounsfield.adapters.segments import CRC, PAGE, parse_segment_name
from hounsfield.domain.errors import ConflictError, RefusedError

_WRITER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_LOCK_SECONDS = 0.2
_MAGIC = b"HFcheck\x01"
#: magic, counter, sequence number of the segment, position in it, clean
_SLOT = struct.Struct("<8sQQQB")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All records before `position` of segment `sequence` are in a synced database.

    `clean`: the log ends there, too. `counter` grows with every change of the file.
    """

    counter: int = 0
    sequence: int = 0
    position: int = PAGE
    clean: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    sequence: int
    generation: bytes
    path: Path


class LogFolder:
    """`<data>/log/<writer>`."""

    def __init__(self, logs: Path, writer: str) -> None:
        if not _WRITER.match(writer):
            raise RefusedError(
                f"{writer!r} cannot be the name of an intake log", "Use letters, digits, '.', '_' and '-'"
            )
        self.writer = writer
        self.path = logs / writer
        self._lock = -1

    def lock(self) -> None:
        """Keep every other process, and a second log of this one, out. Raises ConflictError."""
        make_folder(self.path)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        give_up_at = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < give_up_at:  # whoever removes a segment holds it for a moment
                    time.sleep(0.02)
                    continue
                os.close(fd)
                raise ConflictError(
                    f"The intake log {self.writer!r} is in use by another process",
                    "Stop the other process, or give this one a name of its own",
                ) from None
        self._lock = fd

    def unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def segments(self) -> list[Segment]:
        """In order of the log."""
        if not self.path.is_dir():
            return []
        found = ((path, parse_segment_name(path.name)) for path in self.path.iterdir())
        return sorted(
            (Segment(parsed[0], parsed[1], path) for path, parsed in found if parsed),
            key=lambda segment: segment.sequence,
        )

    def checkpoint(self) -> Checkpoint:
        """The newest whole one; the beginning of the log when there is none."""
        try:
            data = (self.path / "checkpoint").read_bytes()
        except FileNotFoundError:
            return Checkpoint()
        found = [slot for slot in map(_parse_slot, (data[:PAGE], data[PAGE:])) if slot]
        return max(found, key=lambda slot: slot.counter, default=Checkpoint())

    def write_checkpoint(self, checkpoint: Checkpoint, *, synced: bool) -> None:
        """Into the slot that does not hold the newest: a torn write leaves the one before.

        Unsynced, a power cut may bring an older one back, which only means more to replay.
        """
        fields = (checkpoint.counter, checkpoint.sequence, checkpoint.position, checkpoint.clean)
        slot = _SLOT.pack(_MAGIC, *fields)
        fd = os.open(self.path / "checkpoint", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            page = (slot + CRC.pack(zlib.crc32(slot))).ljust(PAGE, b"\0")
            os.pwrite(fd, page, checkpoint.counter % 2 * PAGE)
            if synced:
                os.fsync(fd)
        finally:
            os.close(fd)


def _parse_slot(data: bytes) -> Checkpoint | None:
    if len(data) < _SLOT.size + CRC.size or not data.startswith(_MAGIC):
        return None
    if CRC.unpack_from(data, _SLOT.size)[0] != zlib.crc32(data[: _SLOT.size]):
        return None
    _, counter, sequence, position, clean = _SLOT.unpack_from(data)
    return Checkpoint(counter, sequence, position, bool(clean))
