"""An association after its negotiation, for either side: messages out, messages in.

Requests of the peer go to a `Responder`; answers to our own requests go to whoever awaits them. C-STORE
needs no task of its own: its data set flows from the receive buffer into the responder's sink.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hounsfield.net.link import Link
from hounsfield.wire.dimse import fields
from hounsfield.wire.dimse.assembly import (
    Assembler,
    AssemblyError,
    CommandReceived,
    DataEnd,
    DataPiece,
)
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.ul.connection import Connection
from hounsfield.wire.ul.events import Pdv
from hounsfield.wire.ul.reasons import AbortReason, AbortSource

Buffer = bytes | bytearray | memoryview

#: Largest data set of a message that is not a C-STORE: identifiers, action information.
MAX_SMALL_DATA_SET = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    #: Whether we may send requests on it (SCU), and whether we answer requests on it (SCP).
    scu: bool
    scp: bool


class Sink(Protocol):
    """Takes the data set of one message."""

    def write(self, piece: memoryview) -> None: ...

    def end(self) -> None: ...

    def cut(self) -> None:
        """The association ended within the data set."""
        ...


class Responder(Protocol):
    """Answers the peer's requests."""

    def request(self, association: Association, context: Context, command: Command) -> Sink:
        """A request began. Its sink gets the data set, if any, and then `end`."""
        ...

    def cancel(self, association: Association, message_id: int) -> None:
        """C-CANCEL-RQ."""
        ...


@dataclass(frozen=True, slots=True)
class Response:
    """An answer to a request of ours, with its data set ('' where there is none)."""

    command: Command
    context: Context
    data: bytes


class SmallSink:
    """Gathers a small data set and hands it on whole."""

    __slots__ = ("_association", "_done", "_parts", "_size")

    def __init__(self, association: Association, done: Callable[[bytes], None]) -> None:
        self._association = association
        self._done = done
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, piece: memoryview) -> None:
        self._size += len(piece)
        if self._size > MAX_SMALL_DATA_SET:
            self._association.abort("the data set of a message is too large")
            return
        self._parts.append(bytes(piece))

    def end(self) -> None:
        if self._size <= MAX_SMALL_DATA_SET:
            self._done(b"".join(self._parts))

    def cut(self) -> None:
        self._parts = []


