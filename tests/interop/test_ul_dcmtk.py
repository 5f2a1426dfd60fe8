"""The upper layer and DIMSE cores against DCMTK, joined to sockets by a very small driver."""

from __future__ import annotations

import asyncio
import shutil
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hounsfield.wire.dimse import fields as f
from hounsfield.wire.dimse import messages as m
from hounsfield.wire.dimse.assembly import Assembler, CommandReceived, DataEnd, DataPiece
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.ul import events as ev
from hounsfield.wire.ul.connection import Connection, Role
from hounsfield.wire.ul.items import ProposedContext, UserInformation
from hounsfield.wire.ul.negotiation import Offer, Policy, negotiate
from hounsfield.wire.ul.pdu import AssociateReject, AssociateRequest
from hounsfield.wire.ul.states import State

pytestmark = pytest.mark.peer("dcmtk")

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
IDENTITY = {"implementation_class_uid": "1.2.826.0.1.3680043.8.498.1", "implementation_version": "TEST"}
POLICY = Policy({VERIFICATION: Offer((IMPLICIT,)), CT: Offer((EXPLICIT, IMPLICIT))}, **IDENTITY)


@pytest.fixture(autouse=True)
def _dcmtk() -> None:
    if not shutil.which("storescu"):
        pytest.skip("DCMTK is not installed (apt install dcmtk)")


class Scp:
    """One acceptor after the other: accepts, stores into memory, answers."""

    def __init__(
        self, max_length: int = 16384, chunk: int = 65536, reject: AssociateReject | None = None
    ) -> None:
        self.max_length, self.chunk, self.reject = max_length, chunk, reject
        self.stored: list[tuple[Command, str, bytes]] = []
        self.heard: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, assembler = Connection(Role.ACCEPTOR, max_length=self.max_length), Assembler()
        while not connection.should_close:
            data = await reader.read(self.chunk)
            events = connection.receive_data(memoryview(data)) if data else connection.receive_eof()
            for event in events:
                if isinstance(event, ev.Pdv):
                    for received in assembler.feed(event):
                        self.answer(connection, received)
                else:
                    self.heard.append(type(event).__name__)
                    if isinstance(event, ev.AssociateRequested) and self.reject:
                        connection.reject(self.reject)
                    elif isinstance(event, ev.AssociateRequested):
                        connection.accept(negotiate(event.request, POLICY)[0])
                    elif isinstance(event, ev.ReleaseRequested):
                        connection.accept_release()
            writer.writelines(connection.data_to_send())
            await writer.drain()
        writer.close()

    def answer(self, connection: Connection, received: object) -> None:
        if isinstance(received, CommandReceived):
            self.context, self.command, self.data = received.context_id, received.command, bytearray()
            if received.command.field == f.C_ECHO_RQ:
                connection.send_message(received.context_id, m.c_echo_rsp(received.command).encode())
        elif isinstance(received, DataPiece):
            self.data += received.data
        elif isinstance(received, DataEnd):
            syntax = connection.contexts[self.context][1]
            self.stored.append((self.command, syntax, bytes(self.data)))
            connection.send_message(self.context, m.c_store_rsp(self.command).encode())
        else:
            raise AssertionError(received)


