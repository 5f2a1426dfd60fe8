"""The metadata of a settled series: the DICOM JSON of all its objects (PS3.18 F), compressed once."""

from __future__ import annotations

import zlib

from hounsfield.domain.ids import path_name
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.wire.dicomfile.json_model import data_set_json

_GZIP = 31  # zlib's window bits for a gzip container, whose time it leaves 0: the same input, the same bytes


class SeriesMetadata:
    """Builds the gzip of one JSON array. Addresses of bulk data are relative to the series' resource:
    `instances/<SOPInstanceUID>/bulkdata/<path>`."""

    def __init__(self) -> None:
        self._gzip = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._parts: list[bytes] = []
        self._count = 0

    def add(self, instance: StoredInstance, data_set: Piece) -> None:
        """Describe one object. Raises MalformedError; the array is then as before."""
        prefix = f"instances/{path_name(instance.sop_instance_uid)}/bulkdata/"
        text = data_set_json(data_set, instance.transfer_syntax_uid, lambda path: prefix + str(path))
        self._put((b"," if self._count else b"[") + text)
        self._count += 1

    def finish(self) -> list[bytes]:
        """The compressed array, in pieces. Nothing can be added after it."""
        self._put(b"]" if self._count else b"[]")
        self._parts.append(self._gzip.flush())
        return self._parts

    def _put(self, text: bytes) -> None:
        if piece := self._gzip.compress(text):
            self._parts.append(piece)
