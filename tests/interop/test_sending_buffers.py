"""What is sent from where it lies is left alone as long as a part of it may go out: afterwards something
else may lie there."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from hounsfield.net.requestor import associate
from hounsfield.net.storing import AssociationChannel
from hounsfield.wire.ul.items import ProposedContext, UserInformation
from hounsfield.wire.ul.pdu import AssociateRequest
from support_hostile import command, item, p_data, pdu

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
#: Too little for the sender to wait before it looks for the answer.
OBJECT = bytes(1_900_000)
ACCEPT = pdu(
    2,
    struct.pack(">HH", 1, 0)
    + bytes(64)
    + item(0x10, b"1.2.840.10008.3.1.1.1")
    + item(0x21, bytes((1, 0, 0, 0)) + item(0x40, EXPLICIT_LE.encode()))
    + item(0x50, item(0x51, bytes(4)) + item(0x52, b"1.2.3")),
)
STORED = p_data(1, 3, command({0x0002: CT, 0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}))


class Hasty:
    """A storage SCP that reads a request's first bytes and, if it `answers`, says at once that it is stored;
    the rest it reads when it is told to."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.reads_on = threading.Event()
        self.bytes = 0
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        peer, _ = self._listener.accept()
        with peer, self._listener:
            peer.settimeout(30)
            peer.recv(65536)  # A-ASSOCIATE-RQ
            peer.sendall(ACCEPT)
            self.bytes += len(peer.recv(100))
            if self.answers:
                peer.sendall(STORED)
            self.reads_on.wait(30)
            try:
                while data := peer.recv(65536):
                    self.bytes += len(data)
            except ConnectionResetError:
                pass


@pytest.fixture(params=[True, False], ids=["answers", "silent"])
def peer(request: pytest.FixtureRequest) -> Iterator[Hasty]:
    made = Hasty(answers=request.param)
    yield made
    made.reads_on.set()
    made.thread.join(30)


@asynccontextmanager
async def channel(peer: Hasty, seconds: float) -> AsyncIterator[AssociationChannel]:
    contexts = (ProposedContext(1, CT, (EXPLICIT_LE,)),)
    request = AssociateRequest("SCP", "SCU", contexts, UserInformation(16384))
    async with associate("127.0.0.1", peer.port, request, seconds=5) as association:
        assert association.link.transport is not None
        ours = association.link.transport.get_extra_info("socket")
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        yield AssociationChannel(association, seconds)


@pytest.mark.parametrize("peer", [True], indirect=True, ids=["answers"])
def test_an_early_answer_ends_nothing(peer: Hasty) -> None:
    async def run() -> None:
        async with channel(peer, 30) as sender:
            sending = asyncio.ensure_future(sender.store(1, CT, "1.2.3", OBJECT, None))
            done, _ = await asyncio.wait([sending], timeout=0.5)
            assert not done
            peer.reads_on.set()
            assert (await sending)[0] == 0
            assert sender.association.link.unsent == 0

    asyncio.run(run())
    assert peer.bytes > len(OBJECT)


def test_nothing_more_goes_out_to_a_peer_that_took_too_long(peer: Hasty) -> None:
    async def run() -> None:
        async with channel(peer, 0.3) as sender:
            with pytest.raises(ConnectionError):
                await sender.store(1, CT, "1.2.3", OBJECT, None)
            assert sender.association.link.unsent == 0
            peer.reads_on.set()
            peer.thread.join(30)

    asyncio.run(run())
    assert peer.bytes < len(OBJECT)
