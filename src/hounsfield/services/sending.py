"""Sending: C-STORE sub-operations over one association, for C-GET, C-MOVE and our own sends alike.

An object goes as it is stored where the peer takes that transfer syntax, else losslessly converted, else
its sub-operation fails with the reason; the others go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece, View
from hounsfield.ports.peers import SendResult
from hounsfield.ports.pixels import Transcoder
from hounsfield.services.datasets import SMALL, DataSets

#: Sub-operation failures (PS3.4 C.4.2, B.2.3; PS3.7 C).
SOP_CLASS_NOT_SUPPORTED = 0x0122
CANNOT_SEND = 0xC000
#: Larger objects are not converted: conversion needs several times their size in memory.
LARGEST_CONVERTED = 2 * 1024 * 1024 * 1024
#: Objects read before their turn on one association.
READ_AHEAD = 2


class StoreChannel(Protocol):
    """An association on which we are C-STORE SCU."""

    def syntaxes(self, sop_class_uid: str) -> Sequence[tuple[int, str]]:
        """Accepted (presentation context id, transfer syntax) of a SOP class."""
        ...

    async def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        data: Piece | AsyncIterator[Piece],
        originator: tuple[str, int] | None,
    ) -> tuple[int, str, int]:
        """One C-STORE, its data set whole or in pieces: status, Error Comment, bytes sent. Raises
        ConnectionError at the association's end."""
        ...


class _Taken:
    """One object whose turn will come: in view, or being read, or neither."""

    __slots__ = ("_data_sets", "instance", "read", "view")

    def __init__(self, instance: StoredInstance, data_sets: DataSets) -> None:
        self.instance = instance
        self._data_sets = data_sets
        self.read: asyncio.Task[Piece] | None = None
        self.view: View | None = None
        if instance.location.length <= SMALL:
            self.view = data_sets.view(instance)
            if self.view is None:
                self.read = asyncio.ensure_future(data_sets.whole(instance))

    async def data(self) -> Piece | AsyncIterator[Piece]:
        """To be sent as it is."""
        if self.view is not None:
            return self.view.piece
        return await self.read if self.read is not None else self._data_sets.pieces(self.instance)

    async def copy(self) -> bytes:
        """To be converted."""
        read = self.read
        return bytes(await (read if read is not None else self._data_sets.whole(self.instance)))

    def close(self) -> None:
        if self.view is not None:
            self.view.close()
        if self.read is not None:
            self.read.cancel()


class _Ahead:
    """Takes objects from `work` and reads the small ones before their turn comes."""

    def __init__(self, work: deque[StoredInstance], data_sets: DataSets) -> None:
        self._work = work
        self._data_sets = data_sets
        self._taken: deque[_Taken] = deque()
        self._closed = False

    def next(self) -> _Taken | None:
        if not self._taken:
            self.fill()
        return self._taken.popleft() if self._taken else None

    def fill(self) -> None:
        """To be called while the peer is busy with what it got."""
        while self._work and len(self._taken) < READ_AHEAD and not self._closed:
            self._taken.append(_Taken(self._work.popleft(), self._data_sets))

    def give_back(self) -> None:
        """What was taken and not used, for another association to send."""
        self._closed = True
        for taken in reversed(self._taken):
            taken.close()
            self._work.appendleft(taken.instance)
        self._taken.clear()


async def send_all(
    channel: StoreChannel,
    work: deque[StoredInstance],
    data_sets: DataSets,
    transcoder: Transcoder,
    progress: Callable[[SendResult], None],
    *,
    cancelled: Callable[[], bool],
    originator: tuple[str, int] | None = None,
) -> None:
    """Send what is in `work`, which several associations may share; `progress` hears of every one. Stops
    between objects when `cancelled`. Raises ConnectionError when the association ends; what was not reported
    was not sent."""
    ahead = _Ahead(work, data_sets)
    loop = asyncio.get_running_loop()
    try:
        while not cancelled() and (taken := ahead.next()) is not None:
            loop.call_soon(ahead.fill)
            try:
                result = await _send(channel, taken, transcoder, originator)
            finally:
                taken.close()
            progress(result)
    finally:
        ahead.give_back()


async def _send(
    channel: StoreChannel, taken: _Taken, transcoder: Transcoder, originator: tuple[str, int] | None
) -> SendResult:
    instance = taken.instance
    sop = instance.sop_instance_uid
    accepted = channel.syntaxes(instance.sop_class_uid)
    if not accepted:
        return SendResult(
            sop, SOP_CLASS_NOT_SUPPORTED, "the peer accepted no presentation context for its class"
        )
    chosen = choose(instance.transfer_syntax_uid, accepted, transcoder.targets(instance.transfer_syntax_uid))
    if chosen is None:
        took = ", ".join(sorted({syntax for _, syntax in accepted}))
        why = f"stored as {instance.transfer_syntax_uid}, the peer takes only {took}"
        return SendResult(sop, CANNOT_SEND, why)
    context_id, syntax = chosen
    try:
        data: Piece | AsyncIterator[Piece]
        if syntax != instance.transfer_syntax_uid:
            data = await _converted(taken, transcoder, syntax)
        else:
            data = await taken.data()
        status, comment, sent = await channel.store(context_id, instance.sop_class_uid, sop, data, originator)
    except HounsfieldError as error:
        return SendResult(sop, CANNOT_SEND, error.what)
    return SendResult(sop, status, comment, sent)


def choose(
    stored: str, accepted: Sequence[tuple[int, str]], targets: Sequence[str]
) -> tuple[int, str] | None:
    """The context on which an object goes: as stored, else into the best target that was accepted."""
    by_syntax: Mapping[str, int] = {syntax: context_id for context_id, syntax in reversed(accepted)}
    for syntax in (stored, *targets):
        if syntax in by_syntax:
            return by_syntax[syntax], syntax
    return None


async def _converted(taken: _Taken, transcoder: Transcoder, target: str) -> bytes:
    instance = taken.instance
    if instance.location.length > LARGEST_CONVERTED:
        raise HounsfieldError("too large to be converted to another transfer syntax")
    data_set = await taken.copy()
    return await asyncio.to_thread(transcoder.convert, data_set, instance.transfer_syntax_uid, target)
