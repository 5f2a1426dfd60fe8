"""The data set of a C-STORE-RQ on its way into a receiver, whoever answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from typing import NamedTuple, Protocol

from hounsfield.net.association import Association, Buffer

#: So many bytes of an object count as a sign of life.
_PROGRESS = 1 << 18


class StoreResult(NamedTuple):
    """What became of an object: a C-STORE status, and why where it is a failure."""

    status: int
    reason: str


class ObjectReceiver(Protocol):
    """Takes one object (`services.store.Receiver`)."""

    def write(self, piece: Buffer, resume: Callable[[], None] | None = None) -> bool: ...

    def finish_durable(self, told: Callable[[int, str], None], *, alone: bool = False) -> None:
        """`told` hears, on any thread, of a C-STORE status and why it is a failure; perhaps before this
        returns, when the event loop is `alone` with this object."""
        ...

    def abandon(self) -> None: ...


Answered = Callable[["StoreResult | BaseException"], None]


class ObjectSink:
    """Feeds a receiver; holds the link back while the receiver is behind.

    `answered` is called once on the event loop with the result, or with what went wrong; `cut_off` instead
    when the association ends within the data set; `progress` every so many bytes. `alone` says whether the
    event loop has nothing else to do meanwhile.
    """

    __slots__ = (
        "_alone",
        "_answered",
        "_association",
        "_cut_off",
        "_error",
        "_holds",
        "_loop",
        "_progress",
        "_receiver",
        "_thread",
        "_unsaid",
    )

    def __init__(
        self,
        association: Association,
        receiver: ObjectReceiver,
        answered: Answered,
        cut_off: Callable[[], None] = lambda: None,
        progress: Callable[[], None] = lambda: None,
        alone: Callable[[], bool] = lambda: False,
    ) -> None:
        self._association = association
        self._receiver = receiver
        self._answered = answered
        self._cut_off = cut_off
        self._progress = progress
        self._alone = alone
        self._thread = get_ident()
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._holds = False
        self._unsaid = 0

    def write(self, piece: memoryview) -> None:
        if self._error is not None:
            return
        try:
            goes_on = self._receiver.write(piece, self._resume)
        except Exception as error:  # the rest passes by, then the peer is told
            self._error = error
            self._receiver.abandon()
            return
        # Several pieces of one receive may be refused, for one call of `_resume`.
        if not goes_on and not self._holds:
            self._holds = True
            self._association.link.hold()
        self._unsaid += len(piece)
        if self._unsaid > _PROGRESS:
            self._unsaid = 0
            self._progress()

    def end(self) -> None:
        if self._error is not None:
            self._answered(self._error)
            return
        try:
            self._receiver.finish_durable(self._told, alone=self._alone())
        except Exception as error:
            self._receiver.abandon()
            self._answered(error)

    def cut(self) -> None:
        self._let_go()
        if self._error is None:
            self._receiver.abandon()
        self._cut_off()

    def _told(self, status: int, reason: str) -> None:
        """From any thread: it is durable, or refused."""
        if get_ident() == self._thread:
            self._answered(StoreResult(status, reason))
            return
        try:
            self._loop.call_soon_threadsafe(self._answered, StoreResult(status, reason))
        except RuntimeError:
            pass  # the loop is closed, and with it the association: it is kept, and nobody is there to hear

    def _resume(self) -> None:
        """From another thread."""
        self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        if self._holds:
            self._holds = False
            self._association.link.let_go()
