"""Setting aside: an object of the log that the index cannot take keeps its bytes, and stands in nobody's way.

Such an object is a fault of ours: it was acknowledged, so its header was readable then. Where its keys can
still be read it is held in quarantine (`QuarantineReason.NOT_ENTERED`); else, or where that fails too, its
file is kept in `set-aside/`, to be imported by a release that can.
"""

from __future__ import annotations

import logging

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event, Subjects
from hounsfield.ports.blobs import Blobs, Replayed
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database

log = logging.getLogger(__name__)

#: Longest text of an error in an event.
MOST_WORDS = 500
LARGE = "large/"


def in_words(error: Exception) -> str:
    """An error as an event tells it."""
    why = error.what if isinstance(error, HounsfieldError) else f"{type(error).__name__}: {error}"
    return why[:MOST_WORDS]


def set_aside(database: Database, blobs: Blobs, clock: Clock, one: Replayed, error: Exception) -> None:
    """Keep the file of a record, tell the ledger. Stopped in between, it is done again, to the same file.

    Raises StorageFullError, DamagedError where the bytes cannot be read any more, and what the database
    raises: nothing is passed over then.
    """
    at = one.location
    file = blobs.set_aside(at, one.content_hash)
    payload: dict[str, object] = {
        "hash": one.content_hash.hex(),
        "bytes": at.length,
        "blob": at.key,
        "offset": at.offset,
        "file": file,
        "why": in_words(error),
        "source": one.origin.source,
    }
    subjects = Subjects(device=one.origin.device, association=one.origin.association)
    with database.write() as tx:
        tx.ledger.append([Event("instance.set_aside", clock.now(), subjects, payload=payload)])
    if at.key.startswith(LARGE):  # it had a file of its own, which nothing names now
        blobs.remove(at.key)
    log.error("an object cannot be entered into the index", extra={"file": file}, exc_info=error)


__all__ = ["in_words", "set_aside"]