async def run(*command: str | Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, output.decode("latin-1")


async def against(scp: Scp, program: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a DCMTK client against `scp`; its last argument list goes behind the address."""
    server = await asyncio.start_server(scp.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        options = [
            a for a in arguments if str(a).startswith("-") or str(a).startswith("+") or str(a).isdigit()
        ]
        rest = [a for a in arguments if a not in options]
        return await run(program, *options, "127.0.0.1", str(port), *rest)


def test_echoscu():
    scp = Scp()
    status, output = asyncio.run(against(scp, "echoscu", "-v", "--repeat", "3"))
    assert status == 0, output
    assert scp.heard == ["AssociateRequested", "ReleaseRequested"]
    assert output.count("Received Echo Response (Success)") == 3, output


def test_echoscu_with_128_contexts_and_an_abort():
    scp = Scp()
    status, output = asyncio.run(against(scp, "echoscu", "-v", "-pts", "38", "-ppc", "128", "--abort"))
    assert status == 0, output
    assert scp.heard == ["AssociateRequested", "Aborted"]


def test_a_rejected_client_says_why():
    status, output = asyncio.run(against(Scp(reject=AssociateReject(1, 1, 7)), "echoscu", "-v"))
    assert status != 0
    assert "Called AE Title Not Recognized" in output


@pytest.mark.parametrize(
    ("max_length", "chunk", "offer"), [(16384, 1000, "-xe"), (131072, 1 << 20, "-xi"), (0, 65536, "-xe")]
)
def test_storescu(max_length: int, chunk: int, offer: str):
    path = get_testdata_file("CT_small.dcm")
    original = pydicom.dcmread(path)
    scp = Scp(max_length, chunk)
    status, output = asyncio.run(
        against(scp, "storescu", "-v", "--max-send-pdu", "131072", offer, path, path)
    )
    assert status == 0, output
    assert scp.heard == ["AssociateRequested", "ReleaseRequested"]
    assert len(scp.stored) == 2
    for command, syntax, data in scp.stored:
        assert syntax == (EXPLICIT if offer == "-xe" else IMPLICIT)
        assert command.affected_sop_instance_uid == original.SOPInstanceUID
        received = pydicom.filereader.read_dataset(BytesIO(data), syntax == IMPLICIT, True)
        assert received.PixelData == original.PixelData
        assert received.PatientID == original.PatientID


async def _store(port: int, command: Command, data: bytes) -> list[int]:
    """Be an SCU: echo and store, then release. Returns the statuses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection, assembler, statuses = Connection(Role.REQUESTOR), Assembler(), []
    contexts = (ProposedContext(1, VERIFICATION, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT,)))
    connection.associate(AssociateRequest("ANY-SCP", "TEST", contexts, UserInformation(**IDENTITY)))
    while not connection.should_close:
        writer.writelines(connection.data_to_send())
        received = await asyncio.wait_for(reader.read(65536), 30)
        events = connection.receive_data(memoryview(received)) if received else connection.receive_eof()
        for event in events:
            if isinstance(event, ev.AssociateAccepted):
                connection.send_message(1, m.c_echo_rq(1).encode())
                connection.send_message(3, command.encode(), [data[:1001], data[1001:]])
            elif isinstance(event, ev.Pdv):
                statuses += [
                    r.command.status for r in assembler.feed(event) if isinstance(r, CommandReceived)
                ]
                if len(statuses) == 2 and connection.state is State.STA6:
                    connection.request_release()
            else:
                assert isinstance(event, ev.Released)
    writer.close()
    return statuses


async def _to_storescp(folder: Path, command: Command, data: bytes) -> list[int]:
    # Port 0 is not possible with storescp: one that is free now is taken.
    placeholder = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = placeholder.sockets[0].getsockname()[1]
    placeholder.close()
    await placeholder.wait_closed()
    process = await asyncio.create_subprocess_exec("storescp", "-od", str(folder), "+B", str(port))
    try:
        for _ in range(200):
            try:
                return await _store(port, command, data)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
        raise AssertionError("storescp did not start")
    finally:
        process.terminate()
        await process.wait()


def test_storescp(tmp_path: Path):
    path = get_testdata_file("CT_small.dcm")
    original = pydicom.dcmread(path)
    whole = Path(path).read_bytes()
    # The data set follows preamble, "DICM", the group length element (12 bytes) and what that counts.
    data = whole[132 + 12 + original.file_meta[0x00020000].value :]
    command = m.c_store_rq(2, original.SOPClassUID, original.SOPInstanceUID)
    assert asyncio.run(_to_storescp(tmp_path, command, data)) == [0, 0]
    (stored,) = tmp_path.iterdir()
    assert pydicom.dcmread(stored).PixelData == original.PixelData
    assert stored.read_bytes().endswith(data)
