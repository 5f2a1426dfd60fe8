"""The transcoder (`ports.pixels.Transcoder`): into native and lossless compressed transfer syntaxes, in
processes beside ours."""

from __future__ import annotations

from hounsfield.adapters.pixel_pool import MEMORY, PixelPool
from hounsfield.adapters.pixel_streams import CODINGS
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)

#: Those that we compress into, without loss. (1.2.840.10008.1.2.4.203 allows loss, and does not ask for it.)
COMPRESSED = (
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_LS_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    RLE_LOSSLESS,
    HTJ2K,
)
#: From each native syntax into the others, best first; compressed ones become native.
_FROM_COMPRESSED = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)
_TARGETS = {
    EXPLICIT_LE: (IMPLICIT_LE, DEFLATED_LE, EXPLICIT_BE),
    IMPLICIT_LE: (EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE),
    DEFLATED_LE: (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE),
    EXPLICIT_BE: (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE),
    **dict.fromkeys(CODINGS, _FROM_COMPRESSED),
}

#: Bytes of decoded pixels beyond which an object is not converted.
LARGEST_DECODED = 2 << 30
#: Seconds for any conversion, and one more for so many bytes.
SECONDS, BYTES_A_SECOND = 60, 1 << 20


class Transcoder:
    """Converts up to `processes` data sets at a time, or as `pool` has room for. For several threads."""

    def __init__(
        self,
        *,
        processes: int = 2,
        memory: int = MEMORY,
        largest: int = LARGEST_DECODED,
        seconds: int = SECONDS,
        pool: PixelPool | None = None,
    ) -> None:
        self._pool = pool or PixelPool(processes, memory=memory)
        self._largest = largest
        self._seconds = seconds

    def targets(self, transfer_syntax_uid: str) -> tuple[str, ...]:
        """Best first; nothing for what we do not decode (video, JPEG XL, unknown ones)."""
        native = _TARGETS.get(transfer_syntax_uid, ())
        return native and (*native, *(target for target in COMPRESSED if target != transfer_syntax_uid))

    def convert(self, data_set: bytes, transfer_syntax_uid: str, target: str) -> bytes:
        """The data set in another transfer syntax; what describes its pixels is changed with them, all else
        means what it meant. Raises UnreadableError with the reason when the pixels cannot be decoded, when
        they are more than is decoded for anybody, or when the conversion takes too much time or memory."""
        if target not in self.targets(transfer_syntax_uid):
            raise UnreadableError(
                f"{transfer_syntax_uid} is not converted to {target}", "Let the peer take it as stored"
            )
        seconds = self._seconds + len(data_set) // BYTES_A_SECOND
        request = {
            "do": "convert",
            "source": transfer_syntax_uid,
            "target": target,
            "largest": self._largest,
        }
        return self._pool.ask(request, data_set, seconds)[0]

    def close(self) -> None:
        """End the processes; a conversion on its way fails."""
        self._pool.close()
