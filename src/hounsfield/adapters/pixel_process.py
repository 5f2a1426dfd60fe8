"""The process in which pixels are decoded, converted and rendered, and the way to talk to it.

A decoder that runs away, eats memory or crashes on a hostile stream costs this process and the one object.
Its address space and its files are limited, an alarm ends it when a request takes too long, and the end of
the connection ends it with the process that started it. It asks for the bytes of the data set that it needs,
so that a frame of a large object costs no more than a small object. Only plain bytes come back: nothing is
unpickled.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from io import BytesIO
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from hounsfield.adapters.pixel_data_set import RANGE, READ, DataSet
from hounsfield.domain.errors import NotFoundError, UnreadableError
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import DataSetReader
from hounsfield.wire.dicomfile.errors import MalformedError

#: Messages of the child: a piece of the answer, the last piece of a part of it, the last of all, the same as
#: so many bytes of the shared memory, why there is none (unreadable, or not found), and which bytes of the
#: data set it needs.
_PIECE, _PART, _LAST, _SHARED, _REFUSED, _MISSING = b"D", b"N", b"E", b"S", b"R", b"M"
#: Pieces are sent together until they are so long.
_BATCH = 1 << 20
#: Bytes of memory that both sides have: for the beginning of the data set, and for the end of the answer.
AHEAD = 1 << 22
#: Seconds beyond the child's own alarm until it is taken for stuck.
GRACE = 15.0
#: For glibc: what one image needed is kept for the next. To have the kernel clear its pages anew takes
#: as long as the image itself.
_ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
_length = struct.Struct("<Q")


class PixelProcess:
    """The parent's side: a child process that answers one request at a time. Not for several threads."""

    def __init__(self, memory: int) -> None:
        """`memory`: bytes of address space that requests may take."""
        self._connection, theirs = Pipe()
        shared = os.memfd_create("hounsfield-pixels")
        try:
            self._begin(theirs, shared, memory)
            self._ahead = mmap.mmap(shared, AHEAD)
            self._came = b""  # a message that is read, and not looked at yet
        finally:
            os.close(shared)

    def _begin(self, theirs: Connection, shared: int, memory: int) -> None:
        os.ftruncate(shared, AHEAD)
        with theirs:
            # secrets of the archive are no business of a decoder
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOUNSFIELD_", "PG"))}
            environment |= _ALLOCATION | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "hounsfield.adapters.pixel_process"]
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [*command, str(theirs.fileno()), str(shared), str(memory)],
                pass_fds=(theirs.fileno(), shared),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # what ends the terminal's programs ends the parent first
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, object], data_set: DataSetReader, seconds: int) -> list[bytes]:
        """The parts of the answer to a request of `pixel_requests`. Raises UnreadableError, NotFoundError,
        and what reading the data set raises; the process may be dead then."""
        self.begin(request, data_set, seconds)
        return self.end(data_set, seconds)

    def begin(self, request: Mapping[str, object], data_set: DataSetReader, seconds: int) -> None:
        """Hand over a request, without waiting: then `fileno` becomes readable. Raises what reading the data
        set raises; a process that is dead is told of by `end`."""
        size = data_set.size
        ahead = min(size, AHEAD)
        self._ahead[:ahead] = data_set.read(0, ahead)
        head = {**request, "seconds": seconds, "size": size}
        try:
            self._connection.send_bytes(json.dumps(head).encode())
        except ConnectionError:
            return

    def fileno(self) -> int:
        return self._connection.fileno()

    def end_at_once(self) -> bytes | None:
        """The answer of one small part, once `fileno` is readable; None where `end` has to wait for more.
        Raises UnreadableError, NotFoundError."""
        try:
            message = self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            return None  # `end` finds the same
        if message[:1] in (_PIECE, _PART, _LAST, READ):
            self._came = message
            return None
        return self._whole(message)

    def _whole(self, message: bytes) -> bytes:
        """Raises UnreadableError, NotFoundError."""
        kind, rest = message[:1], message[1:]
        if kind == _SHARED:
            return self._ahead[: _length.unpack(rest)[0]]
        if kind == _MISSING:
            raise NotFoundError(rest.decode())
        raise UnreadableError(rest.decode())

    def end(self, data_set: DataSetReader, seconds: int) -> list[bytes]:
        """What `ask` returns."""
        parts: list[bytes] = []
        part = BytesIO()
        try:
            while True:
                message = self._next(seconds)
                kind = message[:1]
                if kind == READ:
                    self._connection.send_bytes(self._wanted(data_set, memoryview(message)[1:]))
                elif kind in (_PIECE, _PART, _LAST):
                    part.write(memoryview(message)[1:])
                    if kind != _PIECE:
                        parts.append(part.getvalue())
                        part = BytesIO()
                    if kind == _LAST:
                        return parts
                else:
                    part.write(self._whole(message))
                    return [*parts, part.getvalue()]
        except (EOFError, ConnectionError) as error:
            self.kill()
            if self._process.returncode == -signal.SIGALRM:
                raise UnreadableError(too_long(seconds)) from error
            if self._process.returncode == -signal.SIGPROF:
                raise UnreadableError("decoding took longer than so many pixels can need") from error
            raise UnreadableError(
                f"decoding the pixels ended its process (exit code {self._process.returncode})"
            ) from error

    def _next(self, seconds: int) -> bytes:
        message, self._came = self._came, b""
        if message:
            return message
        if not self._connection.poll(seconds + GRACE):
            self.kill()
            raise UnreadableError(too_long(seconds))
        return self._connection.recv_bytes()

    def _wanted(self, data_set: DataSetReader, wanted: memoryview) -> Piece:
        """What the child asks for; whatever goes wrong here leaves it waiting, so it is ended."""
        try:
            offset, length = RANGE.unpack(wanted)
            if offset + length > data_set.size:
                raise UnreadableError("the decoder asked for bytes that the data set does not have")
            return data_set.read(offset, length)
        except BaseException:
            self.kill()
            raise

    def kill(self, *, at_once: bool = False) -> None:
        """End it; unless `at_once` it may first end by itself, so that its exit code tells why."""
        if self._process.poll() is None and (at_once or not self._ended_by_itself()):
            self._process.kill()
        self._process.wait()
        self._connection.close()

    def _ended_by_itself(self) -> bool:
        """Whether it is on its way out: then its own exit code tells more than ours."""
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            return False
        return True


