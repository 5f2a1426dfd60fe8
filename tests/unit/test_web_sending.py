"""Answers in pieces: what is sent, and what becomes of the work when the client goes or something breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.requests import Request

from hounsfield.domain.errors import DamagedError, UnreadableError
from hounsfield.servers.web.dicomweb.sending import (
    TOGETHER,
    Streamed,
    accepts_gzip,
    gathered,
    not_modified,
    range_counts,
    validators,
)
from hounsfield.servers.web.problems import Problem
from hounsfield.services.stepping import stepped

Message = dict[str, Any]


class Source:
    """Pieces, of which it tells how many were taken, and whether it was closed."""

    def __init__(self, pieces: list[bytes | Exception]) -> None:
        self.pieces = pieces
        self.taken = 0
        self.closed = False

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                self.taken += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                await asyncio.sleep(0)
        finally:
            self.closed = True


def answered(
    response: Streamed, method: str = "GET", gone: Callable[[list[Message]], bool] = lambda _: False
) -> list[Message]:
    """The messages of the answer. The client goes away once `gone` says so of them."""
    sent: list[Message] = []

    async def run() -> None:
        left = asyncio.Event()
        first = True

        async def send(message: Message) -> None:
            sent.append(message)
            if gone(sent):
                left.set()
            await asyncio.sleep(0)

        async def receive() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        await response({"type": "http", "method": method}, receive, send)

    asyncio.run(run())
    return sent


BIG = b"x" * TOGETHER


def test_pieces_in_order_and_an_end() -> None:
    source = Source([b"a", b"b", BIG, b"c"])
    start, *bodies = answered(Streamed(source(), "a/b", length=TOGETHER + 3))
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(TOGETHER + 3).encode()
    assert [message["body"] for message in bodies] == [b"ab", BIG, b"c", b""]
    assert [message.get("more_body", False) for message in bodies] == [True, True, True, False]
    assert source.closed


def test_head_has_no_body_and_makes_none() -> None:
    source = Source([BIG])
    start, body = answered(Streamed(source(), "a/b", length=TOGETHER), "HEAD")
    assert (start["status"], body["body"], source.taken) == (200, b"", 0)


def test_an_error_before_the_first_piece_is_an_answer_of_its_own() -> None:
    with pytest.raises(DamagedError):
        answered(Streamed(Source([DamagedError("gone")])(), "a/b"))
    with pytest.raises(Problem) as caught:
        answered(Streamed(Source([UnreadableError("odd")])(), "a/b"))
    assert caught.value.status == 406


def test_an_error_later_leaves_the_answer_without_its_end() -> None:
    source = Source([BIG, DamagedError("gone"), BIG])
    messages = answered(Streamed(source(), "a/b"))
    assert [message.get("more_body") for message in messages] == [None, True]
    assert source.closed


def test_nothing_is_made_for_a_client_that_went_away() -> None:
    source = Source([BIG] * 1000)
    messages = answered(Streamed(source(), "a/b"), gone=lambda sent: len(sent) > 3)
    assert len(messages) < 20
    assert source.taken < 20
    assert source.closed


def test_what_is_ready_is_sent_as_one() -> None:
    _, body = answered(Streamed([b"a", memoryview(b"b"), b"c"], "a/b", length=3))
    assert (body["body"], body.get("more_body", False)) == (b"abc", False)


def test_small_pieces_go_together() -> None:
    async def run() -> list[int]:
        return [len(piece) async for piece in gathered(Source([b"x" * 1000] * 200)())]

    sizes = asyncio.run(run())
    assert sum(sizes) == 200_000
    assert len(sizes) == 4


def test_steps_are_made_ahead_in_order_and_stopped() -> None:
    made: list[int] = []
    closed: list[bool] = []

    def numbers() -> Any:
        try:
            for n in range(1000):
                made.append(n)
                yield n
        finally:
            closed.append(True)

    async def run() -> list[int]:
        found = []
        steps = stepped(pool, numbers())
        async for number in steps:
            found.append(number)
            if number == 9:
                break
        await steps.aclose()  # type: ignore[attr-defined]  # an async generator
        return found

    with ThreadPoolExecutor(2) as pool:
        assert asyncio.run(run()) == list(range(10))
    assert len(made) <= 12
    assert closed == [True]


def test_an_error_of_a_step_comes_in_its_place() -> None:
    def pieces() -> Any:
        yield b"a"
        raise DamagedError("gone")

    async def run() -> list[bytes]:
        found = []
        with pytest.raises(DamagedError):
            async for piece in stepped(None, pieces()):
                found.append(piece)
        return found

    assert asyncio.run(run()) == [b"a"]


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw})


SECOND = 1_000_000
AT = 1_700_000_000 * SECOND
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({"if_none_match": '"a"'}, True),
        ({"if_none_match": 'W/"a"'}, True),
        ({"if_none_match": '"b", "a"'}, True),
        ({"if_none_match": "*"}, True),
        ({"if_none_match": '"b"'}, False),
        ({"if_none_match": '"b"', "if_modified_since": DATE}, False),
        ({"if_modified_since": DATE}, True),
        ({"if_modified_since": "Tue, 14 Nov 2023 22:13:19 GMT"}, False),
        ({"if_modified_since": "tomorrow"}, False),
        ({}, False),
    ],
)
def test_conditions(asked: dict[str, str], same: bool) -> None:
    headers = validators('"a"', AT, AT + 60 * SECOND)
    assert headers["Last-Modified"] == DATE
    found = not_modified(request(**asked), headers)
    assert (found is not None) == same
    if found is not None:
        assert (found.status_code, found.headers["etag"]) == (304, '"a"')


def test_a_young_change_has_no_date() -> None:
    assert "Last-Modified" not in validators('"a"', AT, AT + SECOND)
    assert "Last-Modified" not in validators('"a"', 0, AT)


def test_if_range_wants_a_strong_tag() -> None:
    assert range_counts(request(), {"ETag": '"a"'})
    assert range_counts(request(if_range='"a"'), {"ETag": '"a"'})
    assert not range_counts(request(if_range='"b"'), {"ETag": '"a"'})
    assert not range_counts(request(if_range='W/"a"'), {"ETag": 'W/"a"'})
    assert range_counts(request(if_range=DATE), {"ETag": 'W/"a"', "Last-Modified": DATE})


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.1", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("br", False),
        ("", False),
        ("gzip;q=x", False),
    ],
)
def test_who_takes_gzip(accepted: str, takes: bool) -> None:
    assert accepts_gzip(request(accept_encoding=accepted)) == takes
