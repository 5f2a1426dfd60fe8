"""Places for connections: so many, and such, that idle or hostile ones never keep a real device out.

Bounds: connections that have not asked for an association yet (few for each address, the oldest goes when
all places are taken), associations overall, associations of each device, and associations of all those that
no person admitted, which leave the reserved places free. Where there is no place, one that has been silent
for long gives way to the newcomer; a device that was admitted does so for another such device only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

#: An association that has moved nothing for this many seconds may have to give way.
SILENT_SECONDS = 15.0


@dataclass(slots=True, eq=False)
class Slot:
    """One connection's place. `drop(why)` ends the connection."""

    address: str
    drop: Callable[[str], None]
    #: Monotonic seconds of the last sign of life: a message, or a good piece of one (bytes may trickle).
    active: Callable[[], float]
    #: It has asked for an association, and waits for our decision; or it was rejected, or came to its end.
    asked: bool = False
    over: bool = False
    device: str = ""
    #: It is of a device that a person wrote down or admitted.
    admitted: bool = False
    #: Whether it waits for us: then its silence is ours.
    busy: Callable[[], bool] = field(default=lambda: False)


def share(total: int, processes: int) -> int:
    """One process's part of a limit that several have together: connections are dealt out to them evenly in
    the long run. At least 1, unless the limit is 0."""
    return -(-total // processes)


class Slots:
    """The places of one process. `reserved` of the `associations` are for admitted devices alone."""

    def __init__(
        self,
        associations: int,
        per_device: int,
        pending: int,
        pending_per_address: int,
        now: Callable[[], float],
        *,
        reserved: int = 0,
        silent: float = SILENT_SECONDS,
    ) -> None:
        self.associations = associations
        self.per_device = per_device
        self.pending = pending
        self.pending_per_address = pending_per_address
        self.open_to_all = associations - reserved
        self._now = now
        self.silent = silent
        self._pending: dict[Slot, None] = {}  # in order of arrival
        self._associated: dict[Slot, None] = {}

    def connected(self, slot: Slot) -> None:
        """A connection came. One that is pending longer may have to go."""
        self._pending[slot] = None
        if not _is_loopback(slot.address):
            same = [s for s in self._pending if s.address == slot.address]
            if len(same) > self.pending_per_address:
                self._drop(_least(same), "too many connections of this address ask for no association")
        while len(self._pending) > self.pending:
            self._drop(_least(self._pending), "too many connections ask for no association")

    def associate(self, slot: Slot, device: str, limit: int, *, admitted: bool) -> str:
        """Move a connection to the associations. `limit` is that of the device, 0 for the common one. Returns
        '' or why there is no place."""
        limit = limit or self.per_device
        if slot not in self._pending:
            return "the connection had to give way to others"
        of_device = [s for s in self._associated if s.device == device]
        if len(of_device) >= limit and not self._evict(of_device):
            return f"{device} has {limit} associations already"
        strangers = [s for s in self._associated if not s.admitted]
        if len(self._associated) >= self.associations:
            if not self._evict(strangers) and not (admitted and self._evict(list(self._associated))):
                return f"all {self.associations} places for associations are taken"
        elif not admitted and len(strangers) >= self.open_to_all and not self._evict(strangers):
            return f"all {self.open_to_all} places for devices that nobody admitted are taken"
        self._pending.pop(slot, None)
        slot.device, slot.admitted = device, admitted
        self._associated[slot] = None
        return ""

    def over(self, slot: Slot) -> None:
        """Its association ended, or it gets none: until it is closed, it is among the first to go."""
        slot.over = True
        if slot in self._associated:
            del self._associated[slot]
            self._pending[slot] = None

    def gone(self, slot: Slot) -> None:
        self._pending.pop(slot, None)
        self._associated.pop(slot, None)

    @property
    def counts(self) -> tuple[int, int]:
        """Pending connections, associations."""
        return len(self._pending), len(self._associated)

    def _evict(self, among: list[Slot]) -> bool:
        now = self._now()
        silent = [(s.active(), s) for s in among if not s.busy() and now - s.active() > self.silent]
        if not silent:
            return False
        slot = min(silent, key=lambda pair: pair[0])[1]
        slot.drop("silent, and its place was needed")
        self.over(slot)
        return True

    def _drop(self, slot: Slot, why: str) -> None:
        self.gone(slot)
        slot.drop(why)


def _least(among: Iterable[Slot]) -> Slot:
    """The one that has to go: never the newest, which could not say a word yet. One that is over, else one
    that has asked for nothing, else the oldest."""
    *older, newest = among
    return min(older, key=lambda slot: (not slot.over, slot.asked), default=newest)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