def too_long(seconds: int) -> str:
    """Why there is no answer."""
    return f"decoding the pixels took longer than {seconds} s"


def main(descriptor: int, shared: int, memory: int) -> None:
    """The child: answer until the connection ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: Callable[[Mapping[str, object], DataSet], Iterable[Iterable[Piece]]]
    answer = import_module("hounsfield.adapters.pixel_requests").answer
    _limit(memory)
    connection = Connection(descriptor)
    ahead = memoryview(mmap.mmap(shared, AHEAD))
    while True:
        try:
            request = json.loads(connection.recv_bytes())
            data_set = DataSet(connection, request["size"], ahead)
        except EOFError:
            return
        signal.alarm(request["seconds"])  # its default action ends us, also within a decoder
        try:
            last = _sent_but_the_last(connection, answer(request, data_set))
            if len(last) <= AHEAD:  # the data set is not needed any more
                ahead[: len(last) - 1] = memoryview(last)[1:]
                last = _SHARED + _length.pack(len(last) - 1)
        except NotFoundError as error:
            last = _MISSING + error.what.encode()
        except UnreadableError as error:
            last = _REFUSED + error.what.encode()
        except MalformedError as error:
            last = _REFUSED + f"the object is broken: {error}".encode()
        except MemoryError:
            last = _REFUSED + b"decoding the pixels takes more memory than is given for it"
        except EOFError:
            return
        except Exception as error:  # decoders raise what they like; the text holds no values of the data set
            last = _REFUSED + f"the pixels cannot be decoded ({type(error).__name__})".encode()
        signal.alarm(0)
        del data_set
        connection.send_bytes(last)


def _sent_but_the_last(connection: Connection, parts: Iterable[Iterable[Piece]]) -> bytes:
    """Send the messages of an answer, all but the last, which is returned."""
    waiting = b""
    for part in parts:
        for batch in _batches(part):
            if waiting:
                connection.send_bytes(waiting)
            waiting = batch
    return _LAST + memoryview(waiting)[1:]


def _batches(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Messages of one part: pieces together until they are long, and the last piece."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield b"".join((_PIECE, *batch))
            batch, size = [], 0
    yield b"".join((_PART, *batch))


def _limit(memory: int) -> None:
    """No core dumps (they would hold patients' images), no written files, and so much more address space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
