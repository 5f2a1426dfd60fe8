"""What each DIMSE request of a peer becomes: one call of a service, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from hounsfield.domain.admit import may
from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.net.association import MAX_SMALL_DATA_SET, Association, Context, Passing, Sink, SmallSink
from hounsfield.servers.dicom import commitment, commitment_answers, query, retrieval
from hounsfield.servers.dicom.storage import store_sink
from hounsfield.wire.dimse import fields, messages
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.server import DicomServer
    from hounsfield.servers.dicom.session import Session

#: Operations of one association that run at the same time; we answer 1/1 to asynchronous operations, so
#: a peer that has more under way does not keep to it.
MOST_OPERATIONS = 8
#: Largest identifier. A list of UIDs may be long; in explicit VR it ends at 64 KiB anyway.
MOST_OF_IDENTIFIER = 1024 * 1024

Handler = Callable[["Operation", bytes], Coroutine[object, object, None]]


class Operation:
    """One request that takes its time: it can be cancelled, and answers through its association."""

    __slots__ = ("_answered", "association", "cancelled", "command", "context", "server", "session")

    def __init__(
        self, session: Session, association: Association, context: Context, command: Command
    ) -> None:
        self.server = session.server
        self.session = session
        self.association = association
        self.context = context
        self.command = command
        self.cancelled = False
        self._answered = False

    def answered(self) -> None:
        """The peer has its answer: what is still done on the association keeps no release waiting.
        Idempotent."""
        if not self._answered and self.session.requests is not None:
            self._answered = True
            self.session.requests.done()

    def send(self, command: Command, data: bytes | None = None) -> None:
        self.association.send(self.context.id, command, data)

    def refused(self, command: Command, status: int, comment: str) -> None:
        """Write down that the request was answered with a failure."""
        if self.session.requests is not None:
            self.session.requests.refused(command, status, comment)

    @property
    def explicit(self) -> bool:
        return self.context.transfer_syntax != "1.2.840.10008.1.2"

    @property
    def character_set(self) -> str:
        """The asking device's character set, '' where none is written down."""
        return self.session.device.character_set if self.session.device else ""


class Requests:
    """The responder of one association."""

    def __init__(self, server: DicomServer, session: Session) -> None:
        self.server = server
        self.session = session
        self.outstanding = 0
        self.objects = 0
        self.bytes = 0
        self._operations: dict[int, Operation] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # The association's calls ---------------------------------------------------------------------------

    def request(self, association: Association, context: Context, command: Command) -> Sink:
        self.outstanding += 1
        self.server.outstanding += 1
        field = command.field
        if field == fields.C_STORE_RQ:
            return store_sink(self, association, context, command)
        if field == fields.C_ECHO_RQ:
            return self._passing(association, context, messages.c_echo_rsp(command))
        found = _HANDLERS.get(field)
        if found is None:
            return self._refuse(
                association, context, command, Status.UNRECOGNIZED_OPERATION, "not offered here"
            )
        role, handler = found
        if role and not may(self.session.device, role):
            why = f"this device may not {role}"
            return self._refuse(association, context, command, Status.NOT_AUTHORIZED, why)
        if role and self.session.quarantine:
            why = "this device waits to be admitted"
            return self._refuse(association, context, command, Status.NOT_AUTHORIZED, why)
        if len(self._operations) >= MOST_OPERATIONS or command.message_id in self._operations:
            association.abort("more operations at once than were negotiated")
            return self._passing(association, context, messages.respond(command, Status.DUPLICATE_INVOCATION))
        operation = Operation(self.session, association, context, command)
        self._operations[command.message_id] = operation
        most = MAX_SMALL_DATA_SET if field in _LONG_LISTS else MOST_OF_IDENTIFIER
        return SmallSink(
            association,
            lambda data: self._start(operation, handler, data),
            most=most,
            cut_off=lambda: self._over(operation),
        )

    def cancel(self, association: Association, message_id: int) -> None:
        operation = self._operations.get(message_id)
        if operation is not None:
            operation.cancelled = True

    # Their end -----------------------------------------------------------------------------------------

    def done(self) -> None:
        """One request was answered."""
        self.outstanding -= 1
        self.server.outstanding -= 1
        self.session.touch()
        self.session.maybe_release()

    def close(self) -> None:
        """The association ended: operations under way stop."""
        for operation in self._operations.values():
            operation.cancelled = True
        for task in self._tasks:
            task.cancel()

    def _start(self, operation: Operation, handler: Handler, data: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._run(operation, handler, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, operation: Operation, handler: Handler, data: bytes) -> None:
        try:
            # What was acknowledged can be found: the answer waits for the index to have caught up.
            behind = self.server.store.rounds.barrier()
            if behind is not None:
                await asyncio.wrap_future(behind)
            await handler(operation, data)
        except ConnectionError:
            pass  # the association ended; its end is in the ledger
        except Exception as error:
            self.server.trouble(f"request {operation.command.field:04X}H failed", error)
            comment = error.what if isinstance(error, HounsfieldError) else f"error: {type(error).__name__}"
            self.refused(operation.command, Status.PROCESSING_FAILURE, comment)
            operation.send(messages.respond(operation.command, Status.PROCESSING_FAILURE, comment))
        finally:
            self._over(operation)

    def _over(self, operation: Operation) -> None:
        self._operations.pop(operation.command.message_id, None)
        operation.answered()

    def _refuse(
        self, association: Association, context: Context, command: Command, status: int, why: str
    ) -> Sink:
        self.refused(command, status, why)
        return self._passing(association, context, messages.respond(command, status, why))

    def _passing(self, association: Association, context: Context, answer: Command) -> Sink:
        """Lets a data set pass, if there is one, then answers."""

        def done() -> None:
            association.send(context.id, answer)
            self.done()

        return Passing(done, self.done)

    def refused(self, command: Command, status: int, comment: str) -> None:
        """Write down that a request was answered with a failure."""
        payload = {"command": f"{command.field:04X}", "status": f"{status:04X}", "comment": comment}
        self.server.note(
            Event(
                "message.refused",
                self.server.clock.now(),
                self.session.subjects(),
                f"device:{self.session.calling}",
                payload=payload,
            )
        )


#: Requests that name up to `services.commitment.MOST_OBJECTS` objects.
_LONG_LISTS = frozenset({fields.N_ACTION_RQ, fields.N_EVENT_REPORT_RQ})
#: What a device must be allowed for a request; '' where it answers what we asked of it.
_HANDLERS: dict[int, tuple[str, Handler]] = {
    fields.C_FIND_RQ: ("query", query.answer),
    fields.C_MOVE_RQ: ("retrieve", retrieval.move),
    fields.C_GET_RQ: ("retrieve", retrieval.get),
    fields.N_ACTION_RQ: ("commit", commitment.answer),
    fields.N_EVENT_REPORT_RQ: ("", commitment_answers.answer),
}
