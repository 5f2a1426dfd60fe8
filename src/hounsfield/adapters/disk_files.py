"""Files of the data folder as such: listing them in order, keeping a copy of one object."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from hounsfield.adapters.durable import Piece, create, make_folder, move_into_place, storage_error, write_all

_CHUNK = 1 << 20


def files_below(folder: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Every file below `folder`: `prefix` and its path from there, and its length.

    In order of those names, so that they can be merged with the rows of an index; no more than the names in
    one folder are held at a time. What vanishes meanwhile is passed over, links to folders are not followed.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name + "/" if e.is_dir(follow_symlinks=False) else e.name for e in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith("/"):
            yield from files_below(folder / name, prefix + name)
            continue
        try:
            length = (folder / name).stat().st_size
        except FileNotFoundError:
            continue
        yield prefix + name, length


def keep_file(path: Path, read: Callable[[int, int], Piece], length: int) -> None:
    """Write `length` bytes that `read(offset, length)` gives to `path`, durably, unless it is there already.
    Raises StorageFullError."""
    if path.exists():  # it gets its name when it is whole
        return
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        make_folder(path.parent)
        fd = create(draft)
        try:
            for at in range(0, length, _CHUNK):
                write_all(fd, read(at, min(_CHUNK, length - at)))
            os.fsync(fd)
        finally:
            os.close(fd)
        move_into_place(draft, path)
    except OSError as error:
        raise storage_error(error, f"writing {path}") from error
    finally:
        draft.unlink(missing_ok=True)
