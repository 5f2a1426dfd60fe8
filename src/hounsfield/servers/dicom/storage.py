"""C-STORE (PS3.4 Annex B): the data set goes from the receive buffer into the one store path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hounsfield.domain.admit import may
from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.domain.identify import CANNOT_UNDERSTAND
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.stored import Origin, QuarantineReason
from hounsfield.net.association import Association, Context, Passing, Sink
from hounsfield.net.object_sink import ObjectSink, StoreResult
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import c_store_rsp
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Requests


def store_sink(requests: Requests, association: Association, context: Context, command: Command) -> Sink:
    """Where the data set of a C-STORE-RQ goes: into the store, or past it with a refusal."""
    session, server = requests.session, requests.server
    refusal = _refusal(requests, context, command)
    if refusal is not None:
        return refused_store(requests, association, context, command, *refusal)
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

    def answer(result: StoreResult | BaseException) -> None:
        if isinstance(result, BaseException):
            status, reason = _trouble(requests, result)
        else:
            status, reason = result.status, result.reason
        if status:
            note_refused(requests, command, status, reason)
        else:
            requests.objects += 1
            requests.bytes += receiver.length
            reason = ""
        association.send(context.id, c_store_rsp(command, status, reason))
        requests.done()

    return ObjectSink(
        association, receiver, answer, requests.done, session.touch, lambda: server.is_alone(session)
    )


def refused_store(
    requests: Requests, association: Association, context: Context, command: Command, status: int, reason: str
) -> Sink:
    """Lets the object pass, then answers why it is not taken."""
    note_refused(requests, command, status, reason)

    def answer() -> None:
        association.send(context.id, c_store_rsp(command, status, reason))
        requests.done()

    return Passing(answer, requests.done)


def _trouble(requests: Requests, error: BaseException) -> tuple[int, str]:
    if isinstance(error, HounsfieldError):
        return OUT_OF_RESOURCES, error.what
    requests.server.trouble("an object could not be stored", error)
    return OUT_OF_RESOURCES, f"the archive cannot store now: {type(error).__name__}"


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
