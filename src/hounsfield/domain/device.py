"""Devices: the application entities the archive knows, and what it does with those it does not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DeviceState(StrEnum):
    ADMITTED = "admitted"  # a person wrote it down, or admitted it
    WAITING = "waiting"  # seen, not yet decided: its objects are kept in quarantine
    REFUSED = "refused"  # a person refused it: its associations are rejected


@dataclass(frozen=True, slots=True)
class Device:
    """One application entity. `host` and `port` may be empty where it only calls us."""

    name: str  # how people and the command line call it; unique
    ae_title: str
    host: str = ""
    port: int = 0
    tls: bool = False
    state: DeviceState = DeviceState.ADMITTED
    site: str = ""
    #: Default of (0008,0005) for objects that name none and hold bytes beyond ASCII, and the character
    #: set of our answers to it. A defined term of PS3.3 C.12.1.1.2, such as "ISO_IR 100"; '' for none.
    character_set: str = ""
    #: Roles it may use: "store", "query", "retrieve", "commit". Empty allows all.
    roles: tuple[str, ...] = ()
    #: Networks it may call from, as CIDR or address; empty allows any.
    calling_addresses: tuple[str, ...] = ()
    #: Largest number of associations at one time; 0 for the server's default.
    max_associations: int = 0
    first_seen: int = 0  # microseconds since 1970, UTC; 0 for never
    last_seen: int = 0
    last_address: str = ""
    #: How it presented itself when last seen: implementation class UID, version name, contexts.
    evidence: str = ""


class Admission(StrEnum):
    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a calling AE, and why."""

    admission: Admission
    reason: str
    device: Device | None
