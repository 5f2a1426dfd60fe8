"""Import: files, folders, DICOMDIR and ZIP through the one way in, or indexed where they are.

Reading runs ahead on a few threads and many objects are in flight at one time, so that rounds are full.
What is finished is noted in a file of the data folder: an import that was stopped goes on where it was.
"""

from __future__ import annotations

import mmap
import os
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from hounsfield.domain.errors import StorageFullError, UnreadableError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.identify import Refusal
from hounsfield.domain.stored import Arrival, Origin, Outcome
from hounsfield.domain.study import Location
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.services.finished import Finished
from hounsfield.services.indexing import Result
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.scanning import scan
from hounsfield.services.store import Store
from hounsfield.services.walking import Found, Passed, Stream, walk
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.part10 import FileMeta, read_meta

#: Media Storage Directory: a DICOMDIR is no object to be kept (PS3.4 I).
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
READERS = 4
#: Objects handed to the store and not answered yet.
IN_FLIGHT = 256
CHUNK = 1024 * 1024
#: File meta groups end well within this.
META = 1024 * 1024
#: How many names of files that were refused or passed over a report carries.
MAX_NOTES = 10_000


@dataclass(slots=True)
class Report:
    """What became of the files of one import."""

    run: str = ""
    new: int = 0
    identical: int = 0  # the same content was kept already
    conflicting: int = 0  # other content under a kept SOP Instance UID: in quarantine
    quarantined: int = 0
    refused: int = 0
    skipped: int = 0  # no DICOM objects
    resumed: int = 0  # finished by an earlier run of this import
    bytes: int = 0
    seconds: float = 0.0
    complete: bool = False  # False: stopped; the same command goes on with the rest
    #: (file, "refused" | "skipped" | "conflicting" | "quarantined", why), the first MAX_NOTES.
    notes: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def files(self) -> int:
        return (
            self.new + self.identical + self.conflicting + self.quarantined
            + self.refused + self.skipped + self.resumed
        )  # fmt: skip

    def note(self, name: str, kind: str, why: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append((name, kind, why))


class _NotDicomError(Exception):
    """The file is something else; not a fault."""


@dataclass(slots=True)
class _Read:
    """The beginning of one file, and its rest where it is large."""

    meta: FileMeta
    start: bytes
    rest: Stream | None
    arrival: Arrival | None = None  # of a file that stays in place


@dataclass(slots=True)
class _Flying:
    found: Found
    size: int
    future: Future[Result]


class Import:
    """One run. `progress` is called with the report as it stands, after every object; `stop` is asked
    before every file. `character_set` as `Device.character_set`: of objects that name none."""

    def __init__(
        self,
        store: Store,
        database: Database,
        clock: Clock,
        *,
        state: Path,
        in_place: bool = False,
        character_set: str = "",
        progress: Callable[[Report], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        source: str = "import",
    ) -> None:
        self.store = store
        self.database = database
        self.clock = clock
        self.state = state
        self.in_place = in_place
        self.character_set = character_set
        self.progress = progress
        self.stop = stop
        self.source = source
        self.report = Report(run=uuid.uuid4().hex[:12])
        self._origin = Origin(source, "", self.report.run, "")
        self._began = clock.monotonic()
        self._ahead: deque[tuple[Found, Future[_Read]]] = deque()
        self._ahead_bytes = 0
        self._flying: deque[_Flying] = deque()
        self._flying_bytes = 0
        self._refusals: list[Event] = []
        # of the memory budget, so that no small object is spilled for want of room
        self._most_bytes = max(store.budget.limit // 4, 1)

    def run(self, paths: Sequence[Path]) -> Report:
        """Import all. Raises StorageFullError when the disk takes no more; what is in by then stays in,
        and the same import goes on later."""
        origin = " ".join(str(path) for path in paths)
        self._origin = Origin(self.source, "", self.report.run, origin[:256])
        finished = Finished(self.state, paths, self.in_place, self._make_durable)
        try:
            with ThreadPoolExecutor(READERS, thread_name_prefix="import") as pool:
                try:
                    self.report.complete = self._all(paths, finished, pool)
                finally:
                    for _, reading in self._ahead:
                        reading.cancel()
                    self._ahead.clear()
                    while self._flying:
                        self._settle(finished)
        finally:
            self.report.seconds = round(self.clock.monotonic() - self._began, 3)
            self._end(origin)
            finished.close(self.report.complete)
        return self.report

    def _all(self, paths: Sequence[Path], finished: Finished, pool: ThreadPoolExecutor) -> bool:
        for item in walk(paths):
            if self.stop():
                return False
            if isinstance(item, Passed):
                self._pass(item.name, item.why, item.refused)
                continue
            if finished.has(item):
                self.report.resumed += 1
                continue
            self._ahead.append((item, pool.submit(self._open, item)))
            self._ahead_bytes += self._held(item)
            while len(self._ahead) >= 4 * READERS or self._ahead_bytes > self._most_bytes:
                self._deliver(finished)
        while self._ahead:
            if self.stop():
                return False
            self._deliver(finished)
        while self._flying:
            self._settle(finished)
        return True

    def _held(self, found: Found) -> int:
        """Bytes of memory that a file read ahead takes; a large one is only begun."""
        return min(found.size, self.store.large + CHUNK)

    # --- reading, on the reader threads ---

    def _open(self, found: Found) -> _Read:
        if self.in_place:
            return self._index(found)
        stream = found.open()
        try:
            start = stream.read(self.store.large)
            meta = _meta(start)
            more = len(start) == self.store.large
        except BaseException:
            stream.close()
            raise
        if not more:
            stream.close()
        return _Read(meta, start, stream if more else None)

    def _index(self, found: Found) -> _Read:
        """Scan and hash a file that stays where it is."""
        if found.path is None:
            raise UnreadableError("within a ZIP: import it by copying, or unpack it first")
        path = found.path.resolve()
        if printable_path(path) is None:
            raise UnreadableError("its path is not UTF-8: rename it, or import it by copying")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise _NotDicomError("empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                meta = _meta(data[:META])
                with memoryview(data) as whole, whole[meta.meta_length :] as data_set:
                    keys = scan(data_set, meta.transfer_syntax_uid, self.character_set)
                    digest = blake3(data_set).digest()
        if isinstance(keys, Refusal):
            raise UnreadableError(keys.reason)
        assert keys is not None
        location = Location(f"file:{path}", 0, size, meta.meta_length)
        arrival = Arrival(
            keys, meta.transfer_syntax_uid, digest, location, self._origin, self.clock.now(), None
        )
        return _Read(meta, b"", None, arrival)

    # --- into the store, on the calling thread ---

    def _deliver(self, finished: Finished) -> None:
        found, reading = self._ahead.popleft()
        self._ahead_bytes -= self._held(found)
        try:
            read = reading.result()
            future, size = self._enter(read)
        except _NotDicomError as error:
            self._pass(found.name, str(error), False)
            return
        except (UnreadableError, OSError) as error:
            self._pass(found.name, _explain(error), True)
            return
        self._flying.append(_Flying(found, size, future))
        self._flying_bytes += min(size, self.store.large)
        while len(self._flying) > IN_FLIGHT or self._flying_bytes > self._most_bytes:
            self._settle(finished)
        while self._flying and self._flying[0].future.done():
            self._settle(finished)

    def _enter(self, read: _Read) -> tuple[Future[Result], int]:
        if read.arrival is not None:
            return self.store.enter_in_place([read.arrival])[0], read.arrival.location.length
        meta = read.meta
        # the data set says what it is; a file meta group that says otherwise is kept as it is
        receiver = self.store.begin(
            "",
            "",
            meta.transfer_syntax_uid,
            self._origin,
            character_set=self.character_set,
            meta=read.start[: meta.meta_length],
        )
        size = len(read.start)
        try:
            receiver.write(memoryview(read.start)[meta.meta_length :])
            if read.rest is not None:
                while piece := read.rest.read(CHUNK):
                    size += len(piece)
                    receiver.write(piece)
        except BaseException:
            receiver.abandon()
            raise
        finally:
            if read.rest is not None:
                read.rest.close()
        return receiver.finish(), size

    def _settle(self, finished: Finished) -> None:
        """Wait for the oldest object in flight and count it."""
        flying = self._flying.popleft()
        self._flying_bytes -= min(flying.size, self.store.large)
        result = flying.future.result()
        report = self.report
        if result.outcome is None:
            self._pass(flying.found.name, result.reason, True, result)
            if result.status == OUT_OF_RESOURCES:
                raise StorageFullError(result.reason, "Make room, then give the same command: it goes on")
            return
        report.bytes += flying.size
        name = flying.found.name
        if result.outcome is Outcome.STORED:
            report.new += 1
        elif result.outcome is Outcome.DUPLICATE:
            report.identical += 1
        elif result.outcome is Outcome.CONFLICT:
            report.conflicting += 1
            why = f"{result.sop_instance_uid} is kept with other content; this version is in quarantine"
            report.note(name, "conflicting", why)
        else:
            report.quarantined += 1
            report.note(name, "quarantined", result.reason)
        finished.add(flying.found, self.clock.monotonic())
        self._tell()

    def _pass(self, name: str, why: str, refused: bool, result: Result | None = None) -> None:
        if not refused:
            self.report.skipped += 1
            self.report.note(name, "skipped", why)
            self._tell()
            return
        self.report.refused += 1
        self.report.note(name, "refused", why)
        payload: dict[str, object] = {"why": why, "source": self.source, "file": name}
        if result is not None:
            payload |= {"sop": result.sop_instance_uid, "status": f"{result.status:04X}"}
        subjects = Subjects(association=self.report.run)
        self._refusals.append(Event("instance.refused", self.clock.now(), subjects, payload=payload))
        if len(self._refusals) >= 100:
            self._record([])
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.report.seconds = round(self.clock.monotonic() - self._began, 3)
            self.progress(self.report)

    # --- what is written down ---

    def _end(self, origin: str) -> None:
        report = self.report
        payload: dict[str, object] = {
            "path": origin[:1000],
            "new": report.new,
            "identical": report.identical,
            "conflicting": report.conflicting,
            "quarantined": report.quarantined,
            "refused": report.refused,
            "skipped": report.skipped,
            "complete": report.complete,
            "seconds": report.seconds,
        }
        subjects = Subjects(association=report.run)
        self._record([Event("import.ended", self.clock.now(), subjects, payload=payload)])

    def _record(self, events: list[Event]) -> None:
        """In a synced transaction: what rounds committed before it is then durable too."""
        with self.database.write() as tx:
            tx.ledger.append([*self._refusals, *events])
        self._refusals = []

    def _make_durable(self) -> None:
        """Objects in place are in no intake log, so a power cut could take their rounds out of the index:
        they count as finished after a synced transaction alone."""
        if self.in_place:
            with self.database.write() as tx:
                tx.settings.set("import:noted", self.clock.now())


def printable_path(path: Path) -> str | None:
    """The path as text that the index can keep; None where it is not UTF-8."""
    try:
        return str(path).encode("utf-8").decode("utf-8")
    except UnicodeEncodeError:
        return None


def _meta(start: bytes) -> FileMeta:
    """The file meta group of a file that begins with `start`. Raises _NotDicomError, UnreadableError."""
    if not start:
        raise _NotDicomError("empty")
    part10 = start[128:132] == b"DICM"
    if not part10 and start[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise _NotDicomError("not DICOM")
    try:
        meta = read_meta(start)
    except MalformedError as error:
        if part10:
            raise UnreadableError(f"its file meta group is damaged: {error}") from error
        raise _NotDicomError("not DICOM") from error
    if meta.sop_class_uid == DIRECTORY_CLASS:
        raise _NotDicomError("a DICOMDIR: a directory of media, not an object")
    return meta


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return str(error)


__all__ = ["Import", "Report"]
