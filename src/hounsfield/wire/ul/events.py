"""What `Connection` reports to the driver, in the order in which it happened."""

from __future__ import annotations

from hounsfield.wire.ul.pdu import AssociateAccept, AssociateReject, AssociateRequest
from hounsfield.wire.ul.reasons import AbortReason, describe_abort


class Pdv:
    """A piece of one presentation data value (PS3.8 9.3.5.1), as it arrived.

    `data` is a view into what was given to `receive_data`; copy it before the next receive. A PDV that is not
    there as a whole comes in several pieces; `is_last` is true only on the final piece of the last fragment
    of a command or data set. Pieces may be empty.
    """

    __slots__ = ("context_id", "data", "is_command", "is_last")

    def __init__(self, context_id: int, is_command: bool, is_last: bool, data: memoryview) -> None:
        self.context_id = context_id
        self.is_command = is_command
        self.is_last = is_last
        self.data = data

    def __repr__(self) -> str:
        what = "command" if self.is_command else "data"
        return f"Pdv({self.context_id}, {what}, last={self.is_last}, {len(self.data)} bytes)"


class AssociateRequested:
    """A-ASSOCIATE indication (acceptor): answer with `accept`, `reject` or `abort`."""

    __slots__ = ("request",)

    def __init__(self, request: AssociateRequest) -> None:
        self.request = request


class AssociateAccepted:
    """A-ASSOCIATE confirmation (requestor): data may be sent."""

    __slots__ = ("accept",)

    def __init__(self, accept: AssociateAccept) -> None:
        self.accept = accept


class AssociateRejected:
    """A-ASSOCIATE confirmation, rejected (requestor): the connection is to be closed."""

    __slots__ = ("reject",)

    def __init__(self, reject: AssociateReject) -> None:
        self.reject = reject


class ReleaseRequested:
    """A-RELEASE indication: answer with `accept_release` once everything is sent.

    `collision`: both sides asked at once. It is then reported at the moment an answer is due, which for the
    acceptor is after the peer's answer (PS3.8 7.2.4).
    """

    __slots__ = ("collision",)

    def __init__(self, collision: bool = False) -> None:
        self.collision = collision


class Released:
    """A-RELEASE confirmation: the connection is to be closed."""

    __slots__ = ()


class Aborted:
    """A-ABORT or A-P-ABORT indication: the peer sent A-ABORT; numbers as in `reasons`."""

    __slots__ = ("reason", "source")

    def __init__(self, source: int, reason: int) -> None:
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return describe_abort(self.source, self.reason)


class ConnectionLost:
    """A-P-ABORT indication: the transport connection ended without release or abort."""

    __slots__ = ()


class ProtocolError:
    """A-P-ABORT indication: the peer broke the protocol, and is being told so.

    (By A-ABORT, or by A-ASSOCIATE-RJ for a protocol version that is not supported.) `text` is a sentence for
    ledger and log, without data of a patient.
    """

    __slots__ = ("reason", "text")

    def __init__(self, text: str, reason: AbortReason = AbortReason.NOT_SPECIFIED) -> None:
        self.text = text
        self.reason = reason

    def __str__(self) -> str:
        return self.text


Event = (
    Pdv
    | AssociateRequested
    | AssociateAccepted
    | AssociateRejected
    | ReleaseRequested
    | Released
    | Aborted
    | ConnectionLost
    | ProtocolError
)
