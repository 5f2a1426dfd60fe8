"""Renderings made a moment ago: a viewer shows the same image again, and so does a person who pages back."""

from __future__ import annotations

from collections import OrderedDict

from starlette.requests import Request

#: Bytes kept by one process, and those of one rendering.
MOST_BYTES = 64 << 20
LARGEST = 4 << 20


class Kept:
    """The renderings used last, by the hash of the object and what was wanted. For an event loop."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.size = 0
        self._most = most
        self._bodies: OrderedDict[tuple[bytes, str], bytes] = OrderedDict()

    def get(self, content_hash: bytes, key: str) -> bytes | None:
        body = self._bodies.get((content_hash, key))
        if body is not None:
            self._bodies.move_to_end((content_hash, key))
        return body

    def put(self, content_hash: bytes, key: str, body: bytes) -> None:
        if len(body) > LARGEST:
            return
        self.size += len(body) - len(self._bodies.get((content_hash, key), b""))
        self._bodies[content_hash, key] = body
        while self.size > self._most:
            _, oldest = self._bodies.popitem(last=False)
            self.size -= len(oldest)


def kept_renderings(request: Request) -> Kept:
    """Those of this process."""
    state = request.app.state
    if not hasattr(state, "rendered_kept"):
        state.rendered_kept = Kept()
    kept: Kept = state.rendered_kept
    return kept
