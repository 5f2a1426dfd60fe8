"""The archive as its services see it: one value that holds the ports."""

from __future__ import annotations

from dataclasses import dataclass

from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.peers import Peers
from hounsfield.settings import Settings


@dataclass(frozen=True, slots=True)
class Archive:
    """An opened archive. `main.py` opens and closes it; services take from it only what they need."""

    settings: Settings
    database: Database
    blobs: Blobs
    clock: Clock
    peers: Peers
