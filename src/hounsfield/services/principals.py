"""Who asks, from memory: what the web role needs to know at each request, without asking the database.

All that is remembered is forgotten when the accounts' version has grown, which is looked at once in
`REFRESH_SECONDS`: so a revoked token, an ended session or a disabled account is seen within that time in
every process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hounsfield.domain.access import Principal
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction

REFRESH_SECONDS = 1.0
#: Entries of each kind; past it all of the kind are forgotten and asked for again.
MOST = 10_000
#: Seconds after which last uses are written down.
FLUSH_SECONDS = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class Remembered:
    principal: Principal
    until: int  # microseconds since 1970: not valid from then on
    idle: int  # microseconds without use after which it is not valid; 0: no such limit
    used_at: int


class Principals:
    """Thread-safe. Credentials are known by digests of theirs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, dict[bytes, Remembered]] = {"session": {}, "token": {}, "basic": {}}
        self._version = -1
        self._checked = float("-inf")
        #: Last uses that are not written down yet, by id.
        self._used: dict[str, dict[str, int]] = {"session": {}, "token": {}}
        self._flushed = clock.monotonic()

    def recall(self, kind: str, digest: bytes) -> Principal | None:
        """The principal where it is known for sure now. Never waits."""
        if self.clock.monotonic() - self._checked >= REFRESH_SECONDS:
            return None
        found = self._known[kind].get(digest)
        if found is None:
            return None
        now = self.clock.now()
        if now >= found.until or (found.idle and now - found.used_at > found.idle):
            return None
        found.used_at = now
        principal = found.principal
        if kind != "basic":
            self._used[kind][principal.session or principal.token] = now
        return principal

    def look_up(
        self, kind: str, digest: bytes, find: Callable[[Transaction, int], Remembered | None]
    ) -> Principal | None:
        """From memory, else as `find` sees it in a reading transaction; remembered then. May wait for the
        database."""
        self.refresh()
        known = self.recall(kind, digest)
        if known is not None:
            return known
        checked, now = self.clock.monotonic(), self.clock.now()
        with self.database.read() as tx:
            version = tx.accounts.version()
            found = find(tx, now)
        with self._lock:
            self._saw(version, checked)
            if found is not None:
                self._remember(kind, digest, found)
        if found is None:
            return None
        if kind != "basic":
            self._used[kind][found.principal.session or found.principal.token] = now
        return found.principal

    def refresh(self) -> None:
        """Look whether anything has changed, where that was not done a moment ago."""
        if self.clock.monotonic() - self._checked >= REFRESH_SECONDS:
            checked = self.clock.monotonic()
            with self.database.read() as tx:
                version = tx.accounts.version()
            with self._lock:
                self._saw(version, checked)
        if self.clock.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down when sessions and tokens were last used."""
        with self._lock:
            self._flushed = self.clock.monotonic()
            taken, self._used = self._used, {"session": {}, "token": {}}
        used = {kind: dict(times) for kind, times in taken.items()}  # others may still add to what was taken
        if not used["session"] and not used["token"]:
            return
        try:
            with self.database.write() as tx:
                tx.sessions.touch(used["session"])
                tx.tokens.touch(used["token"])
        except BaseException:
            for kind, times in used.items():
                self._used[kind] = times | self._used[kind]
            raise

    def used_at(self, kind: str, identity: str) -> int:
        """A last use that is not written down yet; 0 for none."""
        return self._used[kind].get(identity, 0)

    def forget(self) -> None:
        """What this process has just changed is seen in it at once."""
        with self._lock:
            self._checked = float("-inf")

    def _saw(self, version: int, checked: float) -> None:
        if version != self._version:
            # Also one that is lower: of a reader that began before another; the next look puts it right.
            for entries in self._known.values():
                entries.clear()
            self._version = version
            self._checked = checked
        else:
            self._checked = max(self._checked, checked)

    def _remember(self, kind: str, digest: bytes, found: Remembered) -> None:
        entries = self._known[kind]
        if len(entries) >= MOST:
            entries.clear()
        entries[digest] = found
