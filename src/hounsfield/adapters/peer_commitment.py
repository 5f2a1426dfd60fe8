"""The N-EVENT-REPORT that answers our own request for storage commitment, on the association of the
request (PS3.4 J.3.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hounsfield.net.association import Association, Context, Passing, Sink, SmallSink
from hounsfield.ports.peers import CommitmentAnswer
from hounsfield.services.commitment_report import ReportRefusedError, check_report, read_report
from hounsfield.wire.dicomfile.transfer_syntaxes import IMPLICIT_LE
from hounsfield.wire.dimse import fields
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import n_event_report_rsp, respond
from hounsfield.wire.dimse.status import Status


class IncomingReport:
    """The responder of an association on which one transaction was asked for. The report may come before
    the N-ACTION has its response."""

    def __init__(self, transaction_uid: str, take: Callable[[CommitmentAnswer], None]) -> None:
        self.transaction_uid = transaction_uid
        self.take = take
        self._came = asyncio.Event()
        self._taking: asyncio.Task[CommitmentAnswer] | None = None

    def request(self, association: Association, context: Context, command: Command) -> Sink:
        if command.field != fields.N_EVENT_REPORT_RQ:
            answer = respond(command, Status.UNRECOGNIZED_OPERATION, "not offered here")
            return Passing(lambda: association.send(context.id, answer))
        return SmallSink(association, lambda data: self._report(association, context, command, data))

    def cancel(self, association: Association, message_id: int) -> None:
        pass

    async def wait(
        self, association: Association, seconds: float, elsewhere: asyncio.Event | None = None
    ) -> CommitmentAnswer | None:
        """The report, once it was taken and the peer told so; None where none began within `seconds` or
        before `elsewhere` was set, or the association ended without. Raises what `take` raised."""
        events = [self._came, association.over, *([elsewhere] if elsewhere is not None else [])]
        waiting = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return await self._taking if self._taking is not None else None

    def _report(self, association: Association, context: Context, command: Command, data: bytes) -> None:
        try:
            check_report(command, context.abstract_syntax)
            transaction, answer = read_report(data, explicit=context.transfer_syntax != IMPLICIT_LE)
            if transaction != self.transaction_uid:
                raise ReportRefusedError(Status.INVALID_ARGUMENT_VALUE, "not the transaction asked for here")
            if self._taking is not None:
                raise ReportRefusedError(Status.DUPLICATE_INVOCATION, "this transaction has its report")
        except ReportRefusedError as error:
            association.send(context.id, n_event_report_rsp(command, error.status, error.comment))
            return
        self._taking = asyncio.create_task(self._take(association, context, command, answer))
        self._came.set()

    async def _take(
        self, association: Association, context: Context, command: Command, answer: CommitmentAnswer
    ) -> CommitmentAnswer:
        try:
            await asyncio.to_thread(self.take, answer)
        except Exception:
            comment = "the report could not be written down"
            association.send(context.id, n_event_report_rsp(command, Status.PROCESSING_FAILURE, comment))
            raise
        association.send(context.id, n_event_report_rsp(command, Status.SUCCESS))
        return answer
