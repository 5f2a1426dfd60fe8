"""The recorder: association steps and refusals, written to the ledger in batches of their own.

State changes are recorded in the transaction that makes them; what only happened (an association, a
refusal, a query) comes here, so that no answer waits for it. Its chain is not that of the store rounds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.ports.database import Database
from hounsfield.services.metrics import happened

log = logging.getLogger(__name__)

#: Events that alone would fill the ledger when a scanner of ports comes by: counted together.
_COUNTED = frozenset({"connection.refused"})
FLUSH_SECONDS = 0.2
FLUSH_EVENTS = 1000
#: Events kept while the database is away: past it no more of the counted kind, past twice as many none.
MOST_WAITING = 100_000


class Recorder:
    """Any thread may `note`; one thread writes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._waiting: deque[Event] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def note(self, event: Event) -> None:
        waiting = len(self._waiting)
        if waiting >= MOST_WAITING and (event.type in _COUNTED or waiting >= 2 * MOST_WAITING):
            if not self._lost:
                log.error("the ledger cannot be written, and memory for its events is full")
            self._lost += 1
            return
        self._waiting.append(event)
        self._wake.set()

    def close(self) -> None:
        """Write what waits, stop."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while True:
            self._wake.wait()
            if not self._closing:
                time.sleep(FLUSH_SECONDS if not failures else min(5.0, 0.2 * 2**failures))
            self._wake.clear()
            batch = [self._waiting.popleft() for _ in range(min(FLUSH_EVENTS, len(self._waiting)))]
            if batch:
                written = self._write(batch, last_try=self._closing and failures > 3)
                failures = 0 if written else failures + 1
                if written:
                    happened(batch)
            if self._waiting:
                self._wake.set()
            elif self._closing:
                return

    def _write(self, batch: list[Event], *, last_try: bool) -> bool:
        try:
            with self.database.write(synced=False) as tx:
                tx.ledger.append(together(batch))
        except HounsfieldError as error:
            if last_try:
                log.error("ledger events lost at the end", extra={"count": len(batch), "why": error.what})
                return True
            log.warning("the ledger cannot be written; it is tried again", extra={"why": error.what})
            self._waiting.extendleft(reversed(batch))
            return False
        except Exception as error:
            # One event that cannot be written must not take the others with it, nor this thread.
            if len(batch) == 1:
                log.error("a ledger event cannot be written", extra={"type": batch[0].type}, exc_info=error)
                return True
            for event in reversed(batch[1:]):
                self._waiting.appendleft(event)
            return self._write(batch[:1], last_try=last_try)
        if self._lost:
            log.error("ledger events were lost while it could not be written", extra={"count": self._lost})
            self._lost = 0
        return True


def together(events: Sequence[Event]) -> list[Event]:
    """The same events, those of a counted kind with the same address and reason as one with a count."""
    out: list[Event] = []
    counts: dict[tuple[str, object, object], int] = {}
    for event in events:
        if event.type not in _COUNTED:
            out.append(event)
            continue
        key = (event.type, event.payload.get("address"), event.payload.get("why"))
        counts[key] = counts.get(key, 0) + 1
        if counts[key] == 1:
            out.append(event)
    return [
        replace(e, payload={**e.payload, "count": n})
        if (n := counts.get((e.type, e.payload.get("address"), e.payload.get("why")), 0)) > 1
        and e.type in _COUNTED
        else e
        for e in out
    ]
