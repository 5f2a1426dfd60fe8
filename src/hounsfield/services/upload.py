"""Uploads: the objects of one store request over HTTP (STOW-RS, PS3.18 10.5), through the one way in.

Objects are handed over one behind the other without waiting for any of them; `Upload` knows how many are not
durable yet, so that whoever reads the request can hold back, and what became of each in the end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.identify import CANNOT_UNDERSTAND, Refusal
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.stored import Origin, Outcome
from hounsfield.domain.study import ObjectKeys
from hounsfield.ports.blobs import Piece
from hounsfield.services.importing import DIRECTORY_CLASS
from hounsfield.services.indexing import Result
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.store import Receiver, Store
from hounsfield.wire.dicomfile.errors import MalformedError, TruncatedError
from hounsfield.wire.dicomfile.part10 import MAX_META, PREAMBLE, FileMeta, read_meta

#: Failure Reasons (PS3.18 I.2.2, PS3.7 Annex C).
PROCESSING_FAILURE, DUPLICATE_INSTANCE, NOT_AUTHORIZED, OTHER_STUDY = 0x0110, 0x0111, 0x0124, 0xA901
#: So much of a part may be held back until its file meta group is whole.
_MOST_HELD = MAX_META + 256


@dataclass(slots=True)
class Fate:
    """What became of one object. '' for a UID that could not be read."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    status: int = 0  # 0: kept; else a Failure Reason
    why: str = ""
    held: bool = False  # kept in quarantine, where it waits for a person


class Upload:
    """One store request. `allow` says of the keys of an object why it is refused, or None; `resume` is called
    on any thread when a reader that `waits` may go on."""

    def __init__(
        self,
        store: Store,
        origin: Origin,
        allow: Callable[[ObjectKeys], Refusal | None],
        resume: Callable[[], None],
    ) -> None:
        self.store = store
        self.origin = origin
        self.allow = allow
        self.resume = resume
        self.fates: list[Fate] = []
        self._flying: deque[_Flying] = deque()
        self._lock = threading.Lock()
        self._open = 0  # handed over, neither durable nor refused

    @property
    def open(self) -> int:
        """Objects handed over that are neither durable nor refused yet."""
        return self._open

    @property
    def crowded(self) -> bool:
        """Whether the reader should wait for `resume` before the next object: memory for objects is half
        used, and some of it is ours."""
        budget = self.store.budget
        return self._open > 0 and budget.used > budget.limit // 2

    def part10(self) -> Part:
        """Begin to receive a PS3.10 object."""
        return Part(self)

    def data_set(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, pieces: Iterable[Piece]
    ) -> None:
        """Hand over a data set without a file meta group. Waits where the disk is slower: not for an event
        loop."""
        fate = Fate(sop_class_uid, sop_instance_uid)
        for name, uid in (
            ("SOP Class UID", sop_class_uid),
            ("SOP Instance UID", sop_instance_uid),
            ("Transfer Syntax UID", transfer_syntax_uid),
        ):
            if uid and not is_tolerated_uid(uid):  # a file meta group is made of them
                self.fail(fate, CANNOT_UNDERSTAND, f"{name} is not a UID")
                return
        try:
            receiver = self.begin(fate, transfer_syntax_uid, b"", sop_class_uid, sop_instance_uid)
            try:
                for piece in pieces:
                    receiver.write(piece)
            except BaseException:
                receiver.abandon()
                raise
            self.finish(receiver, fate)
        except HounsfieldError as error:
            self.fail(fate, OUT_OF_RESOURCES, error.what)

    def fail(self, fate: Fate, status: int, why: str) -> None:
        """Note that an object is not kept."""
        fate.status, fate.why = status, why
        self.fates.append(fate)

    def settle(self, *, all_of_them: bool = False) -> None:
        """Note what became of those that are in the index, or refused, by now. `all_of_them`: also of those
        that are durable and will be in the index later: they are kept all the same."""
        flying = self._flying
        while flying and (all_of_them or flying[0].future.done()):
            one = flying.popleft()
            if one.future.done():
                _judge(one.fate, one.future)
            self.fates.append(one.fate)

    def waiting(self) -> Sequence[Future[Result]]:
        """Those that are not settled."""
        return [one.future for one in self._flying]

    def begin(
        self, fate: Fate, transfer_syntax_uid: str, meta: bytes, sop_class: str = "", sop_instance: str = ""
    ) -> Receiver:
        """Begin to receive what `fate` will tell of."""

        def check(keys: ObjectKeys) -> Refusal | None:
            fate.sop_class_uid = keys.instance.sop_class_uid
            fate.sop_instance_uid = keys.instance.sop_instance_uid
            fate.study_instance_uid = keys.study.study_instance_uid
            fate.series_instance_uid = keys.series.series_instance_uid
            return self.allow(keys)

        origin = self.origin
        return self.store.begin(
            sop_class,
            sop_instance,
            transfer_syntax_uid,
            origin,
            meta=meta,
            check=check,
            sender=f"{origin.source} {origin.device} {origin.address}",  # often one object a request
        )

    def finish(self, receiver: Receiver, fate: Fate, *, alone: bool = False) -> None:
        """All of it was received. `alone`: see `Rounds.submit`."""
        with self._lock:
            self._open += 1
        try:
            future = receiver.finish(self._told, alone=alone)
        except BaseException:
            receiver.abandon()
            self._told(0, "")
            raise
        self._flying.append(_Flying(fate, future))
        self.settle()

    def _told(self, status: int, why: str) -> None:
        """From any thread: one is durable, or refused."""
        with self._lock:
            self._open -= 1
        self.resume()


