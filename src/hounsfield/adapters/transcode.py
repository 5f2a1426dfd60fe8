"""The transcoder (`ports.pixels.Transcoder`): into native transfer syntaxes, in processes beside ours."""

from __future__ import annotations

import queue
import threading

from hounsfield.adapters.pixel_process import PixelProcess
from hounsfield.adapters.pixel_streams import CODINGS
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.transfer_syntaxes import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

#: From each native syntax into the others, best first; compressed ones become native. A compressed target
#: would be one more name here and one more encoder beside the decoders.
_FROM_COMPRESSED = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
_TARGETS = {
    EXPLICIT_LE: (IMPLICIT_LE, DEFLATED_LE, EXPLICIT_BE),
    IMPLICIT_LE: (EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE),
    DEFLATED_LE: (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE),
    EXPLICIT_BE: (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE),
    **dict.fromkeys(CODINGS, _FROM_COMPRESSED),
}

#: Bytes of decoded pixels, or of an inflated data set, beyond which an object is not converted.
LARGEST_DECODED = 2 << 30
#: Bytes of address space for a conversion: the data set, and several times its largest frame.
MEMORY = 6 << 30
#: Seconds for any conversion, and one more for so many bytes.
SECONDS, BYTES_A_SECOND = 60, 1 << 20


class Transcoder:
    """Converts up to `processes` data sets at a time; more wait. For several threads. The processes are
    started when there is work, and again after one died."""

    def __init__(
        self,
        *,
        processes: int = 2,
        memory: int = MEMORY,
        largest: int = LARGEST_DECODED,
        seconds: int = SECONDS,
    ) -> None:
        self._memory = memory
        self._largest = largest
        self._seconds = seconds
        self._slots: queue.LifoQueue[PixelProcess | None] = queue.LifoQueue()
        for _ in range(processes):
            self._slots.put(None)
        self._lock = threading.Lock()
        self._running: set[PixelProcess] = set()
        self._closed = False

    def targets(self, transfer_syntax_uid: str) -> tuple[str, ...]:
        """Best first; nothing for what we do not decode (video, JPEG XL, unknown ones)."""
        return _TARGETS.get(transfer_syntax_uid, ())

    def convert(self, data_set: bytes, transfer_syntax_uid: str, target: str) -> bytes:
        """The data set in another transfer syntax; what describes its pixels is changed with them, all else
        means what it meant. Raises UnreadableError with the reason when the pixels cannot be decoded, when
        they are more than is decoded for anybody, or when the conversion takes too much time or memory."""
        if target not in self.targets(transfer_syntax_uid):
            raise UnreadableError(
                f"{transfer_syntax_uid} is not converted to {target}", "Let the peer take it as stored"
            )
        seconds = self._seconds + len(data_set) // BYTES_A_SECOND
        process = self._slots.get()
        try:
            if process is None or not process.alive:
                process = self._start(process)
            return process.convert(
                data_set, transfer_syntax_uid, target, largest=self._largest, seconds=seconds
            )
        finally:
            self._slots.put(process)

    def close(self) -> None:
        """End the processes; a conversion on its way fails."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, set()
        for process in running:
            process.kill()

    def _start(self, dead: PixelProcess | None) -> PixelProcess:
        with self._lock:
            if self._closed:
                raise UnreadableError("nothing is converted any more, since the archive is stopping")
            if dead is not None:
                dead.kill()
                self._running.discard(dead)
            process = PixelProcess(self._memory)
            self._running.add(process)
            return process
