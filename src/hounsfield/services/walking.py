"""Find the files of an import: files, folders, DICOMDIR, ZIP.

Nothing here trusts a name. References of a DICOMDIR are looked up in listings of its own folder, so they
cannot point elsewhere; names within a ZIP are reported and never become a path; members are streamed,
and what comes out of an archive is bounded by the size of the archive itself.
"""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hounsfield.domain.errors import UnreadableError

#: Largest DICOMDIR that is read: about 500,000 records.
MAX_DICOMDIR = 256 * 1024 * 1024
#: A ZIP may hold this many times its own length; deflate itself reaches 1032, real images 10.
MAX_RATIO = 200
#: ... except that this much may always come out of it.
RATIO_FLOOR = 256 * 1024 * 1024
#: Longest name that a report and the ledger carry.
MAX_NAME = 1000

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class Stream(Protocol):
    """Bytes in order. Reads raise UnreadableError or OSError."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes; fewer at the end alone."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """One file that may be a DICOM object. `open` gives its bytes from the beginning."""

    name: str  # as a person would name it; within a ZIP: "archive.zip!member"
    size: int  # as claimed
    changed: int  # nanoseconds since 1970; of the archive for a member
    path: Path | None  # None within a ZIP
    open: Callable[[], Stream]


@dataclass(frozen=True, slots=True)
class Passed:
    """One file that is not taken. `refused`: it should have been; otherwise it is just not an object."""

    name: str
    why: str
    refused: bool


def walk(paths: Sequence[Path]) -> Iterator[Found | Passed]:
    """Every file of `paths` in the order of names, each path once and none through a symbolic link."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            yield Passed(printable(str(path)), _why(error), True)
            continue
        if stat.S_ISDIR(mode):
            yield from _folder(path)
        elif not stat.S_ISREG(mode):
            yield Passed(printable(str(path)), "not a file", True)
        elif path.name.casefold() == "dicomdir":
            yield from _dicomdir(path)
        else:
            yield from _file(path)


