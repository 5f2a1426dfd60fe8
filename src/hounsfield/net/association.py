"""An association after its negotiation, for either side: messages out, messages in.

Requests of the peer go to a `Responder`; answers to our own requests go to whoever awaits them. C-STORE
needs no task of its own: its data set flows from the receive buffer into the responder's sink.
"""

from __future__ import annotations

import asyncio
from collections import deque
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
#: All of them that a process gathers at one time.
MAX_GATHERED = 64 * 1024 * 1024
#: Answers to one request of ours that wait to be looked at; past it the peer has to wait.
MAX_UNREAD_BYTES = 4 * 1024 * 1024
#: What an answer counts beyond its data set.
_ANSWER_COST = 2048


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


class Gathered:
    """Bytes of small data sets that are being gathered, over all associations of one process."""

    def __init__(self) -> None:
        self.bytes = 0


_gathered = Gathered()


class SmallSink:
    """Gathers a data set of at most `most` bytes and hands it on whole. `cut_off`: the association ended
    before it was complete."""

    __slots__ = ("_association", "_cut_off", "_data", "_done", "_most")

    def __init__(
        self,
        association: Association,
        done: Callable[[bytes], None],
        *,
        most: int = MAX_SMALL_DATA_SET,
        cut_off: Callable[[], None] | None = None,
    ) -> None:
        self._association = association
        self._done = done
        self._most = most
        self._cut_off = cut_off
        self._data = bytearray()

    def write(self, piece: memoryview) -> None:
        self._data += piece
        _gathered.bytes += len(piece)
        if len(self._data) > self._most:
            self._association.abort(f"the data set of a message has more than {self._most} bytes")
        elif _gathered.bytes > MAX_GATHERED:
            self._association.abort("too many large messages at one time")

    def end(self) -> None:
        self._done(self._taken())

    def cut(self) -> None:
        self._taken()
        if self._cut_off is not None:
            self._cut_off()

    def _taken(self) -> bytes:
        data, self._data = self._data, bytearray()
        _gathered.bytes -= len(data)
        return bytes(data)


class Passing:
    """Lets a data set pass, then calls `done`; `cut_off` when the association ends before."""

    __slots__ = ("_cut_off", "_done")

    def __init__(self, done: Callable[[], None], cut_off: Callable[[], None] | None = None) -> None:
        self._done = done
        self._cut_off = cut_off

    def write(self, piece: memoryview) -> None:
        pass

    def end(self) -> None:
        self._done()

    def cut(self) -> None:
        if self._cut_off is not None:
            self._cut_off()


class Answers:
    """The answers to one request of ours, in order. A peer that sends them faster than they are looked at
    has to wait."""

    __slots__ = ("_answers", "_holds", "_link", "_unread", "_waiter")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._answers: deque[Response | Exception] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._unread = 0
        self._holds = False

    def put(self, answer: Response | Exception) -> None:
        self._answers.append(answer)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if isinstance(answer, Response):
            self._unread += len(answer.data) + _ANSWER_COST
            if self._unread > MAX_UNREAD_BYTES and not self._holds:
                self._holds = True
                self._link.hold()

    async def next(self, seconds: float) -> Response:
        """Raises ConnectionError when the association ended, TimeoutError."""
        if not self._answers:
            await self._wait(seconds)
        got = self._answers.popleft()
        if isinstance(got, Exception):
            raise got
        self._unread -= len(got.data) + _ANSWER_COST
        if self._unread <= MAX_UNREAD_BYTES:
            self.let_go()
        return got

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def let_go(self) -> None:
        if self._holds:
            self._holds = False
            self._link.let_go()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("no answer came in time"))


