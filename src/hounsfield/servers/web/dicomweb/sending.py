"""Answers that are sent in pieces, and conditional requests (RFC 9110 section 13)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from email.utils import formatdate, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from hounsfield.domain.errors import HounsfieldError, UnreadableError
from hounsfield.ports.blobs import Piece
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.problems import Problem
from hounsfield.services.stepping import stepped

log = logging.getLogger(__name__)

#: Smaller pieces are sent together, until they are so long.
TOGETHER = 64 << 10
#: A change so young may be followed by another within the same second, which HTTP dates do not tell apart.
_YOUNG = 2_000_000


class Streamed(Response):
    """An answer whose body comes in pieces, or has a few of them ready.

    With `length`, which they must have together, it is not framed in chunks. What goes wrong before the first
    piece is answered as any error is; what goes wrong later ends the connection, so that nobody takes what
    came for the whole. A client that goes away ends the work.
    """

    def __init__(
        self,
        pieces: AsyncIterator[Piece] | Sequence[Piece],
        media_type: str,
        *,
        length: int | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.pieces = pieces
        self.status_code = status
        self.background = None
        self.init_headers(dict(headers or {}) | {"content-type": media_type})
        if length is not None:
            self.raw_headers.append((b"content-length", str(length).encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        if isinstance(self.pieces, Sequence):
            await send(start)
            # as one: whoever reads is woken once
            await send({"type": "http.response.body", "body": b"".join(self.pieces)})
            return
        await self._stream(self.pieces, start, receive, send)

    async def _stream(
        self, source: AsyncIterator[Piece], start: Message, receive: Receive, send: Send
    ) -> None:
        gone: asyncio.Task[None] | None = None
        pieces = gathered(source)
        begun = False
        try:
            piece = await anext(pieces, None)
            await send(start)
            begun = True
            gone = asyncio.ensure_future(_until_gone(receive))
            while piece is not None and not gone.done():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(pieces, None)
            if piece is None:
                await send({"type": "http.response.body", "body": b""})
        except HounsfieldError as error:
            if not begun:
                raise _refusal(error) from error
            log.error(
                "an answer was broken off", extra={"why": str(error)}
            )  # the server closes the connection
        finally:
            if gone is not None:
                gone.cancel()
            await pieces.aclose()


def _refusal(error: HounsfieldError) -> Exception:
    """Kept objects are what was received: what cannot be converted is no fault of the request's syntax."""
    if isinstance(error, UnreadableError):
        return Problem(406, "It cannot be given in that form", str(error))
    return error


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def gathered(pieces: AsyncIterator[Piece]) -> AsyncGenerator[Piece, None]:
    """The same bytes, small pieces of them together."""
    waiting: list[Piece] = []
    size = 0
    try:
        async for piece in pieces:
            if len(piece) >= TOGETHER:
                if waiting:
                    yield b"".join(waiting)
                    waiting, size = [], 0
                yield piece
                continue
            waiting.append(piece)
            size += len(piece)
            if size >= TOGETHER:
                yield b"".join(waiting)
                waiting, size = [], 0
        if size:
            yield b"".join(waiting)
    finally:
        await _close(pieces)


async def _close(pieces: AsyncIterator[Piece]) -> None:
    close = getattr(pieces, "aclose", None)  # generators have one
    if close is not None:
        await close()


def beside(request: Request, values: Iterator[Piece]) -> AsyncIterator[Piece]:
    """Pieces that threads make."""
    return stepped(the_web.of(request).threads, values)


def entity_tag(*parts: object, weak: bool = False) -> str:
    """Parts are of letters, digits and punctuation, without quotes."""
    return ("W/" if weak else "") + '"' + "-".join(map(str, parts)) + '"'


def validators(tag: str, changed_at: int, now: int) -> dict[str, str]:
    """The headers by which a client may ask again. `changed_at`, `now` in microseconds since 1970."""
    # kept by the client alone, which asks each time whether it may still show it
    headers = {"ETag": tag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "private, no-cache"}
    if changed_at and now - changed_at > _YOUNG:
        headers["Last-Modified"] = formatdate(changed_at // 1_000_000, usegmt=True)
    return headers


def not_modified(request: Request, headers: Mapping[str, str]) -> Response | None:
    """The answer 304 where the client has what these `validators` name (RFC 9110 13.2.2)."""
    asked = request.headers.getlist("if-none-match")
    if asked:
        known = {tag.strip().removeprefix("W/") for tag in ",".join(asked).split(",")}
        same = "*" in known or headers["ETag"].removeprefix("W/") in known
    else:
        same = _not_since(request.headers.get("if-modified-since", ""), headers.get("Last-Modified", ""))
    return Response(status_code=304, headers=dict(headers)) if same else None


def _not_since(since: str, changed: str) -> bool:
    if not since or not changed:
        return False
    try:
        return parsedate_to_datetime(changed) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False  # what is no date is ignored (RFC 9110 13.1.3)


def range_counts(request: Request, headers: Mapping[str, str]) -> bool:
    """Whether an If-Range lets the Range header count (RFC 9110 13.1.5)."""
    condition = request.headers.get("if-range", "")
    if not condition:
        return True
    tag = headers["ETag"]
    return condition in (tag if not tag.startswith("W/") else None, headers.get("Last-Modified"))


def accepts_gzip(request: Request) -> bool:
    """By the Accept-Encoding header (RFC 9110 12.5.3)."""
    wanted: dict[str, float] = {}
    for one in ",".join(request.headers.getlist("accept-encoding")).split(","):
        name, _, q = one.partition(";")
        try:
            wanted[name.strip().lower()] = float(q.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
    return wanted.get("gzip", wanted.get("*", 0.0)) > 0
