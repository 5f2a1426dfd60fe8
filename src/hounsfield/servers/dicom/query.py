"""C-FIND (PS3.4 C.4.1): matches are read in batches beside the loop and sent as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.servers.dicom.identifiers import read_data_set
from hounsfield.servers.dicom.negotiation import FIND_MODELS
from hounsfield.services.find import FindRequest, IdentifierRefusedError, Plan, understand
from hounsfield.wire.dicomfile.elements import encode
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dimse.messages import c_find_rsp
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Operation

#: Matches read and sent at once: small, so that a C-CANCEL is soon heard.
BATCH = 50


async def answer(operation: Operation, data: bytes) -> None:
    """C-FIND-RQ of the Query/Retrieve models."""
    server, command = operation.server, operation.command
    began = server.clock.monotonic()
    model = FIND_MODELS.get(operation.context.abstract_syntax, "")
    if not model or command.affected_sop_class_uid != operation.context.abstract_syntax:
        _refuse(
            operation, Status.SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not that of the context"
        )
        return
    agreed = operation.session.extended(operation.context.abstract_syntax)
    try:
        request = FindRequest(
            model,
            read_data_set(operation, data),
            relational=agreed[0:1] == b"\x01",
            combined_date_time=agreed[1:2] == b"\x01",
            fuzzy=agreed[2:3] == b"\x01",
            timezone_adjustment=agreed[3:4] == b"\x01",
            character_set=operation.character_set,
            timezone=server.timezone,
        )
        plan = understand(request, server.settings.ae_title)
    except MalformedError as error:
        _refuse(operation, Status.UNABLE_TO_PROCESS, f"the identifier cannot be read: {error}")
        return
    except IdentifierRefusedError as error:
        _refuse(operation, error.status, error.what, (error.offending,))
        return
    sent = 0

    def count(matches: int) -> None:
        nonlocal sent
        sent += matches

    status = int(Status.CANCEL)  # also what the ledger tells of an association that ended before
    try:
        await _send_matches(operation, plan, count)
        if not operation.cancelled:
            status = Status.SUCCESS
        operation.send(c_find_rsp(command, status))
    except HounsfieldError as error:
        status = Status.OUT_OF_RESOURCES
        _refuse(operation, status, error.what)
    finally:
        _note(operation, plan, model, sent, status, server.clock.monotonic() - began)


async def _send_matches(operation: Operation, plan: Plan, count: Callable[[int], None]) -> None:
    """Send every match, until the peer cancels. Raises ConnectionError, HounsfieldError."""
    server, explicit = operation.server, operation.explicit
    loop = asyncio.get_running_loop()
    pending = c_find_rsp(operation.command, plan.pending, has_data_set=True)

    async def send(batch: list[bytes]) -> bool:
        for identifier in batch:
            operation.send(pending, identifier)
        count(len(batch))
        await operation.association.link.drained()
        operation.session.touch()
        return not operation.cancelled

    def read() -> list[bytes]:
        """On a thread: hand over full batches, wait until each is sent; the last one is returned."""
        with server.database.read() as tx:
            answers = plan.answers(tx.index)
            while True:
                batch = [encode(items, explicit=explicit) for items in islice(answers, BATCH)]
                if len(batch) < BATCH:
                    return batch
                if not asyncio.run_coroutine_threadsafe(send(batch), loop).result():
                    return []

    await send(await server.beside_loop_for_long(operation.session.slot.device, read))


def _refuse(operation: Operation, status: int, comment: str, offending: tuple[int, ...] = ()) -> None:
    operation.refused(operation.command, status, comment)
    operation.send(c_find_rsp(operation.command, status, comment, offending=offending))


def _note(operation: Operation, plan: Plan, model: str, matches: int, status: int, seconds: float) -> None:
    payload: dict[str, object] = {
        "model": model,
        "level": plan.query.level.name,
        "keys": plan.matched,
        "matches": matches,
        "status": f"{status:04X}",
        "milliseconds": round(seconds * 1000, 1),
    }
    server = operation.server
    server.note(
        Event(
            "query.answered",
            server.clock.now(),
            operation.session.subjects(),
            f"device:{operation.session.calling}",
            payload=payload,
        )
    )
