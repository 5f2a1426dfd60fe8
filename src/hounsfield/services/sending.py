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
from hounsfield.ports.blobs import Piece
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


class _Ahead:
    """Takes objects from `work` and reads the small ones before their turn comes."""

    def __init__(self, work: deque[StoredInstance], data_sets: DataSets) -> None:
        self._work = work
        self._data_sets = data_sets
        self._taken: deque[tuple[StoredInstance, asyncio.Task[Piece] | None]] = deque()

    def next(self) -> tuple[StoredInstance, asyncio.Task[Piece] | None] | None:
        while self._work and len(self._taken) <= READ_AHEAD:
            instance = self._work.popleft()
            small = instance.location.length <= SMALL
            task = asyncio.ensure_future(self._data_sets.whole(instance)) if small else None
            self._taken.append((instance, task))
        return self._taken.popleft() if self._taken else None

    def give_back(self) -> None:
        """What was taken and not used, for another association to send."""
        for instance, task in reversed(self._taken):
            if task is not None:
                task.cancel()
            self._work.appendleft(instance)
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
    try:
        while not cancelled() and (taken := ahead.next()) is not None:
            progress(await _send(channel, *taken, data_sets, transcoder, originator))
    finally:
        ahead.give_back()


async def _send(
    channel: StoreChannel,
    instance: StoredInstance,
    read: asyncio.Task[Piece] | None,
    data_sets: DataSets,
    transcoder: Transcoder,
    originator: tuple[str, int] | None,
) -> SendResult:
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
            data = await _converted(instance, read, data_sets, transcoder, syntax)
        else:
            data = await read if read is not None else data_sets.pieces(instance)
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


async def _converted(
    instance: StoredInstance,
    read: asyncio.Task[Piece] | None,
    data_sets: DataSets,
    transcoder: Transcoder,
    target: str,
) -> bytes:
    if instance.location.length > LARGEST_CONVERTED:
        raise HounsfieldError("too large to be converted to another transfer syntax")
    data_set = bytes(await (read if read is not None else data_sets.whole(instance)))
    return await asyncio.to_thread(transcoder.convert, data_set, instance.transfer_syntax_uid, target)
