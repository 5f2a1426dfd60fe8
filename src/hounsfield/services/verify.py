"""Verify: read what is kept and compare it with the hash it was received with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from hounsfield.domain.errors import DamagedError, NotFoundError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.query import Level, Query
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.index import Held
from hounsfield.services.reading import Reader


@dataclass(frozen=True, slots=True)
class Damage:
    """One object whose bytes are not what was received."""

    sop_instance_uid: str
    study_instance_uid: str
    key: str
    offset: int
    why: str


@dataclass(slots=True)
class Verified:
    """What a verification has read so far."""

    objects: int = 0
    bytes: int = 0
    studies: int = 0
    damaged: list[Damage] = field(default_factory=list)
    complete: bool = False


class Verifier:
    """`progress` is called after every object; `stop` is asked before every object."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        clock: Clock,
        *,
        actor: str = "system",
        progress: Callable[[Verified], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.database = database
        self.clock = clock
        self.actor = actor
        self.progress = progress
        self.stop = stop
        self._reader = Reader(database, blobs)

    def study(self, study_instance_uid: str) -> Verified:
        """Every current object of a study. Raises NotFoundError."""
        done = Verified()
        if not self._study(study_instance_uid, done):
            raise NotFoundError(f"No study {study_instance_uid} is kept", "See `hounsfield study list`")
        done.complete = not self.stop()
        return done

    def instance(self, sop_instance_uid: str) -> Verified:
        """One current object. Raises NotFoundError."""
        with self.database.read() as tx:
            found = tx.index.locate(sop_instance_uid)
        if found is None:
            raise NotFoundError(f"No object {sop_instance_uid} is kept")
        done = Verified()
        self._record(self._check([found], done), [])
        done.complete = True
        return done

    def everything(self) -> Verified:
        """Every current object, study by study, and what is held in quarantine."""
        done = Verified()
        with self.database.read() as tx:
            wanted = frozenset({"StudyInstanceUID"})
            uids = [row["StudyInstanceUID"] for row in tx.index.search(Query(Level.STUDY, {}, wanted))]
        for uid in uids:
            if self.stop():
                return done
            self._study(uid, done)
        with self.database.read() as tx:
            held = list(tx.index.quarantine())
        self._record(self._check((_as_stored(one) for one in held), done, self._held_fault(held)), [])
        done.complete = not self.stop()
        return done

    def _study(self, uid: str, done: Verified) -> int:
        with self.database.read() as tx:
            instances = list(tx.index.instances(study=uid))
        if not instances:
            return 0
        before = done.objects
        damaged = self._check(instances, done)
        done.studies += 1
        payload: dict[str, object] = {
            "objects": done.objects - before,
            "damaged": [damage.sop_instance_uid for damage in damaged],
        }
        verified = Event("study.verified", self.clock.now(), Subjects(study=uid), self.actor, payload=payload)
        self._record(damaged, [verified])
        return len(instances)

    def _check(
        self,
        instances: Iterable[StoredInstance],
        done: Verified,
        fault: Callable[[StoredInstance], str | None] | None = None,
    ) -> list[Damage]:
        fault = fault or self._fault
        damaged = []
        for instance in instances:
            if self.stop():
                break
            why = fault(instance)
            if why is None:
                continue
            done.objects += 1
            done.bytes += instance.location.length
            if why:
                location = instance.location
                damage = Damage(
                    instance.sop_instance_uid, instance.study_instance_uid, location.key, location.offset, why
                )
                damaged.append(damage)
                done.damaged.append(damage)
            self.progress(done)
        return damaged

    def _fault(self, instance: StoredInstance) -> str | None:
        """What is wrong with an object; '' for nothing, None where it is no longer kept."""
        try:
            same = self._reader.matches_hash(instance)
        except DamagedError as error:
            return error.what
        except NotFoundError:
            return None  # deleted while we read: nothing to verify
        except OSError as error:
            return f"cannot be read: {error.strerror or error}"
        return "" if same else "the bytes are not those that were received (BLAKE3 differs)"

    def _held_fault(self, held: list[Held]) -> Callable[[StoredInstance], str | None]:
        """As `_fault`. A held object has no other place to look, so bytes that are not there are a fault as
        long as it is held."""
        ids = {(one.arrival.location.key, one.arrival.location.offset): one.id for one in held}

        def fault(instance: StoredInstance) -> str | None:
            why = self._fault(instance)
            if why is not None:
                return why
            location = instance.location
            with self.database.read() as tx:
                still = {one.id for one in tx.index.quarantine(study=instance.study_instance_uid)}
            return "its bytes are gone" if ids[location.key, location.offset] in still else None

        return fault

    def _record(self, damaged: Iterable[Damage], more: list[Event]) -> None:
        events = [*damage_events(damaged, self.clock.now(), self.actor), *more]
        if events:
            with self.database.write() as tx:
                tx.ledger.append(events)


def damage_events(damaged: Iterable[Damage], now: int, actor: str) -> Iterator[Event]:
    """The `blob.damaged` event of each."""
    for one in damaged:
        payload: dict[str, object] = {
            "sop": one.sop_instance_uid,
            "key": one.key,
            "offset": one.offset,
            "why": one.why,
        }
        yield Event("blob.damaged", now, Subjects(study=one.study_instance_uid), actor, payload=payload)


def _as_stored(held: Held) -> StoredInstance:
    arrival = held.arrival
    return StoredInstance(
        arrival.keys.study.study_instance_uid,
        arrival.keys.series.series_instance_uid,
        arrival.keys.instance.sop_instance_uid,
        arrival.keys.instance.sop_class_uid,
        arrival.transfer_syntax_uid,
        arrival.content_hash,
        arrival.location,
    )