@dataclass(slots=True)
class _Flying:
    fate: Fate
    future: Future[Result]


class Part:
    """One PS3.10 object on its way in; ends with `end` or `cut`. What goes wrong with it is in its fate: the
    rest of it passes by."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._fate = Fate()
        self._held = bytearray()  # until the file meta group is whole
        self._try_at = 0
        self._receiver: Receiver | None = None
        self._failed = False

    def write(self, piece: Piece, resume: Callable[[], None]) -> bool:
        """Take the next bytes. False: wait until `resume` is called, from another thread."""
        if self._failed:
            return True
        if self._receiver is not None:
            return self._pass_on(piece, resume)
        if self._held:
            self._held += piece
            piece = self._held
        if len(piece) < self._try_at:
            return True
        return self._begin(piece, resume, whole=False)

    def end(self, *, alone: bool = False) -> None:
        """The part is complete. May read the database, where the upload's `allow` does. `alone`: see
        `Rounds.submit`."""
        if self._receiver is None and not self._failed:
            self._begin(self._held, None, whole=True)
        if self._failed or self._receiver is None:
            return
        try:
            self._upload.finish(self._receiver, self._fate, alone=alone)
        except HounsfieldError as error:
            self._fail(OUT_OF_RESOURCES, error.what)

    def cut(self) -> None:
        """It ended before it was complete: nothing of it is kept."""
        if self._receiver is not None and not self._failed:
            self._receiver.abandon()
        self._failed = True

    def _begin(self, start: Piece, resume: Callable[[], None] | None, *, whole: bool) -> bool:
        """Begin with what there is of the part, or hold it where that is too little to tell what it is."""
        try:
            meta = _read_meta(start, whole=whole)
        except MalformedError as error:
            self._fail(CANNOT_UNDERSTAND, f"this is no PS3.10 object: {error}")
            return True
        if meta is None:
            if start is not self._held:
                self._held += start
            self._try_at = 2 * len(start)
            return True
        self._fate.sop_class_uid = meta.sop_class_uid
        self._fate.sop_instance_uid = meta.sop_instance_uid
        if meta.sop_class_uid == DIRECTORY_CLASS:
            self._fail(CANNOT_UNDERSTAND, "a DICOMDIR is a directory of media, not an object")
            return True
        # the data set says what it is; a file meta group that says otherwise is kept as it is
        size = meta.meta_length
        self._receiver = self._upload.begin(self._fate, meta.transfer_syntax_uid, bytes(start[:size]))
        self._held = bytearray()
        return self._pass_on(memoryview(start)[size:], resume)

    def _pass_on(self, piece: Piece, resume: Callable[[], None] | None) -> bool:
        receiver = self._receiver
        assert receiver is not None
        try:
            return receiver.write(piece, resume)
        except HounsfieldError as error:
            receiver.abandon()
            self._fail(OUT_OF_RESOURCES, error.what)
            return True

    def _fail(self, status: int, why: str) -> None:
        self._failed = True
        self._held = bytearray()
        self._receiver = None
        self._upload.fail(self._fate, status, why)


def _read_meta(held: Piece, *, whole: bool) -> FileMeta | None:
    """The file meta group at the beginning of `held`; None where more is needed. Raises MalformedError."""
    if not whole and len(held) < len(PREAMBLE):
        return None  # what a preamble holds may look like a data set, or like nothing at all
    try:
        meta = read_meta(held)
    except TruncatedError:
        if whole or len(held) > _MOST_HELD:
            raise
        return None
    # a group that ends where `held` does may go on
    return meta if whole or len(held) >= meta.meta_length + 8 else None


def _judge(fate: Fate, future: Future[Result]) -> None:
    """What the store says became of it, as a Failure Reason."""
    if (error := future.exception()) is not None:
        fate.status = PROCESSING_FAILURE
        fate.why = error.what if isinstance(error, HounsfieldError) else "internal error"
        return
    result = future.result()
    if result.outcome is None:
        fate.status, fate.why = result.status, result.reason
    elif result.outcome is Outcome.CONFLICT:
        fate.status = DUPLICATE_INSTANCE
        fate.why = "another version of it is kept; this one is held in quarantine"
        fate.held = True
    elif result.outcome is Outcome.QUARANTINED:
        fate.status = PROCESSING_FAILURE
        fate.why = f"held in quarantine: {result.reason}"
        fate.held = True
