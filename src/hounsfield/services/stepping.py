"""Iterators that wait for disk, database or decoders, taken from by an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")


async def stepped(executor: Executor | None, values: Iterator[T]) -> AsyncIterator[T]:
    """What `values` gives (never None), each of it made on a thread of `executor` (None: the loop's own)
    while the one before is used. A generator is closed in the end, however early that is."""
    loop = asyncio.get_running_loop()
    steps = _Steps(values)

    def ahead() -> asyncio.Future[T | None]:
        step = loop.run_in_executor(executor, steps.next)
        step.add_done_callback(_heard)
        return step

    step = ahead()
    try:
        while (value := await step) is not None:
            step = ahead()
            yield value
    finally:
        loop.run_in_executor(executor, steps.close)


class _Steps(Generic[T]):
    """An iterator that threads take from by turns, and that may be closed while one still does."""

    def __init__(self, values: Iterator[T]) -> None:
        self._values = values
        self._lock = threading.Lock()
        self._closed = False

    def next(self) -> T | None:
        with self._lock:
            return None if self._closed else next(self._values, None)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            close = getattr(self._values, "close", None)  # generators have one
            if close is not None:
                close()


def _heard(step: asyncio.Future[T | None]) -> None:
    """What goes wrong with a value that nobody waits for any more is nobody's concern."""
    if not step.cancelled():
        step.exception()
