"""Sending: C-STORE sub-operations over one association, for C-GET, C-MOVE and our own sends alike.

An object goes as it is stored where the peer takes that transfer syntax, else losslessly converted, else
its sub-operation fails with the reason; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.blobs import Piece
from hounsfield.ports.peers import SendResult
from hounsfield.ports.pixels import Transcoder

#: Sub-operation failures (PS3.4 C.4.2, B.2.3; PS3.7 C).
SOP_CLASS_NOT_SUPPORTED = 0x0122
CANNOT_SEND = 0xC000
#: Larger objects are not converted: conversion needs several times their size in memory.
LARGEST_CONVERTED = 2 * 1024 * 1024 * 1024


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
        pieces: AsyncIterator[Piece],
        originator: tuple[str, int] | None,
    ) -> tuple[int, str, int]:
        """One C-STORE: status, Error Comment, bytes sent. Raises ConnectionError at the association's end."""
        ...


#: Opens the bytes of one instance's data set in pieces, from where they are now.
Open = Callable[[StoredInstance], AsyncIterator[Piece]]


async def send_all(
    channel: StoreChannel,
    instances: Iterable[StoredInstance],
    open_data_set: Open,
    transcoder: Transcoder,
    progress: Callable[[SendResult], None],
    *,
    cancelled: Callable[[], bool],
    originator: tuple[str, int] | None = None,
) -> None:
    """Send each; `progress` hears of every one. Stops between objects when `cancelled`. Raises
    ConnectionError when the association ends; what was not reported was not sent."""
    for instance in instances:
        if cancelled():
            return
        progress(await _send(channel, instance, open_data_set, transcoder, originator))


async def _send(
    channel: StoreChannel,
    instance: StoredInstance,
    open_data_set: Open,
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
        if syntax == instance.transfer_syntax_uid:
            pieces = open_data_set(instance)
        else:
            pieces = _one(await _converted(instance, open_data_set, transcoder, syntax))
        status, comment, sent = await channel.store(
            context_id, instance.sop_class_uid, sop, pieces, originator
        )
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
    instance: StoredInstance, open_data_set: Open, transcoder: Transcoder, target: str
) -> bytes:
    if instance.location.length > LARGEST_CONVERTED:
        raise HounsfieldError("too large to be converted to another transfer syntax")
    data_set = b"".join([piece async for piece in open_data_set(instance)])
    return await asyncio.to_thread(transcoder.convert, data_set, instance.transfer_syntax_uid, target)


async def _one(data: bytes) -> AsyncIterator[Piece]:
    yield data
