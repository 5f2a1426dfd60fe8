"""Kept objects as the Part 10 files that are given out: in the transfer syntax that was asked for, and never
as a program in disguise.

What is asked for as it is stored goes byte for byte, but for a preamble that would make the file a program,
and a file meta group that was never there. What has to be converted gets a file meta group of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from hounsfield.domain.errors import DamagedError, UnreadableError
from hounsfield.domain.preamble import PREAMBLE_LENGTH, disguise
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.ports.pixels import Transcoder
from hounsfield.ports.rendering import DataSetReader
from hounsfield.services.datasets import SMALL, DataSets
from hounsfield.services.scratch import Scratch, pieces
from hounsfield.services.stepping import stepped
from hounsfield.wire.dicomfile.part10 import build_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE

#: Transfer syntax of a request that takes what is stored; of one that names none.
AS_STORED, NOT_NAMED = "*", ""
#: Larger objects are not converted: conversion needs several times their size in memory.
LARGEST_CONVERTED = 2 << 30
#: Objects prepared before their turn: converted, or read where the disk has to be waited for.
AHEAD = 2
_HEAD = PREAMBLE_LENGTH + 4
#: Group length, version, and implementation class UID, version name and AE title, with their heads.
_LONGEST_REST = 12 + 14 + (8 + 64) + (8 + 16) + (8 + 16) + 2
_NO_PREAMBLE = bytes(PREAMBLE_LENGTH)
_PLAIN_HEAD = _NO_PREAMBLE + b"DICM"


@dataclass(frozen=True, slots=True)
class Form:
    """In which transfer syntax an object goes. `else_stored`: as it is stored where it cannot be converted,
    since the request named no transfer syntax."""

    transfer_syntax: str
    else_stored: bool = False


def form_of(stored: str, wanted: Sequence[str], targets: Sequence[str]) -> Form | None:
    """The form for an object stored in `stored`, which can be converted into `targets`; None for none.

    `wanted`: transfer syntaxes in order of preference, or `AS_STORED`, or `NOT_NAMED`, which is Explicit VR
    Little Endian (PS3.18 8.7.3.5.2) for all that can be decoded. What needs no conversion comes first.
    """
    if stored in wanted or AS_STORED in wanted:
        return Form(stored)
    for syntax in wanted:
        if syntax == NOT_NAMED:
            if stored == EXPLICIT_LE or EXPLICIT_LE not in targets:
                return Form(stored)
            return Form(EXPLICIT_LE, else_stored=True)
        if syntax in targets:
            return Form(syntax)
    return None


def length_of(instance: StoredInstance, form: Form) -> int | None:
    """Bytes of the file that goes out; None where that is known only once it is made."""
    if form.transfer_syntax != instance.transfer_syntax_uid or not _begins_with_preamble(instance):
        return None
    return instance.location.length


def _begins_with_preamble(instance: StoredInstance) -> bool:
    """Whether its file meta group is so long that a preamble must be in it, since one without has at most
    `_LONGEST_REST` bytes beside its UIDs. Kept files without one are rare, and given another beginning."""
    uids = (instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid)
    return instance.location.meta_length >= _LONGEST_REST + sum(8 + len(uid) for uid in uids)


@dataclass(slots=True)
class Opened:
    """One object on its way out: the transfer syntax it is in, its first pieces, and what follows them, of
    `more` bytes where that is known."""

    instance: StoredInstance
    transfer_syntax: str
    first: Sequence[Piece]
    rest: AsyncIterator[Piece] | None = None
    more: int | None = None

    @property
    def length(self) -> int | None:
        if self.rest is None:
            return sum(map(len, self.first))
        return None if self.more is None else sum(map(len, self.first)) + self.more


class Outgoing:
    """`damaged` is told of objects whose bytes are not there any more. Conversions take `turns`, so that
    those of many requests do not hold all threads; large ones wait in `scratch` for whoever takes them."""

    def __init__(
        self,
        data_sets: DataSets,
        transcoder: Transcoder,
        damaged: Callable[[StoredInstance, DamagedError], None],
        turns: AbstractAsyncContextManager[None],
        scratch: Scratch,
    ) -> None:
        self.turns = turns
        self.scratch = scratch
        self.data_sets = data_sets
        self.transcoder = transcoder
        self.damaged = damaged

    async def all(self, objects: Sequence[tuple[StoredInstance, Form]]) -> AsyncGenerator[Opened, None]:
        """Objects in order, a few of them prepared before their turn. Raises as `open`."""
        begun: dict[int, asyncio.Task[Opened]] = {}
        try:
            for place, (instance, form) in enumerate(objects):
                opened = None
                if place not in begun:
                    opened = self._at_once(instance, form)
                if opened is None:  # this one takes time: so will the next ones
                    for later in range(place, min(place + AHEAD + 1, len(objects))):
                        if later not in begun:
                            begun[later] = asyncio.ensure_future(self.open(*objects[later]))
                    opened = await begun.pop(place)
                yield opened
        finally:
            for task in begun.values():
                task.cancel()
                task.add_done_callback(_heard)

    async def open(self, instance: StoredInstance, form: Form) -> Opened:
        """One object. Raises DamagedError, NotFoundError, UnreadableError; iterating `rest` may as well."""
        opened = self._at_once(instance, form)
        if opened is not None:
            return opened
        try:
            if form.transfer_syntax != instance.transfer_syntax_uid:
                try:
                    return await self._converted(instance, form.transfer_syntax)
                except UnreadableError:
                    if not form.else_stored:
                        raise
            return await self._as_stored(instance)
        except DamagedError as error:
            self.damaged(instance, error)
            raise

    def _at_once(self, instance: StoredInstance, form: Form) -> Opened | None:
        """What is in memory and goes as it is."""
        at = instance.location
        if form.transfer_syntax != instance.transfer_syntax_uid or at.length > SMALL:
            return None
        piece = self.data_sets.reader.blobs.cached(at)
        return None if piece is None else Opened(instance, form.transfer_syntax, safe(piece, instance))

    async def _as_stored(self, instance: StoredInstance) -> Opened:
        syntax = instance.transfer_syntax_uid
        if instance.location.length <= SMALL:
            return Opened(instance, syntax, safe(await self.data_sets.part10(instance), instance))
        pieces = self.data_sets.part10_pieces(instance)
        first = await anext(pieces)
        return Opened(instance, syntax, safe(first, instance), self._rest(instance, pieces))

    async def _rest(self, instance: StoredInstance, pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
        try:
            async for piece in pieces:
                yield piece
        except DamagedError as error:
            self.damaged(instance, error)
            raise

    async def _converted(self, instance: StoredInstance, target: str) -> Opened:
        if instance.location.length > LARGEST_CONVERTED:
            raise UnreadableError(
                f"Object {instance.sop_instance_uid} is too large to be converted",
                "Ask for it with transfer-syntax=*, as it is stored",
            )
        meta = made_meta(instance, target)
        stored, executor = instance.transfer_syntax_uid, self.data_sets.executor

        def convert(data_set: bytes) -> DataSetReader:
            return self.scratch.keep(self.transcoder.convert(data_set, stored, target))

        async with self.turns:
            data_set = bytes(await self.data_sets.whole(instance))
            loop = asyncio.get_running_loop()
            kept = await loop.run_in_executor(executor, convert, data_set)
        if kept.size <= SMALL:
            return Opened(instance, target, (meta, kept.read(0, kept.size)))
        return Opened(instance, target, (meta,), stepped(executor, pieces(kept)), kept.size)


def safe(start: Piece, instance: StoredInstance) -> tuple[Piece, ...]:
    """The beginning of a kept object as it is given out: zeros for a preamble that makes the file something
    else than DICOM, a file meta group where there is none."""
    view = memoryview(start)
    head = bytes(view[:_HEAD])
    if head == _PLAIN_HEAD:
        return (start,)
    if head[PREAMBLE_LENGTH:] != b"DICM":
        if _begins_with_preamble(instance):
            raise DamagedError(f"Object {instance.sop_instance_uid} does not begin as it should")
        return made_meta(instance, instance.transfer_syntax_uid), view[instance.location.meta_length :]
    if disguise(head):
        return _NO_PREAMBLE, view[PREAMBLE_LENGTH:]
    return (start,)


def made_meta(instance: StoredInstance, transfer_syntax_uid: str) -> bytes:
    """Preamble and file meta group of our own."""
    try:
        return build_meta(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            transfer_syntax_uid,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
        )
    except UnicodeEncodeError as error:
        raise UnreadableError(f"Object {instance.sop_instance_uid} has a UID that is none") from error


def _heard(task: asyncio.Task[Opened]) -> None:
    if not task.cancelled():
        task.exception()


__all__ = ["AS_STORED", "NOT_NAMED", "Form", "Opened", "Outgoing", "form_of", "length_of"]
