"""The one hierarchy of errors: each says what happened, to what, and what to do next.

A service or adapter raises one of these; a server translates it into its protocol's refusal, the
command line into a sentence and an exit code (`exit_code`).
"""

from __future__ import annotations


class HounsfieldError(Exception):
    """Something that Hounsfield can explain. `todo` is the next step for the person who reads it."""

    exit_code = 1

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}. {self.todo}" if self.todo else self.what


class ConfigurationError(HounsfieldError):
    """A setting, file, port or certificate with which the archive cannot start."""

    exit_code = 2


class NotFoundError(HounsfieldError):
    """What was named (a study, a device, a user) is not there."""

    exit_code = 3


class ConflictError(HounsfieldError):
    """What was asked for contradicts what is kept (a name already taken, a UID with other content)."""

    exit_code = 4


class RefusedError(HounsfieldError):
    """A rule of the archive, or of a peer, does not allow it."""

    exit_code = 5


class PeerError(HounsfieldError):
    """Another system could not be reached, or broke off, or answered with a failure."""

    exit_code = 6


class DamagedError(HounsfieldError):
    """Bytes that are kept are not the bytes that were received."""

    exit_code = 7


class StorageFullError(HounsfieldError):
    """The disk or the object store takes no more."""

    exit_code = 8


class BlobMovedError(HounsfieldError):
    """The bytes are no longer where the index said a moment ago: look the location up again."""


class UnreadableError(HounsfieldError):
    """Input that is not what it claims to be (not DICOM, truncated, past a limit)."""

    exit_code = 9


class DatabaseSetBackError(HounsfieldError):
    """The database has lost what it had confirmed: it crashed, or another took its place."""


class DatabaseUnavailableError(HounsfieldError):
    """The database cannot be reached, is locked, or gave up a transaction: nothing of it is kept."""

    exit_code = 10
