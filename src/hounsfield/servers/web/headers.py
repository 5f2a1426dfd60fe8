"""Headers that every answer carries, and those that let pages of other origins read it (CORS)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Message

#: What our own pages may load: their own origin's, and nothing written into the page.
PAGE_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "img-src 'self' data: blob:"
)
#: Data is no page: where a browser shows it as one, nothing of it runs.
DATA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
HSTS = (b"strict-transport-security", b"max-age=31536000")
#: A page of another origin may read these of an answer.
_EXPOSED = "Content-Location, Content-Disposition, Content-Range, ETag, Location, Retry-After, Warning"
_ALLOWED = (
    "Accept, Authorization, Content-Type, If-None-Match, If-Modified-Since, Range, X-CSRF-Token, traceparent"
)
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
PREFLIGHT_SECONDS = "600"

Pairs = list[tuple[bytes, bytes]]

_DEFAULTS = {
    b"content-security-policy": DATA_POLICY.encode(),
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
}
_ALWAYS: Pairs = [
    (b"x-content-type-options", b"nosniff"),
    # to other sites nothing; not "no-referrer", under which browsers send our own forms with Origin: null
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"SAMEORIGIN"),
]


def secure(message: Message, *, https: bool, cors: Pairs) -> None:
    """Complete the head of an answer. What the handler has set of the defaults stays."""
    headers: Pairs = list(message.get("headers", ()))
    present = {name for name, _ in headers}
    for name, value in _DEFAULTS.items():
        if name not in present:
            if cors and name == b"cross-origin-resource-policy":
                value = b"cross-origin"
            headers.append((name, value))
    headers += _ALWAYS
    if https:
        headers.append(HSTS)
    headers += cors
    message["headers"] = headers


class Cors:
    """`origins`: those whose pages may read answers; "*" for any."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, origin: str | None) -> Pairs:
        """For an answer to a request of this origin. Never with credentials: our cookies are for our own
        pages."""
        if not self.allows(origin):
            return []
        assert origin is not None
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED.encode()),
            (b"vary", b"Origin"),
        ]

    def preflight(self) -> Pairs:
        """Besides these, for the question whether a request may be made."""
        return [
            (b"access-control-allow-methods", _METHODS.encode()),
            (b"access-control-allow-headers", _ALLOWED.encode()),
            (b"access-control-max-age", PREFLIGHT_SECONDS.encode()),
        ]

    def allows(self, origin: str | None) -> bool:
        return origin is not None and (origin in self._origins or "*" in self._origins)
