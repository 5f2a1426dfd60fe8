"""C-STORE (PS3.4 Annex B): the data set goes from the receive buffer into the one store path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from hounsfield.domain.admit import may
from hounsfield.domain.events import Event
from hounsfield.domain.identify import CANNOT_UNDERSTAND
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.stored import Origin, QuarantineReason
from hounsfield.net.association import Association, Context, Sink
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.store import Receiver, Result
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import c_store_rsp
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Requests


class Drain:
    """Lets a data set pass, then answers with what `response` gives."""

    __slots__ = ("_association", "_context", "_requests", "_response")

    def __init__(
        self, requests: Requests, response: Callable[[], Command], association: Association, context: Context
    ) -> None:
        self._requests = requests
        self._response = response
        self._association = association
        self._context = context

    def write(self, piece: memoryview) -> None:
        pass

    def end(self) -> None:
        self._association.send(self._context.id, self._response())
        self._requests.done()

    def cut(self) -> None:
        self._requests.done()


class StoreSink:
    """One object on its way into the store, and its answer."""

    __slots__ = ("_association", "_command", "_context", "_loop", "_receiver", "_requests")

    def __init__(
        self,
        requests: Requests,
        association: Association,
        context: Context,
        command: Command,
        receiver: Receiver,
    ) -> None:
        self._requests = requests
        self._association = association
        self._context = context
        self._command = command
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()

    def write(self, piece: memoryview) -> None:
        link = self._association.link
        if not self._receiver.write(piece, self._resume):
            link.hold()

    def _resume(self) -> None:
        self._loop.call_soon_threadsafe(self._association.link.let_go)

    def end(self) -> None:
        self._receiver.finish().add_done_callback(self._finished)

    def cut(self) -> None:
        self._receiver.abandon()
        self._requests.done()

    def _finished(self, future: Future[Result]) -> None:
        self._loop.call_soon_threadsafe(self._answer, future)

    def _answer(self, future: Future[Result]) -> None:
        requests, command = self._requests, self._command
        error = future.exception()
        if error is not None:
            requests.server.trouble("an object could not be stored", error)
            status, reason = OUT_OF_RESOURCES, f"the archive cannot store now: {type(error).__name__}"
        else:
            result = future.result()
            status, reason = result.status, result.reason
        if status:
            note_refused(requests, command, status, reason)
        else:
            requests.objects += 1
            requests.bytes += self._receiver.length
            reason = ""
        self._association.send(self._context.id, c_store_rsp(command, status, reason))
        requests.done()


def store_sink(requests: Requests, association: Association, context: Context, command: Command) -> Sink:
    """Where the data set of a C-STORE-RQ goes: into the store, or past it with a refusal."""
    session, server = requests.session, requests.server
    refusal = _refusal(requests, context, command)
    if refusal is not None:
        status, reason = refusal
        note_refused(requests, command, status, reason)
        return Drain(requests, lambda: c_store_rsp(command, status, reason), association, context)
    device = session.device
    origin = Origin(
        "dimse",
        device.name if device else session.calling,
        session.id,
        association.link.peer_address,
    )
    receiver = server.store.begin(
        command.affected_sop_class_uid,
        command.affected_sop_instance_uid,
        context.transfer_syntax,
        origin,
        character_set=device.character_set if device else "",
        quarantine=QuarantineReason.UNKNOWN_DEVICE if session.quarantine else "",
    )
    return StoreSink(requests, association, context, command, receiver)


def _refusal(requests: Requests, context: Context, command: Command) -> tuple[int, str] | None:
    if not command.has_data_set:
        return CANNOT_UNDERSTAND, "C-STORE without a data set"
    if command.affected_sop_class_uid != context.abstract_syntax:
        return (
            Status.SOP_CLASS_NOT_SUPPORTED,
            "Affected SOP Class UID is not that of the presentation context",
        )
    if not is_tolerated_uid(command.affected_sop_instance_uid):
        return Status.INVALID_SOP_INSTANCE, "Affected SOP Instance UID is not a UID"
    if not may(requests.session.device, "store"):
        return Status.NOT_AUTHORIZED, "this device may not store"
    return None


def note_refused(requests: Requests, command: Command, status: int, reason: str) -> None:
    """Write down that an object was refused."""
    session, server = requests.session, requests.server
    payload = {
        "sop": command.affected_sop_instance_uid[:128],
        "sop_class": command.affected_sop_class_uid[:128],
        "status": f"{status:04X}",
        "why": reason,
        "source": "dimse",
    }
    server.note(
        Event(
            "instance.refused",
            server.clock.now(),
            session.subjects(),
            f"device:{session.calling}",
            payload=payload,
        )
    )
