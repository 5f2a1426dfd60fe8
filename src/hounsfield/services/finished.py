"""Which files of an import are done, so that an import that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hounsfield.services.walking import Found

#: Seconds between two notes of what is finished.
NOTE_SECONDS = 2.0
DIGEST = 16


class Finished:
    """A digest of path, length and time of change for each file, appended while the import runs to a file
    named after what is imported, which is removed when the import is complete. `before_note` makes durable
    what is about to be noted."""

    def __init__(
        self, folder: Path, paths: Sequence[Path], in_place: bool, before_note: Callable[[], None]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        named = "\0".join([str(in_place), *(str(path.absolute()) for path in paths)])
        self.path = folder / f"import-{_digest(named).hex()}"
        self._before_note = before_note
        self._waiting: list[bytes] = []
        self._noted = 0.0
        self._file = self.path.open("ab+")
        self._file.seek(0)
        data = self._file.read()
        whole = len(data) // DIGEST * DIGEST  # a torn note at the end is cut off
        self._file.truncate(whole)
        self._known = {data[at : at + DIGEST] for at in range(0, whole, DIGEST)}

    def has(self, found: Found) -> bool:
        return bool(self._known) and _file_digest(found) in self._known

    def add(self, found: Found, now: float) -> None:
        self._waiting.append(_file_digest(found))
        if now - self._noted >= NOTE_SECONDS:
            self._noted = now
            self._note()

    def _note(self) -> None:
        if self._waiting:
            self._before_note()
            self._file.write(b"".join(self._waiting))
            self._file.flush()
            self._waiting = []

    def close(self, complete: bool) -> None:
        with self._file:
            if not complete:
                self._note()
        if complete:
            self.path.unlink(missing_ok=True)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=DIGEST).digest()


def _file_digest(found: Found) -> bytes:
    return _digest(f"{found.path or found.name}\0{found.size}\0{found.changed}")
