"""Several pixel processes for several threads, and for event loops."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from hounsfield.adapters.pixel_process import GRACE, PixelProcess, too_long
from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import DataSetReader

#: Bytes of address space for one request: the data set, and several times its largest frame.
MEMORY = 6 << 30
#: Most processes that are made without being asked for.
_MOST = 8


class _Slot:
    """Room for one process, which is started when there is work, and again after it died."""

    def __init__(self) -> None:
        self.process: PixelProcess | None = None


class PixelPool:
    """Answers up to `processes` requests at a time (0: one for each processor); more wait for their turn."""

    def __init__(self, processes: int = 0, *, memory: int = MEMORY) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._running: set[PixelProcess] = set()
        self._closed = False
        self._idle: list[_Slot] = []
        self._waiting: deque[Callable[[_Slot], None]] = deque()
        self.processes = 0
        self.resize(processes)

    def resize(self, processes: int) -> None:
        """Another number of processes (0: one for each processor), while none runs yet."""
        wanted = processes or min(os.cpu_count() or 1, _MOST)
        with self._lock:
            if self._running:
                return
            self._idle = [_Slot() for _ in range(wanted)]
            self.processes = wanted

    def ask(
        self, request: Mapping[str, object], data_set: Piece | DataSetReader, seconds: int
    ) -> list[bytes]:
        """As `PixelProcess.ask`."""
        reader = data_set if isinstance(data_set, DataSetReader) else reader_of(data_set)
        turn: Future[_Slot] = Future()
        self._take(turn.set_result)
        slot = turn.result()
        try:
            return self._process(slot).ask(request, reader, seconds)
        finally:
            self._give(slot)

    async def ask_here(self, request: Mapping[str, object], data_set: Piece, seconds: int) -> bytes:
        """The same on an event loop, which waits for nothing: of a data set in memory, and of an answer of
        one part. Saves the way over a thread, there and back."""
        loop = asyncio.get_running_loop()
        reader = reader_of(data_set)
        slot = await self._turn(loop)
        process: PixelProcess | None = None
        try:
            process = slot.process
            if process is None or not process.alive:
                process = await loop.run_in_executor(None, self._process, slot)
            process.begin(request, reader, seconds)
            try:
                async with asyncio.timeout(seconds + GRACE):
                    await _readable(loop, process.fileno())
            except TimeoutError as error:
                process.kill(at_once=True)
                raise UnreadableError(too_long(seconds)) from error
            if (answer := process.end_at_once()) is not None:
                return answer
            return b"".join(await loop.run_in_executor(None, process.end, reader, seconds))
        except asyncio.CancelledError:
            if process is not None:
                process.kill(at_once=True)  # its answer is nobody's
            raise
        finally:
            self._give(slot)

    def close(self) -> None:
        """End the processes; a request on its way fails."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, set()
        for process in running:
            process.kill()

    # Turns -------------------------------------------------------------------------------------------------

    def _take(self, taken: Callable[[_Slot], None]) -> None:
        """`taken` is called with the next free slot: now, or by whoever gives one back."""
        with self._lock:
            if not self._idle:
                self._waiting.append(taken)
                return
            slot = self._idle.pop()  # the one used last: its process runs, and its memory is warm
        taken(slot)

    def _give(self, slot: _Slot) -> None:
        with self._lock:
            if not self._waiting:
                self._idle.append(slot)
                return
            taken = self._waiting.popleft()
        taken(slot)

    async def _turn(self, loop: asyncio.AbstractEventLoop) -> _Slot:
        turn: asyncio.Future[_Slot] = loop.create_future()

        def settle(slot: _Slot) -> None:
            if turn.cancelled():
                self._give(slot)
            else:
                turn.set_result(slot)

        def taken(slot: _Slot) -> None:
            try:
                loop.call_soon_threadsafe(settle, slot)
            except RuntimeError:  # the loop has ended
                self._give(slot)

        with self._lock:
            if self._idle:
                return self._idle.pop()
            self._waiting.append(taken)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give(turn.result())
            raise

    def _process(self, slot: _Slot) -> PixelProcess:
        """The one of the slot, which runs."""
        dead = slot.process
        if dead is not None and dead.alive:
            return dead
        with self._lock:
            if self._closed:
                raise UnreadableError("nothing is decoded any more, since the archive is stopping")
            if dead is not None:
                dead.kill()
                self._running.discard(dead)
            slot.process = PixelProcess(self._memory)
            self._running.add(slot.process)
            return slot.process


async def _readable(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        os.set_blocking(descriptor, True)  # libuv made it non-blocking; what does not fit would fail then


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def reader_of(data_set: Piece) -> DataSetReader:
    """Of a data set in memory."""
    view = memoryview(data_set)
    return DataSetReader(lambda offset, length: view[offset : offset + length], len(view))
