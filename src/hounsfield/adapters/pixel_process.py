"""The process in which data sets are converted, and the way to talk to it.

A decoder that runs away, eats memory or crashes on a hostile stream costs this process and the one object.
Its address space and its files are limited, an alarm ends it when a conversion takes too long, and the end of
the connection ends it with the process that started it. Only plain bytes come back: nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from io import BytesIO
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from hounsfield.domain.errors import UnreadableError

#: Messages of the child: a piece of the data set, its end, or why there is none.
_PIECE, _END, _REFUSED = b"D", b"E", b"R"
#: Pieces are sent together until they are so long.
_BATCH = 1 << 20
#: Seconds beyond the child's own alarm until it is taken for stuck.
_GRACE = 15.0


class PixelProcess:
    """The parent's side: a child process that converts one data set at a time. Not for several threads."""

    def __init__(self, memory: int) -> None:
        """`memory`: bytes of address space that conversions may take."""
        self._connection, theirs = Pipe()
        with theirs:
            # secrets of the archive are no business of a decoder
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("HOUNSFIELD_", "PG"))}
            environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-m", "hounsfield.adapters.pixel_process"]
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [*command, str(theirs.fileno()), str(memory)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,  # what ends the terminal's programs ends the parent first
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def convert(self, data: bytes, source: str, target: str, *, largest: int, seconds: int) -> bytes:
        """Raises UnreadableError; the process may be dead then."""
        request = {"source": source, "target": target, "largest": largest, "seconds": seconds}
        result = BytesIO()
        try:
            self._connection.send_bytes(json.dumps(request).encode())
            self._connection.send_bytes(data)
            while True:
                if not self._connection.poll(seconds + _GRACE):
                    self.kill()
                    raise UnreadableError(_too_long(seconds))
                message = self._connection.recv_bytes()
                kind, rest = message[:1], memoryview(message)[1:]
                if kind == _END:
                    return result.getvalue()
                if kind == _REFUSED:
                    raise UnreadableError(bytes(rest).decode())
                result.write(rest)
        except (EOFError, OSError) as error:
            self.kill()
            if self._process.returncode == -signal.SIGALRM:
                raise UnreadableError(_too_long(seconds)) from error
            raise UnreadableError(
                f"decoding the pixels ended its process (exit code {self._process.returncode})"
            ) from error

    def kill(self) -> None:
        """End it at once."""
        if self._process.poll() is None and not self._ended_by_itself():
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


def _too_long(seconds: int) -> str:
    return f"decoding the pixels took longer than {seconds} s"


def main(descriptor: int, memory: int) -> None:
    """The child: convert until the connection ends."""
    from hounsfield.adapters.pixel_conversion import convert

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory)
    connection = Connection(descriptor)
    while True:
        try:
            request = json.loads(connection.recv_bytes())
            data = connection.recv_bytes()
        except EOFError:
            return
        signal.alarm(request["seconds"])  # its default action ends us, also within a decoder
        try:
            for batch in _batches(convert(data, request["source"], request["target"], request["largest"])):
                connection.send_bytes(batch)
            answer = _END
        except UnreadableError as error:
            answer = _REFUSED + error.what.encode()
        except MemoryError:
            answer = _REFUSED + b"decoding the pixels takes more memory than is given for it"
        except Exception as error:  # decoders raise what they like; the text holds no values of the data set
            answer = _REFUSED + f"the pixels cannot be decoded ({type(error).__name__})".encode()
        signal.alarm(0)
        del data
        connection.send_bytes(answer)


def _batches(pieces: Iterable[bytes]) -> Iterator[bytes]:
    batch, size = [_PIECE], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield b"".join(batch)
            batch, size = [_PIECE], 0
    if size:
        yield b"".join(batch)


def _limit(memory: int) -> None:
    """No core dumps (they would hold patients' images), no written files, and so much more address space."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
