"""C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): sub-operations, their counts, and the final answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hounsfield.domain.device import Device
from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.domain.study import StoredInstance
from hounsfield.net.storing import AssociationChannel
from hounsfield.ports.peers import SendResult, SubOperations
from hounsfield.servers.dicom.identifiers import retrieve_identifier, write_data_set
from hounsfield.servers.dicom.negotiation import RETRIEVE_MODELS
from hounsfield.services.retrieve import Plan, RetrieveRefusedError, plan
from hounsfield.services.sending import send_all
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dimse.messages import retrieve_rsp
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Operation

#: Pending answers are sent at most this often: a peer that wants to draw a bar needs no more.
PENDING_SECONDS = 0.25
#: Failed SOP Instance UID List (0008,0058) is UI: in explicit VR its length has 16 bits.
MOST_OF_FAILED_UIDS = 0xFFFE


class _Run:
    """One C-MOVE or C-GET under way."""

    def __init__(self, operation: Operation, verb: str, destination: str) -> None:
        self.operation = operation
        self.verb = verb
        self.destination = destination
        self.counts = SubOperations()
        self.bytes = 0
        self.level = ""
        self.study = ""
        self.began = operation.server.clock.monotonic()
        self._last_pending = self.began
        self._noted = False

    def took(self, result: SendResult) -> None:
        """One sub-operation ended."""
        counts = self.counts
        counts.remaining -= 1
        self.bytes += result.sent_bytes
        if result.status == 0:
            counts.completed += 1
        elif result.status & 0xF000 == 0xB000 or result.status in (0x0001, 0x0107, 0x0116):
            counts.warning += 1
        else:
            counts.failed += 1
            counts.failures.append(result)
        now = self.operation.server.clock.monotonic()
        self.operation.session.touch()
        if now - self._last_pending >= PENDING_SECONDS and counts.remaining > 0:
            self._last_pending = now
            self.answer(Status.PENDING)

    def answer(self, status: int, comment: str = "") -> None:
        """A pending or final C-MOVE-RSP or C-GET-RSP (PS3.7 9.3.3.2, 9.3.4.2)."""
        operation, counts = self.operation, self.counts
        pending = status == Status.PENDING
        final_with_remaining = status == Status.CANCEL
        data = None
        if counts.failures and not pending:
            uids = failed_uids([f.sop_instance_uid for f in counts.failures])
            data = write_data_set(operation, [(0x00080058, "UI", uids)])
        operation.send(
            retrieve_rsp(
                operation.command,
                status,
                remaining=counts.remaining if pending or final_with_remaining else None,
                completed=counts.completed,
                failed=counts.failed,
                warning=counts.warning,
                comment=comment,
                has_data_set=data is not None,
            ),
            data,
        )

    def refuse(self, status: int, comment: str) -> None:
        self._noted = True  # as a refusal: there was no retrieve
        self.operation.refused(self.operation.command, status, comment)
        self.operation.send(retrieve_rsp(self.operation.command, status, comment=comment))

    def finish(self) -> None:
        """The final answer, by what became of the sub-operations."""
        counts = self.counts
        if self.operation.cancelled and counts.remaining:
            status, comment = Status.CANCEL, ""
        elif counts.failed and not counts.completed and not counts.warning:
            status, comment = Status.OUT_OF_RESOURCES_SUBOPERATIONS, counts.failures[0].reason
        elif counts.failed or counts.warning:
            reason = counts.failures[0].reason if counts.failures else ""
            status, comment = Status.SUBOPERATIONS_WITH_FAILURES, reason
        else:
            status, comment = Status.SUCCESS, ""
        self.answer(status, comment)
        self.note(status)

    def note(self, status: int) -> None:
        """Once: how it ended, for the ledger."""
        if self._noted:
            return
        self._noted = True
        operation, counts = self.operation, self.counts
        server = operation.server
        payload: dict[str, object] = {
            "verb": self.verb,
            "level": self.level,
            "destination": self.destination,
            "completed": counts.completed,
            "failed": counts.failed,
            "warning": counts.warning,
            "remaining": counts.remaining,
            "failures": [[f.sop_instance_uid, f.reason] for f in counts.failures[:1000]],
            "status": f"{status:04X}",
            "seconds": round(server.clock.monotonic() - self.began, 3),
            "bytes": self.bytes,
        }
        subjects = operation.session.subjects(study=self.study)
        server.note(
            Event(
                "retrieve.ended",
                server.clock.now(),
                subjects,
                f"device:{operation.session.calling}",
                payload=payload,
            )
        )


async def _planned(run: _Run, data: bytes) -> Plan | None:
    """The objects asked for; None after a refusal was sent."""
    operation = run.operation
    model = RETRIEVE_MODELS.get(operation.command.affected_sop_class_uid, "")
    if not model or operation.command.affected_sop_class_uid != operation.context.abstract_syntax:
        run.refuse(Status.SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not that of the context")
        return None
    try:
        identifier = retrieve_identifier(operation, data)
        relational = operation.session.relational(operation.context.abstract_syntax)
        found = await operation.server.beside_loop(
            lambda: plan(operation.server.database, identifier, model=model, relational=relational)
        )
    except MalformedError as error:
        run.refuse(0xC000, f"the identifier cannot be read: {error}")
        return None
    except RetrieveRefusedError as error:
        run.refuse(error.status, error.comment)
        return None
    run.level = identifier.get("QueryRetrieveLevel", "")
    run.counts.remaining = len(found.instances)
    if found.instances:
        run.study = found.instances[0].study_instance_uid
    return found


async def get(operation: Operation, data: bytes) -> None:
    """C-GET: the objects come back on this association."""
    run = _Run(operation, "get", "")
    found = await _planned(run, data)
    if found is None:
        return
    try:
        await send_all(
            AssociationChannel(operation.association, operation.server.settings.answer_seconds),
            deque(found.instances),
            operation.server.data_sets,
            operation.server.transcoder,
            run.took,
            cancelled=lambda: operation.cancelled,
        )
        run.finish()
    finally:  # where the association ended before, the ledger tells how far it came
        run.note(Status.CANCEL)


async def move(operation: Operation, data: bytes) -> None:
    """C-MOVE: the objects go to the destination over associations of our own."""
    server = operation.server
    destination = operation.command.move_destination.strip()
    run = _Run(operation, "move", destination)
    device = await server.beside_loop(server.devices.destination, destination)
    if device is None:
        why = await server.beside_loop(server.devices.why_no_destination, destination)
        run.refuse(Status.MOVE_DESTINATION_UNKNOWN, why)
        return
    found = await _planned(run, data)
    if found is None:
        return
    try:
        await _send_to(run, device, found.instances)
        run.finish()
    finally:  # where the association ended before, the ledger tells how far it came
        run.note(Status.CANCEL)


async def _send_to(run: _Run, device: Device, instances: list[StoredInstance]) -> None:
    operation = run.operation
    told: set[str] = set()

    def took(result: SendResult) -> None:
        told.add(result.sop_instance_uid)
        run.took(result)

    try:
        await operation.server.peers.send(
            device,
            instances,
            took,
            cancelled=lambda: operation.cancelled,
            originator=(operation.session.calling, operation.command.message_id),
        )
    except (HounsfieldError, ConnectionError) as error:
        why = error.what if isinstance(error, HounsfieldError) else str(error)
        if operation.cancelled:
            return
        for instance in instances:
            if instance.sop_instance_uid not in told:
                run.took(SendResult(instance.sop_instance_uid, 0xA702, why))


def failed_uids(uids: Sequence[str]) -> bytes:
    """As many of them as the element can hold."""
    joined = "\\".join(uids).encode("ascii")
    if len(joined) <= MOST_OF_FAILED_UIDS:
        return joined
    return joined[: joined.rindex(b"\\", 0, MOST_OF_FAILED_UIDS + 1)]
