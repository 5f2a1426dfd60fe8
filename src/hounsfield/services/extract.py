"""Extract: give kept objects out as files, into a folder or one ZIP.

Names are made of UIDs alone (`domain.ids.path_name`), so nothing is written outside of the destination.
A preamble that makes the file a program is zeroed in what is given out, and reported.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from hounsfield.domain.errors import ConflictError, DamagedError, NotFoundError, StorageFullError
from hounsfield.domain.ids import path_name
from hounsfield.domain.preamble import PREAMBLE_LENGTH, disguise, neutral
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Blobs, Piece
from hounsfield.ports.database import Database
from hounsfield.services.reading import CHUNK, Reader

#: Enough of an object to see its preamble and "DICM".
HEAD = PREAMBLE_LENGTH + 4


@dataclass(slots=True)
class Extracted:
    """What was given out so far."""

    total: int = 0
    objects: int = 0
    already: int = 0  # there from an earlier run, whole
    bytes: int = 0
    #: (SOP Instance UID, what the preamble was): given out with zeros instead.
    neutralised: list[tuple[str, str]] = field(default_factory=list)
    #: (SOP Instance UID, why): not given out.
    failed: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False


class Extraction:
    """One run. `progress` is called after every object; `stop` is asked before every object."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        progress: Callable[[Extracted], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.database = database
        self.progress = progress
        self.stop = stop
        self._reader = Reader(database, blobs)

    def select(self, *, study: str = "", series: str = "") -> list[StoredInstance]:
        """The objects of a study, of a series, or of a series within that study. Raises NotFoundError."""
        if not study and not series:
            raise NotFoundError("Neither a study nor a series was named")
        with self.database.read() as tx:
            found = list(tx.index.instances(study=study, series=[series] if series else []))
        if not found:
            what = f"series {series}" if series else f"study {study}"
            raise NotFoundError(f"No {what} is kept", "See `hounsfield study list`")
        return found

    def to_folder(self, instances: Sequence[StoredInstance], folder: Path) -> Extracted:
        """Write `<study>/<series>/<instance>.dcm` below `folder`. Whole files of an earlier run stay as they
        are, so that a run that was stopped goes on. Raises StorageFullError, ConflictError."""
        done = Extracted(total=len(instances))
        for instance in instances:
            if self.stop():
                return done
            path = folder.joinpath(*_parts(instance))
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                raise ConflictError(f"{path} is a symbolic link", "Extract into a folder of its own")
            try:
                if path.is_file() and self._same(path, instance):
                    done.already += 1
                else:
                    self._write(path, instance, done)
            except OSError as error:
                raise _full(path, error) from error
            self.progress(done)
        done.complete = not done.failed
        return done

    def to_zip(self, instances: Sequence[StoredInstance], path: Path) -> Extracted:
        """Write one ZIP (stored, ZIP64). It gets its name when it is whole; one of that name is replaced."""
        done = Extracted(total=len(instances))
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        try:
            with zipfile.ZipFile(part, "x", zipfile.ZIP_STORED) as archive:
                for instance in instances:
                    if self.stop():
                        return done
                    self._add(archive, instance, done)
                    self.progress(done)
            part.replace(path)
        except OSError as error:
            raise _full(path, error) from error
        finally:
            part.unlink(missing_ok=True)
        done.complete = not done.failed
        return done

    def _add(self, archive: zipfile.ZipFile, instance: StoredInstance, done: Extracted) -> None:
        """A damaged object cannot be taken out of a ZIP again, so it is read through before it goes in."""
        try:
            if not self._reader.matches_hash(instance):
                raise DamagedError("the bytes are not those that were received (BLAKE3 differs)")
        except (DamagedError, NotFoundError) as error:
            done.failed.append((instance.sop_instance_uid, error.what))
            return
        info = zipfile.ZipInfo("/".join(_parts(instance)), time.localtime()[:6])
        info.external_attr = 0o644 << 16
        info.file_size = instance.location.length
        with archive.open(info, "w", force_zip64=instance.location.length > 2**31) as member:
            for piece in self._safe(instance, done):
                member.write(piece)
        self._count(instance, done)

    def _write(self, path: Path, instance: StoredInstance, done: Extracted) -> None:
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        hasher, skip = blake3(), instance.location.meta_length
        try:
            with part.open("xb") as file:
                for piece in self._safe(instance, done):
                    view = memoryview(piece)
                    hasher.update(view[min(skip, len(view)) :])
                    skip -= min(skip, len(view))
                    file.write(view)
            if hasher.digest() != instance.content_hash:
                raise DamagedError("the bytes are not those that were received (BLAKE3 differs)")
            part.replace(path)
        except (DamagedError, NotFoundError) as error:
            done.failed.append((instance.sop_instance_uid, error.what))
            return
        finally:
            part.unlink(missing_ok=True)
        self._count(instance, done)

    def _count(self, instance: StoredInstance, done: Extracted) -> None:
        done.objects += 1
        done.bytes += instance.location.length

    def _safe(self, instance: StoredInstance, done: Extracted) -> Iterator[Piece]:
        """The object's bytes as they are given out."""
        first = True
        for piece in self._reader.chunks(instance):
            if first and instance.location.meta_length >= HEAD:
                # pieces are CHUNK long, so the first holds the preamble
                if found := disguise(bytes(memoryview(piece)[:HEAD])):
                    done.neutralised.append((instance.sop_instance_uid, found))
                    piece = neutral(bytes(piece))
                first = False
            yield piece

    def _same(self, path: Path, instance: StoredInstance) -> bool:
        """Whether the file holds the object already: same length and same data set."""
        if path.stat().st_size != instance.location.length:
            return False
        hasher = blake3()
        with path.open("rb") as file:
            file.seek(instance.location.meta_length, os.SEEK_SET)
            while piece := file.read(CHUNK):
                hasher.update(piece)
        return hasher.digest() == instance.content_hash


def _parts(instance: StoredInstance) -> tuple[str, str, str]:
    return (
        path_name(instance.study_instance_uid),
        path_name(instance.series_instance_uid),
        path_name(instance.sop_instance_uid) + ".dcm",
    )


def _full(path: Path, error: OSError) -> StorageFullError:
    return StorageFullError(
        f"{path} cannot be written: {error.strerror or error}",
        "Make room or choose another folder, then give the same command: what is there is not written again",
    )


__all__ = ["Extracted", "Extraction"]
