"""PS3.10 objects of an upload come in pieces of any size, and are handed on as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

import pytest

from hounsfield.domain.stored import Origin
from hounsfield.hospital.synthetic import ct_series
from hounsfield.ports.blobs import Piece
from hounsfield.services.indexing import Result
from hounsfield.services.store import Store, _kept
from hounsfield.services.upload import Upload
from hounsfield.wire.dicomfile.part10 import read_meta

PART10 = next(iter(ct_series(1, 16, 16, key="parts")))
META = read_meta(PART10)
#: What a preamble may hold (PS3.10 7.1): here the beginning of a data set in implicit VR.
DUAL = b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + bytes(110) + PART10[128:]


class Received:
    """A receiver that keeps what it is given."""

    def __init__(self, syntax: str, meta: bytes) -> None:
        self.syntax, self.meta, self.data = syntax, meta, b""

    def write(self, piece: Piece, resume: Callable[[], None] | None = None) -> bool:
        self.data += piece
        return True

    def finish(self, told: Callable[[int, str], None], *, alone: bool = False) -> Future[Result]:
        told(0, "")
        future: Future[Result] = Future()
        future.set_result(Result(None, 0))
        return future


class Keeping:
    """A store of such receivers."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def begin(self, sop_class: str, sop: str, syntax: str, origin: Origin, **more: Any) -> Received:
        self.received.append(Received(syntax, more["meta"]))
        return self.received[-1]


def received(pieces: Sequence[Piece]) -> list[Received]:
    store = Keeping()
    upload = Upload(cast(Store, store), Origin("stow", "somebody", "a", ""), lambda keys: None, lambda: None)
    part = upload.part10()
    for piece in pieces:
        assert part.write(piece, lambda: None)
    part.end()
    assert [fate.why for fate in upload.fates] == [""]
    return store.received


@pytest.mark.parametrize("part10", [PART10, DUAL], ids=["empty-preamble", "preamble-like-a-data-set"])
def test_first_piece_ends_anywhere(part10: bytes) -> None:
    for at in range(META.meta_length + 300):
        (one,) = received([part10[:at], part10[at:]])
        assert one.meta == part10[: META.meta_length], at
        assert one.data == part10[META.meta_length :], at
        assert one.syntax == META.transfer_syntax_uid, at


@pytest.mark.parametrize("size", [1, 7, 131, 132, 133, 4096])
def test_pieces_of_one_size(size: int) -> None:
    (one,) = received([memoryview(PART10)[at : at + size] for at in range(0, len(PART10), size)])
    assert one.meta + one.data == PART10


def test_what_may_change_is_copied() -> None:
    buffer = bytearray(8192)
    kept = _kept(memoryview(buffer))
    buffer[0] = 1
    assert bytes(kept) == bytes(8192)
    assert isinstance(_kept(memoryview(bytes(100_000))[:5000]), bytes)  # else all of it would be kept
    assert isinstance(_kept(memoryview(bytes(8192))[100:]), memoryview)
