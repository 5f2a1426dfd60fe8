"""Uploads as metadata and bulk data (PS3.18 10.5.2): data sets in JSON or XML, their large values in parts of
their own, which the metadata name by BulkDataURI.

Bulk data wait in one nameless file until the metadata that name them are complete: neither their size nor
their order needs memory. No address is ever fetched.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.parse import urljoin

from hounsfield.domain.errors import StorageFullError, UnreadableError
from hounsfield.domain.identify import CANNOT_UNDERSTAND
from hounsfield.ports.blobs import Piece
from hounsfield.services.upload import Fate, Upload
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE
from hounsfield.wire.dicomweb.accept import JSON, OCTET_STREAM, PLAIN_JSON, parse_media_type
from hounsfield.wire.dicomweb.errors import JsonError
from hounsfield.wire.dicomweb.json_read import EncodedDataSet, Fragments, encode_json, parse_json
from hounsfield.wire.dicomweb.xml import XmlError, xml_to_json

#: Bytes of all metadata of one request.
MOST_METADATA = 64 * 1024 * 1024
#: Bulk data are written in pieces of this size.
BLOCK = 1024 * 1024
#: Transfer syntax of compressed pixel data whose part does not name it (PS3.18 Table 8.7.3-5).
SYNTAX_OF = {
    "image/jpeg": "1.2.840.10008.1.2.4.70",
    "image/jls": "1.2.840.10008.1.2.4.80",
    "image/jp2": "1.2.840.10008.1.2.4.90",
    "image/jpx": "1.2.840.10008.1.2.4.92",
    "image/jphc": "1.2.840.10008.1.2.4.201",
    "image/dicom-rle": "1.2.840.10008.1.2.5",
    "video/mpeg": "1.2.840.10008.1.2.4.100",
    "video/mp4": "1.2.840.10008.1.2.4.102",
}
#: Start of frame of a JPEG stream -> its transfer syntax, where it is not the lossless default of image/jpeg.
_JPEG_FRAMES = {0xC0: "1.2.840.10008.1.2.4.50", 0xC1: "1.2.840.10008.1.2.4.51"}
_AVAILABLE_SYNTAX, _CLASS, _INSTANCE = "00083002", "00080016", "00080018"


class MetadataLimitError(UnreadableError):
    """More metadata in one request than are taken."""


class UploadPart(Protocol):
    """What takes one part of a body; `services.upload.Part` is another."""

    def write(self, piece: Piece, resume: Callable[[], None]) -> bool: ...
    def end(self) -> None: ...
    def cut(self) -> None: ...


@dataclass(slots=True)
class _Bulk:
    """Bulk data under one address: its frames in order, as (offset, length) in the file."""

    media_type: str
    transfer_syntax_uid: str
    extents: list[tuple[int, int]]


class BulkUpload:
    """Metadata and bulk data of one request. `base`: its address, against which relative addresses count.
    `room`: bytes that the disk has left. Use as a context manager: it removes its file."""

    def __init__(self, folder: Path, base: str, executor: Executor, room: Callable[[], int]) -> None:
        self.folder = folder
        self.base = base
        self.executor = executor
        self.room = room
        self.metadata: list[tuple[str, bytearray]] = []
        self.metadata_size = 0
        self.file: IO[bytes] | None = None
        self.size = 0  # bytes of bulk data
        self._bulk: dict[str, _Bulk] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()

    def metadata_part(self, media_type: str) -> UploadPart:
        """Begin to receive data sets in JSON, or one in XML."""
        return _MetadataPart(self, media_type)

    def bulk_part(self, content_type: str, location: str) -> UploadPart:
        """Begin to receive bulk data. Several parts with one address are the frames of one value."""
        return _BulkPart(self, content_type, location)

    def add_extent(self, content_type: str, location: str, start: int) -> None:
        """Bulk data from `start` to the end of the file are complete."""
        told = parse_media_type(content_type or OCTET_STREAM)
        syntax = told.parameters.get("transfer-syntax", "")
        bulk = self._bulk.setdefault(_absolute(self.base, location), _Bulk(told.media_type, syntax, []))
        bulk.extents.append((start, self.size - start))

    def write_out(self, block: bytes) -> None:
        """On a thread: put bytes behind what the file has. Raises StorageFullError."""
        try:
            if self.room() < len(block):
                raise StorageFullError("The disk is full", "Make room, then send it again")
            if self.file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 closed by __exit__
            self.file.write(block)
        except OSError as error:
            raise StorageFullError(f"The disk takes no bulk data: {error.strerror}") from error

    def hand_over(self, upload: Upload) -> None:
        """On a thread, when the whole body is there: each data set into the store, or its fate."""
        if not self.size or self.file is None:
            self._hand_over_all(upload, memoryview(b""))
            return
        self.file.flush()
        # its pages are the system's to drop; unmapped when the last data set has let go of it
        self._hand_over_all(upload, memoryview(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)))

    def _hand_over_all(self, upload: Upload, data: memoryview) -> None:
        for media_type, document in self.metadata:
            try:
                found = _data_sets(media_type, bytes(document))
            except (JsonError, XmlError) as error:
                upload.fail(Fate(), CANNOT_UNDERSTAND, f"metadata that cannot be read: {error}")
                continue
            for data_set in found:
                self._hand_over(upload, data, data_set)

    def _hand_over(self, upload: Upload, data: memoryview, data_set: dict[str, Any]) -> None:
        fate = Fate(_uid(data_set, _CLASS), _uid(data_set, _INSTANCE))
        available = _uid(data_set, _AVAILABLE_SYNTAX)
        data_set.pop(_AVAILABLE_SYNTAX, None)  # says how it can be had, and is no attribute of the object
        resolving = _Resolving(self._bulk, self.base, data)
        try:
            encoded = encode_json(data_set, resolving)
            syntax = resolving.transfer_syntax(_named_syntax(encoded, available))
            upload.data_set(fate.sop_class_uid, fate.sop_instance_uid, syntax, encoded.pieces)
        except JsonError as error:
            upload.fail(fate, CANNOT_UNDERSTAND, f"metadata that cannot be kept: {error}")


def _absolute(base: str, address: str) -> str:
    """What is no address is still a name: that of a part which has the same."""
    try:
        return urljoin(base, address)
    except ValueError:
        return address


def _named_syntax(encoded: EncodedDataSet, available: str) -> str:
    return encoded.meta.get(0x00020010, "") or available


class _Resolving:
    """The bulk data that one data set names, as `encode_json` asks for them."""

    def __init__(self, bulk: Mapping[str, _Bulk], base: str, data: memoryview) -> None:
        self._bulk = bulk
        self._base = base
        self._data = data
        self._compressed: _Bulk | None = None

    def __call__(self, uri: str) -> Piece | Fragments | None:
        bulk = self._bulk.get(_absolute(self._base, uri))
        if bulk is None:
            return None
        frames = [self._data[start : start + length] for start, length in bulk.extents]
        if bulk.media_type == OCTET_STREAM:
            return frames[0] if len(frames) == 1 else b"".join(frames)
        self._compressed = bulk
        return Fragments(frames)

    def transfer_syntax(self, named: str) -> str:
        """Of the data set: Explicit VR Little Endian unless its pixels are compressed; then the one that the
        part names, else `named` by the metadata, else the usual one of the media type."""
        bulk = self._compressed
        if bulk is None:
            return EXPLICIT_LE
        told = bulk.transfer_syntax_uid or named
        if told in ("", "*", EXPLICIT_LE):
            start, length = bulk.extents[0]
            told = _usual_syntax(bulk.media_type, bytes(self._data[start : start + min(length, BLOCK)]))
        if not told:
            raise JsonError(f"pixel data as {bulk.media_type} need their transfer syntax named")
        return told


def _usual_syntax(media_type: str, stream: bytes) -> str:
    if media_type == "image/jpeg":
        at = 2
        while at + 4 <= len(stream) and stream[at] == 0xFF:
            marker = stream[at + 1]
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return _JPEG_FRAMES.get(marker, SYNTAX_OF[media_type])
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return SYNTAX_OF.get(media_type, "")


def _data_sets(media_type: str, document: bytes) -> list[dict[str, Any]]:
    if media_type in (JSON, PLAIN_JSON):
        return parse_json(document)
    return [xml_to_json(document)]


def _uid(data_set: Mapping[str, Any], tag: str) -> str:
    """The UID that a member holds, '' for none: what it claims, for the answer."""
    member = data_set.get(tag)
    values = member.get("Value") if isinstance(member, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    return first.strip(" \0") if isinstance(first, str) and len(first) <= 64 else ""


class _MetadataPart:
    def __init__(self, upload: BulkUpload, media_type: str) -> None:
        self._upload = upload
        self._media_type = media_type
        self._document = bytearray()

    def write(self, piece: Piece, resume: Callable[[], None]) -> bool:
        self._upload.metadata_size += len(piece)
        if self._upload.metadata_size > MOST_METADATA:
            raise MetadataLimitError(
                f"More than {MOST_METADATA >> 20} MiB of metadata in one request",
                "Send large values as bulk data, or fewer objects at once",
            )
        self._document += piece
        return True

    def end(self) -> None:
        self._upload.metadata.append((self._media_type, self._document))

    def cut(self) -> None:
        pass  # the request fails as a whole


class _BulkPart:
    """Bytes gather in memory up to BLOCK, then wait for the disk."""

    def __init__(self, upload: BulkUpload, content_type: str, location: str) -> None:
        self._upload = upload
        self._content_type = content_type
        self._location = location
        self._start = upload.size
        self._block = bytearray()
        self._error: BaseException | None = None

    def write(self, piece: Piece, resume: Callable[[], None]) -> bool:
        self._raise()
        self._block += piece
        self._upload.size += len(piece)
        if len(self._block) < BLOCK:
            return True
        block, self._block = bytes(self._block), bytearray()

        def write() -> None:
            try:
                self._upload.write_out(block)
            except BaseException as error:
                self._error = error
            resume()

        self._upload.executor.submit(write)
        return False

    def end(self) -> None:
        """Writes what is left: not for an event loop."""
        self._raise()
        if self._block:
            self._upload.write_out(bytes(self._block))
        self._upload.add_extent(self._content_type, self._location, self._start)

    def cut(self) -> None:
        pass  # the request fails as a whole

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
