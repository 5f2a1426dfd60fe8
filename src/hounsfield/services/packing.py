"""Packing: a settled series becomes one sequential file, and its metadata is built once.

A pack is a ZIP whose members are the Part 10 objects byte for byte, and `metadata.json.gz`: the DICOM JSON
of the whole series. The order of the steps is such that a crash between any two loses nothing: the pack is
whole and synced under its name; one synced transaction points the index to it; then blobs that nothing
names go (`services.sweeping`). A crash before the transaction leaves a pack that nothing names: the next
run of the job writes its own, and `doctor` shows the other one to a person, since after a database was
brought back from a backup such a pack may hold the only copy. A crash after it leaves blobs that are swept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from hounsfield.domain.errors import BlobMovedError, DamagedError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.ids import path_name
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.blobs import Blobs, PackWriter, Piece
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.index import SeriesState
from hounsfield.ports.jobs import Job, NewJob
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.leases import Lease, NoLease, PostponedError
from hounsfield.services.series_metadata import SeriesMetadata
from hounsfield.services.verify import Damage, damage_events
from hounsfield.wire.dicomfile.errors import MalformedError

#: Objects in these blobs move into a pack; large objects and files in place are sequential where they are.
LOGS, PACKS = "log/", "packs/"
METADATA_NAME = "metadata.json.gz"
CHUNK = 1024 * 1024
#: Objects up to this length are checked in memory before they go into the pack; longer ones are read twice.
CHECKED_IN_MEMORY = 16 * 1024 * 1024
#: The metadata of a longer object are made from this much of its beginning, where all but pixels are.
METADATA_HEAD = 64 * 1024 * 1024
#: Late objects make a new pack of the whole series while its packs hold no more than this, or than the late
#: objects themselves; else a further pack beside the old ones.
REWRITE_BYTES = 256 * 1024 * 1024
#: Share of its time that packing rests, so that scanners are served first.
REST_SHARE = 0.5
LONGEST_REST = 0.25


@dataclass(frozen=True, slots=True)
class Packed:
    """What one job did."""

    key: str
    generation: int
    objects: int
    bytes: int
    damaged: tuple[str, ...]


@dataclass(slots=True)
class _Pack:
    """A pack being written."""

    writer: PackWriter
    #: SOP Instance UID -> (where it was, its offset in the pack), of objects that move
    moved: dict[str, tuple[Location, int]] = field(default_factory=dict)
    #: those that count as packed where they are
    stay: dict[str, Location] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    #: None when an object cannot be described: metadata that lack one would be wrong
    metadata: SeriesMetadata | None = field(default_factory=SeriesMetadata)


class Packer:
    """The handler of PACK_SERIES jobs (key: Series Instance UID). `settle` in seconds."""

    def __init__(
        self, database: Database, blobs: Blobs, clock: Clock, *, settle: float, rest_share: float = REST_SHARE
    ) -> None:
        self.database = database
        self.blobs = blobs
        self.clock = clock
        self.settle = int(settle * 1_000_000)
        self.rest_factor = rest_share / (1 - rest_share)

    def handle(self, job: Job, lease: Lease) -> None:
        """Raises PostponedError while the series still changes."""
        with self.database.read() as tx:
            state = tx.index.series_state(job.key)
        if state is None:
            return  # deleted since
        now = self.clock.now()
        # after a clock was set back, a change "in the future" must not put the series off for long
        settled = min(state.changed_at, now) + self.settle
        if settled > now:
            raise PostponedError(settled)
        try:
            self.pack(job.key, lease)
        except BlobMovedError as error:  # another pack of it was faster
            raise PostponedError(now + 5_000_000) from error

    def pack(self, series_instance_uid: str, lease: Lease | None = None) -> Packed | None:
        """Pack what of a series is not packed; None where there is nothing to do.

        Raises StorageFullError, StoppedError, BlobMovedError.
        """
        with self.database.read() as tx:
            state = tx.index.series_state(series_instance_uid)
            built = tx.index.metadata(series_instance_uid)
            instances = list(tx.index.instances(series=[series_instance_uid]))
        if state is None or not instances or (state.unpacked == 0 and built is not None):
            return None
        writer = self.blobs.write_pack(
            state.study_instance_uid, series_instance_uid, state.generation + 1, self.clock.now()
        )
        pack = _Pack(writer)
        try:
            self._fill(pack, instances, lease or NoLease())
            metadata = self._add_metadata(pack)
            if not (pack.moved or metadata) or self._overtaken(state):
                writer.abandon()
                self._tell_damage(pack)
                return None
            key, length = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        location = Location(key, *metadata, 0) if metadata else None
        return self._enter(state, pack, key, length, location)

    # --- writing ---

    def _fill(self, pack: _Pack, instances: Sequence[StoredInstance], lease: Lease) -> None:
        moving = _to_move(instances)
        for instance in instances:
            lease.check()
            began = self.clock.monotonic()
            try:
                if instance.sop_instance_uid in moving:
                    self._move(pack, instance, lease)
                else:
                    self._describe(pack, instance, self._head(instance.location))
                    pack.stay[instance.sop_instance_uid] = instance.location
            except DamagedError as error:
                self._damaged(pack, instance, error.what)
            self._rest(lease, began)

    def _move(self, pack: _Pack, instance: StoredInstance, lease: Lease) -> None:
        """Copy one object into the pack once its hash is known to be right."""
        location = instance.location
        if location.length <= CHECKED_IN_MEMORY:
            data = self.blobs.read(location)
            _check(instance, blake3(memoryview(data)[location.meta_length :]).digest())
            pieces, head = iter((data,)), data
        else:
            for _ in self._hashed(instance, lease):
                pass
            pieces, head = self._hashed(instance, lease), self._head(location)
        offset = pack.writer.add(path_name(instance.sop_instance_uid) + ".dcm", pieces, location.length)
        pack.moved[instance.sop_instance_uid] = (location, offset)
        self._describe(pack, instance, head)

    def _hashed(self, instance: StoredInstance, lease: Lease) -> Iterator[Piece]:
        """The object in pieces. Raises DamagedError at the end where the hash differs."""
        hasher, location = blake3(), instance.location
        skip, position = location.meta_length, 0
        with self.blobs.open(location) as read:
            while position < location.length:
                lease.check()
                began = self.clock.monotonic()
                piece = memoryview(read(position, min(CHUNK, location.length - position)))
                if not len(piece):
                    raise DamagedError(f"Object {instance.sop_instance_uid} is cut short")
                position += len(piece)
                hasher.update(piece[min(skip, len(piece)) :])
                skip -= min(skip, len(piece))
                yield piece
                self._rest(lease, began)
        _check(instance, hasher.digest())

    def _head(self, location: Location) -> Piece:
        return self.blobs.read(location, 0, min(location.length, METADATA_HEAD))

    def _describe(self, pack: _Pack, instance: StoredInstance, data: Piece) -> None:
        if pack.metadata is None:
            return
        try:
            pack.metadata.add(instance, memoryview(data)[instance.location.meta_length :])
        except MalformedError:
            pack.metadata = None

    def _damaged(self, pack: _Pack, instance: StoredInstance, why: str) -> None:
        at = instance.location
        pack.damaged.append(
            Damage(instance.sop_instance_uid, instance.study_instance_uid, at.key, at.offset, why)
        )
        pack.metadata = None

    def _add_metadata(self, pack: _Pack) -> tuple[int, int] | None:
        """(offset in the pack, length) of the compressed metadata."""
        if pack.metadata is None:
            return None
        parts = pack.metadata.finish()
        length = sum(map(len, parts))
        return pack.writer.add(METADATA_NAME, iter(parts), length), length

    def _rest(self, lease: Lease, began: float) -> None:
        busy = self.clock.monotonic() - began
        if self.rest_factor and busy > 0:
            lease.rest(min(busy * self.rest_factor, LONGEST_REST))

    # --- the index ---

    def _overtaken(self, state: SeriesState) -> bool:
        """Whether another pack of the series was entered since: this one would take its name."""
        with self.database.read() as tx:
            now = tx.index.series_state(state.series_instance_uid)
        return now is None or now.generation != state.generation

    def _enter(
        self, state: SeriesState, pack: _Pack, key: str, length: int, metadata: Location | None
    ) -> Packed:
        series = state.series_instance_uid
        generation = state.generation + 1
        moves = {uid: (old, old) for uid, old in pack.stay.items()} | {
            uid: (old, Location(key, offset, old.length, old.meta_length))
            for uid, (old, offset) in pack.moved.items()
        }
        now = self.clock.now()
        with self.database.write() as tx:
            count = tx.index.relocate(series, generation, moves, metadata)
            payload: dict[str, object] = {
                "pack": key,
                "generation": generation,
                "objects": len(pack.moved),
                "bytes": length,
            }
            subjects = Subjects(study=state.study_instance_uid, series=series)
            tx.ledger.append(
                [
                    Event("series.packed", now, subjects, payload=payload),
                    *damage_events(pack.damaged, now, "system"),
                ]
            )
            self._again(tx, series, count, len(pack.damaged), now)
        damaged = tuple(one.sop_instance_uid for one in pack.damaged)
        return Packed(key, generation, len(pack.moved), length, damaged)

    def _again(self, tx: Transaction, series: str, packed: int, damaged: int, now: int) -> None:
        """Objects that came while we wrote get a job, in case theirs was taken for this one."""
        state = tx.index.series_state(series)
        if state is not None and state.instances > packed + damaged:
            tx.jobs.enqueue([NewJob(PACK_SERIES, series, run_at=now + self.settle)])

    def _tell_damage(self, pack: _Pack) -> None:
        if pack.damaged:
            with self.database.write() as tx:
                tx.ledger.append(list(damage_events(pack.damaged, self.clock.now(), "system")))


def _to_move(instances: Sequence[StoredInstance]) -> set[str]:
    """Objects of the intake log; and those of older packs while writing them again costs little."""
    loose = [i for i in instances if i.location.key.startswith(LOGS)]
    packed = [i for i in instances if i.location.key.startswith(PACKS)]
    loose_bytes = sum(i.location.length for i in loose)
    if loose and sum(i.location.length for i in packed) <= max(REWRITE_BYTES, loose_bytes):
        loose += packed
    return {i.sop_instance_uid for i in loose}


def _check(instance: StoredInstance, digest: bytes) -> None:
    if digest != instance.content_hash:
        raise DamagedError(
            f"Object {instance.sop_instance_uid} is not what was received (BLAKE3 differs)",
            "It stays where it is; run `hounsfield study verify`",
        )


__all__ = ["Packed", "Packer"]