class Association:
    """Messages over one link. All methods on the event loop's thread."""

    def __init__(self, link: Link, contexts: Mapping[int, Context], responder: Responder) -> None:
        self.link = link
        self.contexts = dict(contexts)
        self.responder = responder
        self.open = True
        self.why_ended = ""
        #: Set at the end, for who waits for a request of the peer that may never come.
        self.over = asyncio.Event()
        #: Called with the reason when we abort, by whoever owns the association.
        self.on_abort: Callable[[str], None] = lambda why: None
        self._assembler = Assembler()
        self._sink: Sink | None = None
        self._context: Context | None = None
        self._awaited: dict[int, Answers] = {}
        self._next_message_id = 1

    @property
    def core(self) -> Connection:
        return self.link.core

    @property
    def receiving(self) -> bool:
        """Whether the peer is in the middle of a message: it owes us the rest."""
        return self._sink is not None or not self._assembler.between_messages

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
        # N-EVENT-REPORT is the one request that the SCP sends (PS3.7 10.1.1): it wants us to be SCU.
        elif not (context.scu if command.field == fields.N_EVENT_REPORT_RQ else context.scp):
            self.abort("a request came on a presentation context on which the peer has not the role for it")
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
        if awaited is None:  # an answer to nothing, or one that came too late
            return Passing(lambda: None)
        return SmallSink(self, lambda data: awaited.put(Response(command, context, data)))

    # Out -----------------------------------------------------------------------------------------------

    def send(self, context_id: int, command: Command, data: Buffer | None = None) -> None:
        """Send one message; `data` is its whole data set. Nothing happens when the association is over."""
        if not self.open or not self.core.can_send:  # the event that tells of its end is on its way
            return
        self.core.send_message(context_id, command.encode(), () if data is None else (data,))
        self.link.flush()

    async def send_stream(self, context_id: int, command: Command, pieces: AsyncIterator[Buffer]) -> int:
        """Send one message whose data set comes in pieces; waits for the peer to take them. Returns its
        length.

        What `pieces` raises before its first piece is raised, and nothing was sent. Raised later, it ends the
        association, for a message cannot be taken back: ConnectionError."""
        held: Buffer = await anext(pieces, b"")
        self.check_open()
        self.core.send_pdata(context_id, True, command.encode(), True)
        sent = len(held)
        try:
            async for piece in pieces:
                self.check_open()
                self.core.send_pdata(context_id, False, held, False)
                self.link.flush()
                await self.link.drained()
                held = piece
                sent += len(piece)
        except ConnectionError:
            raise
        except Exception as error:
            self.abort(f"an object could not be read to its end: {error}")
            raise ConnectionError(self.why_ended) from error
        self.check_open()
        self.core.send_pdata(context_id, False, held, True)
        self.link.flush()
        await self.link.drained()
        return sent

    def new_message_id(self) -> int:
        message_id = self._next_message_id
        self._next_message_id = message_id % 0xFFFF + 1
        return message_id

    def expect(self, message_id: int) -> Answers:
        """Where the answers to our request `message_id` will come; `forget` it at the end. An exception
        comes instead when the association ends."""
        awaited = self._awaited[message_id] = Answers(self.link)
        if not self.open:
            awaited.put(ConnectionError(self.why_ended))
        return awaited

    def forget(self, message_id: int) -> None:
        awaited = self._awaited.pop(message_id, None)
        if awaited is not None:
            awaited.let_go()

    async def ask(self, context_id: int, request: Command, data: Buffer | None, seconds: float) -> Response:
        """One request (with a message id of `new_message_id`), one answer."""
        message_id = request.message_id
        answers = self.expect(message_id)
        try:
            self.send(context_id, request, data)
            return await answers.next(seconds)
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
            self.on_abort(why)
            self.link.flush()

    def ended(self, why: str) -> None:
        """The association is over: cut what is being received, wake who waits. Idempotent."""
        if not self.open:
            return
        self.open = False
        self.why_ended = why
        self.over.set()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.cut()
        for awaited in self._awaited.values():
            awaited.put(ConnectionError(why))

    def check_open(self) -> None:
        """Raises ConnectionError when the association is over."""
        if not self.open:
            raise ConnectionError(self.why_ended)
        if not self.core.can_send:
            raise ConnectionError("the association is being ended")
