"""Storage commitment, push model, as SCU (PS3.4 J.3.3): a peer reports, on an association of its own, what
became of our request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hounsfield.domain.errors import NotFoundError
from hounsfield.services import commitment_scu
from hounsfield.services.commitment_report import ReportRefusedError, check_report, read_report
from hounsfield.wire.dimse import messages
from hounsfield.wire.dimse.status import Status

if TYPE_CHECKING:
    from hounsfield.servers.dicom.requests import Operation


async def answer(operation: Operation, data: bytes) -> None:
    """N-EVENT-REPORT-RQ. Success is answered once the report is in the ledger, durable."""
    try:
        check_report(operation.command, operation.context.abstract_syntax)
        await operation.server.beside_loop(_take, operation, data)
    except ReportRefusedError as error:
        operation.refused(operation.command, error.status, error.comment)
        operation.send(messages.n_event_report_rsp(operation.command, error.status, error.comment))
        return
    operation.send(messages.n_event_report_rsp(operation.command, Status.SUCCESS))


def _take(operation: Operation, data: bytes) -> None:
    server, session = operation.server, operation.session
    transaction, report = read_report(data, explicit=operation.explicit)
    names = dict.fromkeys((session.subjects().device, session.calling))
    try:
        asked = commitment_scu.find_asked(server.database, transaction, tuple(names))
    except NotFoundError as error:
        # Not one of the codes for an unknown SOP class or instance: those we know (PS3.7 10.1.1.1.8).
        raise ReportRefusedError(Status.INVALID_ARGUMENT_VALUE, error.what) from error
    commitment_scu.take(server.database, server.clock, asked, report, over="new", association=session.id)
