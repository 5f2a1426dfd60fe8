"""The renderer (`ports.rendering.Renderer`): asks the pixel processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from hounsfield.adapters.pixel_pool import PixelPool
from hounsfield.adapters.rendering import kinds
from hounsfield.domain.errors import UnreadableError
from hounsfield.ports.blobs import Piece
from hounsfield.ports.rendering import DataSetReader, Rendering
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    DEFLATED_LE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    transfer_syntax,
)

#: Seconds for any request, and one more for so many bytes of the data set.
SECONDS, BYTES_A_SECOND = 20, 1 << 23
#: Frames of one request.
_MOST_FRAMES = 100_000
#: Where frames stand as little endian cells.
_NATIVE = (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE)
_FIELDS = tuple(field.name for field in fields(Rendering))


class Renderer:
    """For several threads."""

    def __init__(self, pool: PixelPool, *, seconds: int = SECONDS) -> None:
        self._pool = pool
        self._seconds = seconds

    def media_types(self, sop_class_uid: str, transfer_syntax_uid: str) -> tuple[str, ...]:
        return kinds.media_types(sop_class_uid, transfer_syntax_uid)

    def render(self, data_set: Piece | DataSetReader, transfer_syntax_uid: str, how: Rendering) -> bytes:
        return self._pool.ask(_request(transfer_syntax_uid, how), data_set, self._time(data_set))[0]

    async def render_here(self, data_set: Piece, transfer_syntax_uid: str, how: Rendering) -> bytes:
        request = _request(transfer_syntax_uid, how)
        return await self._pool.ask_here(request, data_set, self._time(data_set))

    def card(self, sop_class_uid: str, transfer_syntax_uid: str, how: Rendering) -> bytes:
        request = _request(transfer_syntax_uid, how)
        request |= {"do": "card", "words": kinds.words(sop_class_uid, transfer_syntax_uid)}
        return self._pool.ask(request, b"", self._seconds)[0]

    def frames(
        self,
        data_set: Piece | DataSetReader,
        transfer_syntax_uid: str,
        frames: Sequence[int],
        target_syntax: str,
    ) -> list[bytes]:
        if len(frames) > _MOST_FRAMES:
            raise UnreadableError(f"{len(frames)} frames at once", f"Ask for {_MOST_FRAMES} at most")
        native = target_syntax in _NATIVE
        if not native and not transfer_syntax(target_syntax).encapsulated:
            raise UnreadableError(f"frames are not given in {target_syntax}")
        request = {
            "do": "frames",
            "syntax": transfer_syntax_uid,
            "frames": list(frames),
            "target": "" if native else target_syntax,
        }
        return self._pool.ask(request, data_set, self._time(data_set) + len(frames))

    def _time(self, data_set: Piece | DataSetReader) -> int:
        size = data_set.size if isinstance(data_set, DataSetReader) else len(data_set)
        return self._seconds + min(size // BYTES_A_SECOND, 600)


def _request(syntax: str, how: Rendering) -> dict[str, object]:
    values = {name: getattr(how, name) for name in _FIELDS} | {"annotation": sorted(how.annotation)}
    return {"do": "render", "syntax": syntax, "how": values}
