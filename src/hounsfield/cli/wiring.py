"""What the command line needs from `main.py`, the only file that knows everyone."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from hounsfield.ports.peers import Peers
from hounsfield.services.archive import Archive
from hounsfield.services.store import Store
from hounsfield.settings import Settings


class Wiring(Protocol):
    def open(self, settings: Settings, *, make: bool = False) -> AbstractContextManager[Archive]:
        """The archive of these settings, closed at the end of the block.

        Raises NotFoundError where there is none; with `make` it is made. ConfigurationError where its
        database cannot be reached or is of a newer release.
        """
        ...

    def store(self, archive: Archive, purpose: str) -> AbstractContextManager[Store]:
        """The one way in, with an intake log of its own ("import", "retrieve"): what it left unfinished the
        last time is replayed first."""
        ...

    def peers(self, settings: Settings, archive: Archive | None = None, store: Store | None = None) -> Peers:
        """Other application entities: without an archive for what needs none, with a store for C-GET."""
        ...

    def serve(self, settings: Settings, config: Path | None, *, demo: bool) -> None:
        """All roles as child processes, until a signal ends it."""
        ...

    def run_dicom(self, settings: Settings, name: str) -> None:
        """The role that speaks DIMSE, in this process, until a signal ends it."""
        ...

    def run_web(self, settings: Settings, name: str) -> None:
        """The role that speaks HTTP, in this process, until a signal ends it."""
        ...

    def run_worker(self, settings: Settings, name: str) -> None:
        """The role that does the jobs, in this process, until a signal ends it."""
        ...