class Association:
    """Messages over one link. All methods on the event loop's thread."""

    def __init__(self, link: Link, contexts: Mapping[int, Context], responder: Responder) -> None:
        self.link = link
        self.contexts = dict(contexts)
        self.responder = responder
        self.open = True
        self.why_ended = ""
        self._assembler = Assembler()
        self._sink: Sink | None = None
        self._context: Context | None = None
        self._awaited: dict[int, asyncio.Queue[Response | Exception]] = {}
        self._next_message_id = 1

    @property
    def core(self) -> Connection:
        return self.link.core

    # In ------------------------------------------------------------------------------------------------

    def received(self, pdv: Pdv) -> None:
        """A piece of a message (from the link's user)."""
        if not self.open:
            return
        for part in self._assembler.feed(pdv):
            if isinstance(part, DataPiece):
                if self._sink is not None:
                    self._sink.write(part.data)
            elif isinstance(part, CommandReceived):
                self._command(part)
            elif isinstance(part, DataEnd):
                sink, self._sink = self._sink, None
                if sink is not None:
                    sink.end()
            elif isinstance(part, AssemblyError):
                self.abort(part.reason)
            if not self.open:
                return

    def _command(self, part: CommandReceived) -> None:
        command = part.command
        context = self.contexts.get(part.context_id)
        if context is None:
            self.abort(f"a message came on presentation context {part.context_id}, which was not accepted")
            return
        if command.field == fields.C_CANCEL_RQ:
            self.responder.cancel(self, command.message_id_responded_to)
            return
        if command.field & fields.RESPONSE:
            sink = self._response(context, command)
        elif not context.scp:
            self.abort("a request came on a presentation context on which the peer is no SCU")
            return
        else:
            sink = self.responder.request(self, context, command)
        if not self.open:
            sink.cut()
        elif command.has_data_set:
            self._sink = sink
        else:
            sink.end()

    def _response(self, context: Context, command: Command) -> Sink:
        awaited = self._awaited.get(command.message_id_responded_to)

        def done(data: bytes) -> None:
            if awaited is not None:
                awaited.put_nowait(Response(command, context, data))

        return SmallSink(self, done)

    # Out -----------------------------------------------------------------------------------------------

    def send(self, context_id: int, command: Command, data: Buffer | None = None) -> None:
        """Send one message; `data` is its whole data set. Nothing happens when the association is over."""
        if not self.open:
            return
        self.core.send_message(context_id, command.encode(), () if data is None else (data,))
        self.link.flush()

    async def send_stream(self, context_id: int, command: Command, pieces: AsyncIterator[Buffer]) -> int:
        """Send one message whose data set comes in pieces; waits for the peer to take them. Returns its
        length."""
        self._check_open()
        self.core.send_pdata(context_id, True, command.encode(), True)
        held: Buffer | None = None
        sent = 0
        async for piece in pieces:
            if held is not None:
                self.core.send_pdata(context_id, False, held, False)
                self.link.flush()
                await self.link.drained()
                self._check_open()
            held = piece
            sent += len(piece)
        self.core.send_pdata(context_id, False, held if held is not None else b"", True)
        self.link.flush()
        await self.link.drained()
        return sent

    def new_message_id(self) -> int:
        message_id = self._next_message_id
        self._next_message_id = message_id % 0xFFFF + 1
        return message_id

    def expect(self, message_id: int) -> asyncio.Queue[Response | Exception]:
        """Where the answers to our request `message_id` will come; `forget` it at the end. An exception
        comes instead when the association ends."""
        awaited = self._awaited[message_id] = asyncio.Queue()
        if not self.open:
            awaited.put_nowait(ConnectionError(self.why_ended))
        return awaited

    def forget(self, message_id: int) -> None:
        self._awaited.pop(message_id, None)

    async def answer(self, queue: asyncio.Queue[Response | Exception], seconds: float) -> Response:
        """The next answer. Raises ConnectionError when the association ended, TimeoutError."""
        async with asyncio.timeout(seconds):
            got = await queue.get()
        if isinstance(got, Exception):
            raise got
        return got

    async def ask(self, context_id: int, request: Command, data: Buffer | None, seconds: float) -> Response:
        """One request (with a message id of `new_message_id`), one answer."""
        message_id = request.message_id
        queue = self.expect(message_id)
        try:
            self.send(context_id, request, data)
            await self.link.drained()
            return await self.answer(queue, seconds)
        finally:
            self.forget(message_id)

    def usable(self, abstract_syntax: str, *, scu: bool = True) -> list[Context]:
        """Accepted contexts for an abstract syntax, in which we are SCU (or SCP)."""
        return [
            c
            for c in self.contexts.values()
            if c.abstract_syntax == abstract_syntax and (c.scu if scu else c.scp)
        ]

    # End -----------------------------------------------------------------------------------------------

    def abort(self, why: str) -> None:
        """A-ABORT from us, with the reason kept for the ledger."""
        if self.open:
            self.core.abort(AbortSource.USER, AbortReason.NOT_SPECIFIED)
            self.ended(why)
            self.link.flush()

    def ended(self, why: str) -> None:
        """The association is over: cut what is being received, wake who waits. Idempotent."""
        if not self.open:
            return
        self.open = False
        self.why_ended = why
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.cut()
        for awaited in self._awaited.values():
            awaited.put_nowait(ConnectionError(why))

    def _check_open(self) -> None:
        if not self.open:
            raise ConnectionError(self.why_ended)