def printable(name: str) -> str:
    """`name` fit for a report: no control characters, no surrogates, not endless."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:MAX_NAME])
    return clean + ("..." if len(name) > MAX_NAME else "")


def _why(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be read: {reason}"


def _folder(root: Path) -> Iterator[Found | Passed]:
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Passed(printable(str(folder)), _why(error), True)
            continue
        below = []
        for entry in listed:
            path = folder / entry.name
            if entry.is_symlink():
                yield Passed(printable(str(path)), "a symbolic link, which is not followed", False)
            elif entry.is_dir(follow_symlinks=False):
                below.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield from _file(path)
            else:
                yield Passed(printable(str(path)), "not a file", False)
        waiting.extend(reversed(below))


def _file(path: Path) -> Iterator[Found | Passed]:
    name = printable(str(path))
    try:
        state = path.stat()
        if path.suffix.casefold() == ".zip" and _begins_as_zip(path):
            yield from _zip(path, name, state)
            return
    except OSError as error:
        yield Passed(name, _why(error), True)
        return
    yield Found(name, state.st_size, state.st_mtime_ns, path, lambda: path.open("rb"))


# --- DICOMDIR (PS3.3 F, PS3.10 8) ---


def _dicomdir(path: Path) -> Iterator[Found | Passed]:
    name = printable(str(path))
    try:
        if path.stat().st_size > MAX_DICOMDIR:
            raise UnreadableError(f"a DICOMDIR of more than {MAX_DICOMDIR >> 20} MiB is not read")
        references = list(referenced_files(path.read_bytes()))
    except (OSError, UnreadableError) as error:
        yield Passed(name, _why(error), True)
        return
    listings: dict[Path, dict[str, os.DirEntry[str]]] = {}
    seen: set[tuple[str, ...]] = set()
    for components in references:
        if components in seen:
            continue
        seen.add(components)
        target = _resolve(path.parent, components, listings)
        if isinstance(target, Path):
            yield from _file(target)
        else:
            yield Passed(printable(f"{path}: {'/'.join(components)}"), target, True)


def _resolve(
    root: Path, components: tuple[str, ...], listings: dict[Path, dict[str, os.DirEntry[str]]]
) -> Path | str:
    """The file below `root` that a Referenced File ID names, or why there is none. Each component is looked
    up in the listing of its folder: '..', '/' or a link are in no listing that is used."""
    here = root
    for number, component in enumerate(components, 1):
        names = listings.get(here)
        if names is None:
            try:
                with os.scandir(here) as entries:
                    names = {_plain(entry.name): entry for entry in entries}
            except OSError as error:
                return _why(error)
            listings[here] = names
        entry = names.get(_plain(component))
        if entry is None:
            return "the DICOMDIR refers to it, but it is not there"
        if number < len(components):
            fits = entry.is_dir(follow_symlinks=False)
        else:
            fits = entry.is_file(follow_symlinks=False)
        if not fits:
            return "the DICOMDIR refers to it, but it is not a file within its folder"
        here = here / entry.name
    return here


def _plain(name: str) -> str:
    """How names are compared: media are mounted with other case, and with the version of ISO 9660."""
    return name.removesuffix(";1").removesuffix(".").casefold()


def referenced_files(data: bytes) -> Iterator[tuple[str, ...]]:
    """Components of every Referenced File ID (0004,1500) of a DICOMDIR's bytes, in order.

    A flat scan: sequences and items are stepped into, all else is stepped over, so depth costs nothing.
    Raises UnreadableError.
    """
    position, form, explicit = _data_set_form(data)
    end = len(data)
    short, long_ = struct.Struct(form + "H"), struct.Struct(form + "I")
    tag_of = struct.Struct(form + "HH")
    while position + 8 <= end:
        group, element = tag_of.unpack_from(data, position)
        vr = data[position + 4 : position + 6]
        if group == 0xFFFE or not explicit:
            (length,) = long_.unpack_from(data, position + 4)
            position += 8
        elif vr in _LONG_VRS:
            if position + 12 > end:
                break
            (length,) = long_.unpack_from(data, position + 8)
            position += 12
        else:
            (length,) = short.unpack_from(data, position + 6)
            position += 8
        if group == 0xFFFE or length == 0xFFFFFFFF or vr == b"SQ" or (group, element) == (0x0004, 0x1220):
            continue
        if length > end - position:
            raise UnreadableError(
                f"the DICOMDIR is cut short or damaged: an element claims {length} bytes at {position}"
            )
        if (group, element) == (0x0004, 0x1500):
            text = data[position : position + min(length, 1024)].decode("ascii", "replace")
            yield tuple(part.strip(" \0") for part in text.split("\\"))
        position += length


_LONG_VRS = frozenset(b"OB OW OF OD OL OV SQ UN UC UR UT SV UV".split())


def _data_set_form(data: bytes) -> tuple[int, str, bool]:
    """(offset of the data set, byte order, explicit VR). The first element is (0004,1130) or so."""
    start = 0
    if data[128:132] == b"DICM":
        if data[132:136] != b"\2\0\0\0" or len(data) < 144:
            raise UnreadableError("the DICOMDIR has no file meta group length")
        start = 144 + int(struct.unpack_from("<I", data, 140)[0])
    head = data[start : start + 6]
    if len(head) < 6:
        raise UnreadableError("the DICOMDIR is cut short in its file meta group")
    if head[:2] not in (b"\4\0", b"\0\4"):
        raise UnreadableError("not a DICOMDIR")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return start, "<" if head[:2] == b"\4\0" else ">", explicit


# --- ZIP ---


class _Archive:
    """An open ZIP, closed when the last of its members is forgotten. Counts what comes out of it."""

    def __init__(self, path: Path, size: int) -> None:
        self.file = zipfile.ZipFile(path)
        self.limit = max(RATIO_FLOOR, size * MAX_RATIO)
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            self._taken += count
            if self._taken > self.limit:
                raise UnreadableError(
                    f"the ZIP unpacks to more than {MAX_RATIO} times its length; what follows is not read"
                )


class _Member:
    """Bytes of one member; every way in which it can be broken is an UnreadableError."""

    def __init__(self, archive: _Archive, info: zipfile.ZipInfo) -> None:
        self._archive = archive
        self._info = info
        try:
            self._stream = archive.file.open(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
            raise UnreadableError(f"the ZIP member cannot be opened: {error}") from error

    def read(self, size: int, /) -> bytes:
        parts = []
        while size > 0:
            try:
                piece = self._stream.read(size)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise UnreadableError(f"the ZIP member is damaged: {error}") from error
            if not piece:
                break
            self._archive.take(len(piece))
            parts.append(piece)
            size -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        self._stream.close()


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb", buffering=0) as file:
        return file.read(4) in _ZIP_MAGIC


def _zip(path: Path, name: str, state: os.stat_result) -> Iterator[Found | Passed]:
    try:
        archive = _Archive(path, state.st_size)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, struct.error) as error:
        yield Passed(name, f"the ZIP cannot be read: {error}", True)
        return
    for info in archive.file.infolist():
        member = printable(f"{name}!{info.filename}")
        if info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            yield Passed(member, "encrypted: unpack the ZIP with its password and import the folder", True)
        elif info.compress_type not in _ZIP_METHODS:
            yield Passed(member, f"compression method {info.compress_type}: unpack the ZIP first", True)
        elif info.filename.casefold().endswith(".zip"):
            yield Passed(member, "a ZIP within a ZIP: unpack the outer one first", True)
        else:
            yield Found(member, info.file_size, state.st_mtime_ns, None, _opener(archive, info))


def _opener(archive: _Archive, info: zipfile.ZipInfo) -> Callable[[], Stream]:
    return lambda: _Member(archive, info)
