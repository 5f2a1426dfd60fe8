"""What is in a large file or a pack, read from the file alone: for those that a crash left without a row."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from blake3 import blake3

from hounsfield.domain.errors import DamagedError
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.part10 import read_meta

#: What spills and packs name their files.
_LARGE = re.compile(r"large/[0-9]{4}/[0-9]{2}/[0-9a-f]{40}-[0-9a-f]{8}\.dcm\Z")
_PACK = re.compile(r"packs/[0-9]{4}/[0-9]{2}/[^/]+/[^/]+\.zip\Z")
_METADATA = "metadata.json.gz"
_CHUNK = 1 << 20


def objects_in(path: Path, key: str) -> Iterator[tuple[str, bytes]]:
    """As `ports.blobs.Blobs.objects_in`."""
    try:
        if path.is_symlink() or not path.is_file():
            raise _not_ours(key)
        if _LARGE.match(key):
            with path.open("rb") as file:
                yield _object(file, key)
        elif _PACK.match(key):
            yield from _members(path, key)
        else:
            raise _not_ours(key)
    except (OSError, zipfile.BadZipFile, MalformedError) as error:
        raise DamagedError(f"{key} cannot be read: {error}", "Look at it, and remove it by hand") from error


def _members(path: Path, key: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as pack:
        for member in pack.infolist():
            if member.filename == _METADATA:
                continue
            if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".dcm"):
                raise _not_ours(key)
            with pack.open(member) as file:
                yield _object(file, key)


def _object(file: IO[bytes], key: str) -> tuple[str, bytes]:
    """SOP Instance UID of the file meta group, and the hash of what follows it."""
    piece = file.read(_CHUNK)
    meta = read_meta(piece)
    if not meta.sop_instance_uid:
        raise _not_ours(key)
    digest = blake3(piece[meta.meta_length :])
    while piece := file.read(_CHUNK):
        digest.update(piece)
    return meta.sop_instance_uid, digest.digest()


def _not_ours(key: str) -> DamagedError:
    return DamagedError(f"{key} is no file that we have written", "Look at it, and remove it by hand")
