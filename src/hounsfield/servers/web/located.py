"""Where objects are that were asked for a moment ago: a viewer asks for each image of a series by itself.

Whoever asks has seen the study first (`seeing`). What has moved since is found again by the reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hounsfield.domain.study import StoredInstance
from hounsfield.ports.database import Database

#: What was looked up is taken for true so long.
REMEMBERED_SECONDS = 5.0
MOST_REMEMBERED = 20_000
#: Objects of a series that are looked up together, from the second request on.
MOST_TOGETHER = 5_000


@dataclass(frozen=True, slots=True)
class Place:
    """One object, and when its series last changed, microseconds since 1970."""

    instance: StoredInstance
    changed_at: int


@dataclass(slots=True)
class Located:
    """One for each process. `get` is for the event loop, `find` for threads."""

    _places: dict[str, tuple[float, Place]] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)  # series -> until when

    def get(self, study: str, series: str, instance: str, now: float) -> Place | None:
        """Where it is, if that is known and it is of that series of that study. `now`: monotonic seconds."""
        until, place = self._places.get(instance, (0.0, None))
        return _of(place, study, series) if until > now else None

    def find(self, database: Database, study: str, series: str, instance: str, now: float) -> Place | None:
        """The same by asking the index; None where there is no such object."""
        again = self._asked.get(series, 0.0) > now
        with database.read() as tx:
            state = tx.index.series_state(series)
            found = tx.index.locate(instance)
            changed_at = state.changed_at if state is not None else 0
            together = list(tx.index.instances(series=[series], limit=MOST_TOGETHER)) if again else []
        if len(self._places) > MOST_REMEMBERED:
            self._places, self._asked = {}, {}
        until = now + REMEMBERED_SECONDS
        self._asked[series] = until
        for one in together:
            self._places[one.sop_instance_uid] = (until, Place(one, changed_at))
        return _of(Place(found, changed_at) if found is not None else None, study, series)


def _of(place: Place | None, study: str, series: str) -> Place | None:
    if place is None:
        return None
    instance = place.instance
    fits = instance.study_instance_uid == study and instance.series_instance_uid == series
    return place if fits else None
