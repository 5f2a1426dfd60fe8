"""The metadata of kept objects as DICOM JSON (PS3.18 10.4.1.1.2, F), for as many as a study has, in pieces.

A settled series has its text ready, compressed, with addresses of bulk data that are relative to the series
(`services.series_metadata`): they are made absolute on the way out. Of others each object is described anew.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hounsfield.domain.errors import BlobMovedError, DamagedError, NotFoundError
from hounsfield.domain.ids import path_name
from hounsfield.domain.query import Level, Query, Single
from hounsfield.domain.study import Location, StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.ports.database import Database
from hounsfield.ports.index import SeriesState
from hounsfield.services.reading import Reader
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.json_model import data_set_json

#: What is read of an object at first, and where that ends before its pixels: headers end well within these.
HEADS = (32 << 10, 1 << 20, 64 << 20)
#: Text that is given out at once, about.
PIECE = 256 << 10
_GZIP = 31  # zlib's window bits for a gzip container
_FAST = 1
_INFLATED_AT_ONCE = 1 << 20
#: As `SeriesMetadata` writes it. Within a value a quote has a backslash before it: there it never matches.
_RELATIVE = b'"BulkDataURI":"instances/'
#: How the text of an object ends whose last element is its pixel data.
_PIXELS = tuple(f'"7FE000{element}":{{"vr":"'.encode() for element in ("08", "09", "10"))

#: Series Instance UID -> the absolute address of the series' resource, without a slash at the end.
Address = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """One series, and where its ready metadata is."""

    state: SeriesState
    ready: Location | None


class Metadata:
    """Its iterators wait for disk and database: step them beside the event loop."""

    def __init__(
        self,
        database: Database,
        reader: Reader,
        damaged: Callable[[StoredInstance, DamagedError], None],
    ) -> None:
        self.database = database
        self.reader = reader
        self.damaged = damaged

    def plan(self, study_uid: str, series_uid: str = "") -> list[SeriesPlan]:
        """The series of a study in order, or the one named, if it is of this study."""
        with self.database.read() as tx:
            uids = [series_uid]
            if not series_uid:
                query = Query(
                    Level.SERIES, {"StudyInstanceUID": Single(study_uid)}, frozenset({"SeriesInstanceUID"})
                )
                uids = [row["SeriesInstanceUID"] for row in tx.index.search(query)]
            states = filter(None, map(tx.index.series_state, uids))
            return [
                SeriesPlan(state, tx.index.metadata(state.series_instance_uid))
                for state in states
                if state.study_instance_uid == study_uid
            ]

    def array(self, plans: Iterable[SeriesPlan], address: Address) -> Iterator[bytes]:
        """One JSON array of all objects of the series."""
        begin = b"["
        for plan in plans:
            for text in _inner(self._series(plan, address)):
                yield begin + text
                begin = b""
            begin = begin or b","
        yield b"]" if begin != b"[" else b"[]"

    def objects(self, plans: Iterable[SeriesPlan], address: Address) -> Iterator[bytes]:
        """The JSON of each object."""
        for plan in plans:
            uid = plan.state.series_instance_uid
            with self.database.read() as tx:
                instances = list(tx.index.instances(series=[uid]))
            for instance in instances:
                yield self._described(instance, address(uid))

    def instance(self, instance: StoredInstance, address: Address) -> bytes:
        """The JSON of one object. Raises DamagedError, NotFoundError, MalformedError."""
        return self._text(instance, address(instance.series_instance_uid))

    def _series(self, plan: SeriesPlan, address: Address) -> Iterator[bytes]:
        """The array of one series, in pieces that end behind an object or at its end."""
        uid = plan.state.series_instance_uid
        ready = plan.ready
        while ready is not None:
            try:
                compressed = self.reader.blobs.read(ready)
            except BlobMovedError:  # packed again since
                with self.database.read() as tx:
                    now = tx.index.metadata(uid)
                ready = now if now != ready else None
                continue
            absolute = b'"BulkDataURI":' + json.dumps(address(uid) + "/instances/").encode()[:-1]
            return _absolute(_inflated(compressed), absolute)
        return _joined(self.objects([plan], address))

    def _described(self, instance: StoredInstance, series: str) -> bytes:
        """The JSON of an object among others: what the index has of one that cannot be read."""
        try:
            return self._text(instance, series)
        except DamagedError as error:
            self.damaged(instance, error)
        except (MalformedError, NotFoundError):
            pass  # the store took it in as it is; retrieving it tells whoever wants it what is wrong
        return _uids(instance)

    def _text(self, instance: StoredInstance, series: str) -> bytes:
        prefix = f"{series}/instances/{path_name(instance.sop_instance_uid)}/bulkdata/"
        length = instance.location.length - instance.location.meta_length
        for most in HEADS:
            size = min(most, length)
            try:
                text = data_set_json(
                    self._head(instance, size), instance.transfer_syntax_uid, lambda path: prefix + str(path)
                )
            except MalformedError:
                if size == length or most == HEADS[-1]:
                    raise
                continue
            if size == length or most == HEADS[-1] or _ends_in_pixels(text):
                return text
        raise AssertionError("the last of HEADS returns or raises")

    def _head(self, instance: StoredInstance, size: int) -> Piece:
        return self.reader.at(instance, lambda at: self.reader.blobs.read(at, at.meta_length, size))


def _ends_in_pixels(text: bytes) -> bool:
    """Whether the last element is pixel data of the data set itself: then a data set that was cut has nothing
    else. (A cut exactly between two elements looks like the end.)"""
    at = max(text.rfind(name) for name in _PIXELS)
    return at >= 0 and b"]" not in text[at:] and text.endswith(b'"}}')


def _uids(instance: StoredInstance) -> bytes:
    members = {
        "00080016": instance.sop_class_uid,
        "00080018": instance.sop_instance_uid,
        "0020000D": instance.study_instance_uid,
        "0020000E": instance.series_instance_uid,
    }
    return json.dumps({tag: {"vr": "UI", "Value": [uid]} for tag, uid in members.items()}).encode()


def _joined(texts: Iterable[bytes]) -> Iterator[bytes]:
    """JSON values as an array, some of them in each piece."""
    gathered, size = [b"["], 0
    for text in texts:
        gathered += (text, b",")
        size += len(text)
        if size >= PIECE:
            last = gathered.pop()  # a comma belongs before what follows it
            yield b"".join(gathered)
            gathered, size = [last], 0
    if gathered[-1] == b"," and len(gathered) > 1:
        gathered.pop()
    yield b"".join(gathered) + b"]" if gathered != [b","] else b"]"


def _inner(array: Iterator[bytes]) -> Iterator[bytes]:
    """The text of an array without its brackets; nothing of an empty one."""
    held = b""
    first = True
    for text in array:
        if held:
            yield held
        held = text[1:] if first else text
        first = False
    if held := held[:-1]:
        yield held


def _inflated(compressed: Piece) -> Iterator[bytes]:
    """Raises DamagedError."""
    stream = zlib.decompressobj(_GZIP)
    rest: Piece = compressed
    try:
        while not stream.eof:
            text = stream.decompress(rest, _INFLATED_AT_ONCE)
            if not text and not stream.unconsumed_tail:
                break
            yield text
            rest = stream.unconsumed_tail
    except zlib.error as error:
        raise DamagedError("The ready metadata of a series are damaged", "Verify its study") from error
    if not stream.eof:
        raise DamagedError("The ready metadata of a series are cut short", "Verify its study")


def _absolute(texts: Iterator[bytes], absolute: bytes) -> Iterator[bytes]:
    """Pieces end behind a brace: what is looked for has none in it, so it is never cut."""
    rest = b""
    for text in texts:
        whole = rest + text
        end = whole.rfind(b"}") + 1
        rest = whole[end:]
        if end:
            yield whole[:end].replace(_RELATIVE, absolute)
    yield rest


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The gzip of all pieces, made fast."""
    stream = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        if done := stream.compress(piece):
            yield done
    yield stream.flush()
