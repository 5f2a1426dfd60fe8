"""What one store round carries into the index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hounsfield.domain.study import Location, ObjectKeys


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object came from; kept with it in the intake log, so that replay knows it too."""

    source: str  # "dimse", "import", "demo", "retrieve" (our own C-GET or C-MOVE), "stow"
    device: str  # device name, or the calling AE title of an unknown one; user of "stow"; '' for an import
    association: str  # association id (a short unique token), or the id of the import run
    address: str  # peer address or, for an import, the folder
    site: str = ""  # of who sent it, where that is no device, or one that stands at none

    @property
    def actor(self) -> str:
        """As the ledger names it (`domain.events.Event.actor`)."""
        if not self.device:
            return "system"
        return f"user:{self.device}" if self.source == "stow" else f"device:{self.device}"


class QuarantineReason(StrEnum):
    UNKNOWN_DEVICE = "unknown-device"
    CONFLICT = "conflict"  # same SOP Instance UID as a kept one, other content
    OTHER_STUDY = "other-study"  # series or instance known under another study or patient
    NOT_ENTERED = "not-entered"  # the index failed at it, by a fault of ours


@dataclass(frozen=True, slots=True)
class Arrival:
    """One received object whose bytes are durable at `location`."""

    keys: ObjectKeys
    transfer_syntax_uid: str
    content_hash: bytes  # 32 bytes, BLAKE3 of the data set
    location: Location
    origin: Origin
    at: int  # microseconds since 1970, UTC: when the last byte came
    #: Set where policy keeps it from the index's current objects.
    quarantine: QuarantineReason | None = None


class Outcome(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"  # same content already kept: nothing written
    CONFLICT = "conflict"  # kept in quarantine; the first stays current
    QUARANTINED = "quarantined"
