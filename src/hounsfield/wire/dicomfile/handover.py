"""Data sets that only a tolerant reader understands: read by pydicom, within limits of ours.

pydicom gets a file that reads from the buffer in place, refuses reads larger than any header needs, and
counts them; so neither a claimed length nor endless elements cost more than a bounded time and memory.
Only its structure is used: which element is where. Values are decoded as everywhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final, cast

from hounsfield.wire.dicomfile.errors import LimitError, MalformedError, TruncatedError
from hounsfield.wire.dicomfile.layouts import Buffer, Layout
from hounsfield.wire.dicomfile.request_attributes import (
    CHARACTER_SET,
    REQUEST_ATTRIBUTES,
    REQUEST_TAGS,
    Found,
    collect_request,
)
from hounsfield.wire.dicomfile.skipping import OddError

MAX_READ: Final = 1 << 22
MAX_READS: Final = 100_000
MAX_BYTES: Final = 1 << 26


class _LimitedFile:
    """What pydicom asks of a file, over a buffer. The first breach of a limit is kept in `breach`, because
    pydicom turns exceptions of its file into others."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._size = len(data)
        self._position = 0
        self._reads = 0
        self._bytes = 0
        self.breach: MalformedError | None = None
        self.stopped = False

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._position, self._size)[whence]
        if position > self._size:
            self._break(TruncatedError("the data ends within a value", self._size))
        self._position = position
        return position

    def read(self, size: int = -1) -> bytes:
        position = self._position
        available = self._size - position
        if size < 0:
            size = available
        self._reads += 1
        if size > available:
            # pydicom asks for 8 bytes to see whether there is a next element: fewer are the end for it
            if size > 8 or any(self._data[position : self._size]):
                self._break(TruncatedError("the data ends within an element", position))
            size = available
        self._bytes += size
        if size > MAX_READ or self._reads > MAX_READS or self._bytes > MAX_BYTES:
            self._break(LimitError("more than a header can hold", position))
        self._position = position + size
        return bytes(self._data[position : position + size])

    def _break(self, error: MalformedError) -> None:
        if self.breach is None:
            self.breach = error
        raise error


def read_elements(
    data: Buffer, layout: Layout, explicit: bool, wanted: Mapping[int, str]
) -> tuple[Found, Found, int]:
    """Wanted elements as (tag, VR, value field), (0008,0005) first; the same of the first item of
    (0040,0275); the offset of the pixel data, which end the header, -1 without. Raises MalformedError or
    a subclass of it."""
    from pydicom.filereader import read_dataset

    file = _LimitedFile(data)

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if tag >> 16 == 0x7FE0 and tag & 0xFFFF >= 8:
            file.stopped = True
            return True
        return False

    try:
        data_set: Any = read_dataset(
            cast(BinaryIO, file),
            not explicit,
            layout.order == "<",
            stop_when=stop,
            specific_tags=list(wanted),
        )
        if file.breach is not None:
            raise file.breach
        found = _elements(data_set, wanted)
        request = _first_item(data_set, layout)
    except MalformedError as error:
        raise file.breach or error from error
    except RecursionError as error:
        raise LimitError("sequences nested too deep") from error
    except Exception as error:
        # pydicom promises no particular exceptions for bytes that are not DICOM
        raise file.breach or MalformedError(f"not a readable data set ({type(error).__name__})") from error
    return found, request, file.tell() if file.stopped else -1


def _elements(data_set: Any, wanted: Mapping[int, str]) -> Found:
    found: Found = []
    for tag in sorted(wanted):
        if tag == REQUEST_ATTRIBUTES:
            continue
        if tag not in data_set:
            continue
        element: Any = data_set.get_item(tag)
        value = element.value
        if isinstance(value, bytes):
            found.append((tag, element.VR or wanted[tag], value[:MAX_READ]))
    return found


def _first_item(data_set: Any, layout: Layout) -> Found:
    if REQUEST_ATTRIBUTES not in data_set:
        return []
    element = data_set.get_item(REQUEST_ATTRIBUTES)
    value = element.value
    if not isinstance(value, bytes):
        return _elements(value[0], {CHARACTER_SET: "CS", **REQUEST_TAGS}) if value else []
    # of defined length: pydicom left it as it is
    request: Found = []
    try:
        collect_request(value, 0, len(value), layout, bool(element.is_implicit_VR), request)
    except OddError:
        return []  # not a sequence; the object is no worse for it
    return request


def read_json(
    data: Buffer,
    layout: Layout,
    explicit: bool,
    bulk_uri: Callable[[str], str] | None,
    max_inline: int,
) -> str:
    """The DICOM JSON of a data set that only pydicom understands. Raises MalformedError or a subclass."""
    from pydicom.filereader import read_dataset

    file = _LimitedFile(data)

    def stop(tag: int, vr: str | None, length: int) -> bool:
        return tag >> 16 == 0x7FE0 and tag & 0xFFFF >= 8

    def uri(element: Any) -> str:
        return bulk_uri(f"{int(element.tag):08X}") if bulk_uri is not None else ""

    try:
        data_set: Any = read_dataset(cast(BinaryIO, file), not explicit, layout.order == "<", stop_when=stop)
        if file.breach is not None:
            raise file.breach
        model: dict[str, Any] = data_set.to_json_dict(
            bulk_data_threshold=max_inline, bulk_data_element_handler=uri, suppress_invalid_tags=True
        )
        for tag in [tag for tag in model if tag.endswith("0000")]:
            del model[tag]
        if "Value" in model.get("00080005", {}):
            model["00080005"]["Value"] = ["ISO_IR 192"]
        return json.dumps(model, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except MalformedError as error:
        raise file.breach or error from error
    except RecursionError as error:
        raise LimitError("sequences nested too deep") from error
    except Exception as error:
        raise file.breach or MalformedError(f"not a readable data set ({type(error).__name__})") from error
