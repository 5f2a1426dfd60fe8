"""Storage commitment, push model, as SCP (PS3.4 J.3): N-ACTION in, N-EVENT-REPORT on this association
where it stays open; the job of `services.commitment` delivers otherwise."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hounsfield.domain.errors import HounsfieldError
from hounsfield.net.association import MAX_SMALL_DATA_SET
from hounsfield.servers.dicom.identifiers import read_data_set, write_data_set
from hounsfield.services import commitment
from hounsfield.services.commitment_report import (
    REFERENCED_SOP_CLASS,
    REFERENCED_SOP_INSTANCE,
    REFERENCED_SOP_SEQUENCE,
    TRANSACTION_UID,
    commitment_items,
    items_of,
    uid_of,
)
from hounsfield.wire.dicomfile.elements import Element, Limits
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.sop_classes import STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE
from hounsfield.wire.dimse import messages
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Operation

#: An item and two elements for each object.
LIMITS = Limits(max_elements=3 * commitment.MOST_OBJECTS + 100, max_bytes=MAX_SMALL_DATA_SET)
#: Time for the peer to take the report here: less than the job waits before it opens an association.
REPORT_SECONDS = commitment.GRACE_SECONDS / 2
#: Between our answer to the N-ACTION and the report.
PAUSE_SECONDS = 0.5


async def answer(operation: Operation, data: bytes) -> None:
    """N-ACTION-RQ of the Storage Commitment Push Model SOP class, Action Type 1."""
    command = operation.command
    if operation.context.abstract_syntax != STORAGE_COMMITMENT_PUSH:
        _refuse(operation, Status.SOP_CLASS_NOT_SUPPORTED, "N-ACTION is for storage commitment alone")
        return
    if command.requested_sop_instance_uid != STORAGE_COMMITMENT_PUSH_INSTANCE:
        _refuse(operation, Status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance")
        return
    if command.action_type != 1:
        _refuse(operation, Status.NO_SUCH_ACTION_TYPE, f"action type {command.action_type} is not known")
        return
    server, session = operation.server, operation.session
    try:
        elements = await server.beside_loop(lambda: read_data_set(operation, data, LIMITS))
    except MalformedError as error:
        _refuse(operation, Status.PROCESSING_FAILURE, f"the action information cannot be read: {error}")
        return
    transaction = uid_of(elements, TRANSACTION_UID)
    pairs = _pairs(elements)
    try:
        await server.beside_loop(
            lambda: commitment.request(
                server.database,
                server.clock,
                transaction,
                pairs,
                device=session.subjects().device,
                ae_title=session.calling,
                association=session.id,
            )
        )
    except HounsfieldError as error:
        _refuse(operation, Status.INVALID_ARGUMENT_VALUE, error.what)
        return
    operation.send(messages.n_action_rsp(command, Status.SUCCESS))
    operation.answered()
    server.finish("a commitment report could not be sent", _report_here(operation, transaction, pairs))


async def _report_here(operation: Operation, transaction: str, pairs: list[tuple[str, str]]) -> None:
    """Deliver on the same association (PS3.4 J.3.3). Where it fails, the job tries a new one."""
    server, session, association = operation.server, operation.session, operation.association
    decision = await server.beside_loop(
        lambda: commitment.decide(server.database, server.blobs, server.clock, pairs)
    )
    # A peer that does not wait for the report releases at once; one that is in the middle of that need not
    # cope with a request of ours.
    await asyncio.sleep(PAUSE_SECONDS)
    if not association.open or session.release_waits:
        return
    message_id = association.new_message_id()
    answers = association.expect(message_id)
    try:
        association.send(
            operation.context.id,
            messages.n_event_report_rq(
                message_id,
                STORAGE_COMMITMENT_PUSH,
                STORAGE_COMMITMENT_PUSH_INSTANCE,
                event_type=2 if decision.failed else 1,
            ),
            write_data_set(operation, commitment_items(transaction, decision.committed, decision.failed)),
        )
        response = await answers.next(min(server.settings.answer_seconds, REPORT_SECONDS))
    except (ConnectionError, TimeoutError):
        return  # the job delivers it on a new association
    finally:
        association.forget(message_id)
    if response.command.status == Status.SUCCESS:
        await server.beside_loop(
            lambda: commitment.delivered(
                server.database,
                server.clock,
                transaction,
                decision,
                device=session.subjects().device,
                association=session.id,
            )
        )


def _pairs(elements: dict[int, Element]) -> list[tuple[str, str]]:
    return [
        (uid_of(item, REFERENCED_SOP_CLASS), uid_of(item, REFERENCED_SOP_INSTANCE))
        for item in items_of(elements, REFERENCED_SOP_SEQUENCE)
    ]


def _refuse(operation: Operation, status: int, comment: str) -> None:
    operation.refused(operation.command, status, comment)
    operation.send(messages.n_action_rsp(operation.command, status, comment))
