"""One side of one DICOM Upper Layer connection, sans-IO (PS3.8).

The driver gives bytes to `receive_data`, tells `receive_eof` and `timer_expired`, writes what `data_to_send`
hands out after every call, keeps the ARTIM timer running while `artim_running`, and closes the transport
connection when `should_close` (after writing what is left to send).

Nothing a peer sends raises: it becomes an event, and an A-ABORT where the state table says so. A local
request that the state does not allow raises `NotPossibleError` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum

from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.events import (
    Aborted,
    AssociateAccepted,
    AssociateRejected,
    AssociateRequested,
    ConnectionLost,
    Event,
    ProtocolError,
    Released,
    ReleaseRequested,
)
from hounsfield.wire.ul.fragments import Buffer, Outgoing
from hounsfield.wire.ul.framing import EVENT_OF_PDU, Framing
from hounsfield.wire.ul.items import PduError
from hounsfield.wire.ul.negotiation import accepted_contexts
from hounsfield.wire.ul.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest
from hounsfield.wire.ul.reasons import AbortReason, AbortSource, AcseReason, RejectResult, RejectSource
from hounsfield.wire.ul.states import NEXT, TABLE, Action, Evt, State

#: What `Connection` announces by default as the largest P-DATA-TF variable field it receives.
DEFAULT_MAX_LENGTH = 1 << 20
#: A peer whose maximum length is below this (and not 0) is refused: sending to it would be mostly headers.
SMALLEST_PEER_LENGTH = 128


class Role(Enum):
    """Which side opened the association."""

    REQUESTOR = "requestor"
    ACCEPTOR = "acceptor"


class NotPossibleError(RuntimeError):
    """A local request in a state that does not allow it, such as sending after an abort."""


class Connection:
    """The state machine of one connection.

    An acceptor begins with its transport connection open, awaiting A-ASSOCIATE-RQ with ARTIM running (Sta2).
    A requestor begins idle (Sta1) and calls `associate` when its transport connection is open.

    `max_length`: the largest P-DATA-TF variable field accepted, in bytes, 0 for no limit; announced to the
    peer whatever the user information given to `associate` or `accept` says. `association_limit`: the largest
    A-ASSOCIATE PDU accepted, in bytes. `send_limit`: the largest P-DATA-TF variable field sent to a peer that
    names none.
    """

    def __init__(
        self,
        role: Role,
        *,
        max_length: int = DEFAULT_MAX_LENGTH,
        association_limit: int = 1 << 20,
        send_limit: int = 1 << 20,
    ) -> None:
        self.role = role
        self.max_length = max_length
        self.state = State.STA1
        #: The driver keeps its ARTIM timer running exactly while this is true (PS3.8 9.1.5).
        self.artim_running = False
        #: The transport connection is to be closed once `data_to_send` is written.
        self.should_close = False
        #: Both once known, and the accepted contexts: id -> (abstract syntax, transfer syntax).
        self.request: AssociateRequest | None = None
        self.accepted: AssociateAccept | None = None
        self.contexts: dict[int, tuple[str, str]] = {}
        self._out = Outgoing(send_limit)
        self._framing = Framing(self, association_limit)
        self._events: list[Event] = []
        self._refused_in_sta13 = False
        if role is Role.ACCEPTOR:
            self._fire(Evt.TRANSPORT_INDICATION)

    # What the driver tells.

    def receive_data(self, data: memoryview) -> list[Event]:
        """Bytes from the peer, in any pieces. `Pdv` events are views into `data`. Never raises."""
        events = self._events = []
        self._framing.receive(data, events)
        return events

    def receive_eof(self) -> list[Event]:
        """The transport connection is closed or broken (Evt17)."""
        self._events = []
        self._fire_if_possible(Evt.TRANSPORT_CLOSED)
        return self._events

    def timer_expired(self) -> list[Event]:
        """ARTIM ran out (Evt18). One that ran out too late to matter is ignored."""
        self._events = []
        self._fire_if_possible(Evt.ARTIM_EXPIRED)
        return self._events

    def data_to_send(self) -> list[bytes | memoryview]:
        """Buffers to write in this order; they are handed out once. Empty list for nothing."""
        return self._out.take()

    # What the local user asks for.

    @property
    def can_send(self) -> bool:
        """Whether `send_pdata` and `send_message` are possible now (Sta6, Sta8)."""
        return self.state is State.STA6 or self.state is State.STA8

    @property
    def can_answer_release(self) -> bool:
        """Whether `accept_release` is possible now (Sta8, Sta9, Sta12)."""
        return (Evt.A_RELEASE_RESPONSE, self.state) in TABLE

    def associate(self, request: AssociateRequest) -> None:
        """Send A-ASSOCIATE-RQ over the transport connection that was opened (Evt1 and Evt2).

        Raises ValueError for a request that cannot be encoded.
        """
        request = replace(request, user=replace(request.user, max_length=self.max_length))
        encoded = pdus.encode(request)
        self._fire(Evt.A_ASSOCIATE_REQUEST)
        self.request = request
        self._fire(Evt.TRANSPORT_CONFIRM, encoded)

    def accept(self, accept: AssociateAccept) -> None:
        """Send A-ASSOCIATE-AC (Evt7). Raises ValueError for an answer that cannot be encoded."""
        accept = replace(accept, user=replace(accept.user, max_length=self.max_length))
        encoded = pdus.encode(accept)
        self._check(Evt.A_ASSOCIATE_ACCEPT)
        assert self.request is not None  # Sta3 has received one
        self.accepted = accept
        self.contexts = accepted_contexts(self.request, accept)
        self._out.limit_to(self.request.user.max_length)
        self._fire(Evt.A_ASSOCIATE_ACCEPT, encoded)

    def reject(self, reject: AssociateReject) -> None:
        """Send A-ASSOCIATE-RJ (Evt8)."""
        self._fire(Evt.A_ASSOCIATE_REJECT, pdus.encode(reject))

    def send_pdata(self, context_id: int, is_command: bool, data: Buffer, last: bool) -> None:
        """Send a piece of a command or data set in P-DATA-TF PDUs of the peer's size (Evt9).

        `data` is not copied: it must stay as it is until written. A PDU ends with each call.
        """
        self._check(Evt.P_DATA_REQUEST)
        self._out.fragment(context_id, is_command, (data,), last)

    def send_message(self, context_id: int, command: bytes, data_set: Sequence[Buffer] = ()) -> None:
        """Send a whole DIMSE message in as few PDUs as the peer's maximum allows (Evt9).

        `data_set` is one data set in several buffers, which are not copied; () for none. Command and data set
        travel in separate PDUs, since there are peers that look at the first PDV of a PDU only.
        """
        self._check(Evt.P_DATA_REQUEST)
        self._out.fragment(context_id, True, (command,), True)
        if data_set:
            self._out.fragment(context_id, False, data_set, True)

    def request_release(self) -> None:
        """Send A-RELEASE-RQ (Evt11). Data of the peer may still arrive before `Released`."""
        self._fire(Evt.A_RELEASE_REQUEST, pdus.encode(pdus.ReleaseRequest()))

    def accept_release(self) -> None:
        """Answer `ReleaseRequested` with A-RELEASE-RP (Evt14)."""
        self._fire(Evt.A_RELEASE_RESPONSE, pdus.encode(pdus.ReleaseResponse()))

    def abort(self, source: int = AbortSource.USER, reason: int = AbortReason.NOT_SPECIFIED) -> None:
        """Send A-ABORT (Evt15). Always possible: in Sta2 it only closes, after the end it does nothing."""
        if self.state is State.STA2:
            self._fire(
                Evt.ARTIM_EXPIRED
            )  # the table knows no Evt15 here; AA-2 closes, which is what is meant
        elif (Evt.A_ABORT_REQUEST, self.state) in TABLE:
            self._fire(Evt.A_ABORT_REQUEST, Abort(source, reason))

    # What the framing tells.

    def pdu_received(self, pdu_type: int, body: bytes) -> None:
        """A whole PDU other than P-DATA-TF, in a state that wants its content."""
        try:
            pdu = pdus.decode(pdu_type, body)
            if isinstance(pdu, AssociateRequest | AssociateAccept):
                _check_peer_length(pdu)
        except PduError as error:
            self.invalid(str(error), error.reason)
            return
        self._react(EVENT_OF_PDU[pdu_type], pdu)

    def unwanted(self, event: Evt) -> None:
        """A PDU of a known type in a state in which it is an error or ignored, whatever its content."""
        self._react(
            event, PduError(f"{event.name} is not expected in {self.state.name}", AbortReason.UNEXPECTED_PDU)
        )

    def invalid(self, text: str, reason: AbortReason) -> None:
        """An unrecognized or invalid PDU (Evt19), after which the stream cannot be followed any more."""
        self._framing.ignore_everything()
        self._react(Evt.INVALID_PDU, PduError(text, reason))

    # The machine.

    def _check(self, event: Evt) -> Action:
        action = TABLE.get((event, self.state))
        if action is None:
            raise NotPossibleError(f"{event.name} is not possible in {self.state.name}")
        return action

    def _fire_if_possible(self, event: Evt) -> None:
        if (event, self.state) in TABLE:
            self._fire(event)

    def _fire(self, event: Evt, what: object = None) -> None:
        self._do(self._check(event), what)

    def _react(self, event: Evt, what: object) -> None:
        """A PDU: where the table holds it impossible (Sta1, Sta4) the peer is mad, and AA-8 answers."""
        action = TABLE.get((event, self.state), Action.AA_8)
        if action is Action.AA_8 and not isinstance(what, PduError):
            what = PduError(f"{event.name} is not expected in {self.state.name}", AbortReason.UNEXPECTED_PDU)
        self._do(action, what)

    def _do(self, action: Action, what: object) -> None:
        handler = _HANDLERS.get(action)
        chosen = handler(self, what) if handler else None
        self._enter(NEXT[action][0] if chosen is None else chosen)

    def _enter(self, state: State) -> None:
        self.state = state
        if state is State.STA1:
            self.artim_running = False
            self.should_close = True
            self._framing.ignore_everything()
        elif state is State.STA13:
            self.artim_running = True
            self._framing.skip_rest_of_pdu()

    def _send(self, encoded: object) -> None:
        assert isinstance(encoded, bytes)
        self._out.buffers.append(encoded)

    def _start_artim(self, _: object) -> None:  # AE-5
        self.artim_running = True

    def _confirm_accept(self, accept: object) -> None:  # AE-3
        assert isinstance(accept, AssociateAccept) and self.request is not None
        self.accepted = accept
        self.contexts = accepted_contexts(self.request, accept)
        self._out.limit_to(accept.user.max_length)
        self._events.append(AssociateAccepted(accept))

    def _confirm_reject(self, reject: object) -> None:  # AE-4
        assert isinstance(reject, AssociateReject)
        self._events.append(AssociateRejected(reject))

    def _indicate_request(self, request: object) -> State:  # AE-6
        assert isinstance(request, AssociateRequest)
        self.artim_running = False
        if request.protocol_version & 1:
            self.request = request
            self._events.append(AssociateRequested(request))
            return State.STA3
        reason = AcseReason.PROTOCOL_VERSION_NOT_SUPPORTED
        self._send(pdus.encode(AssociateReject(RejectResult.PERMANENT, RejectSource.PROVIDER_ACSE, reason)))
        self._events.append(ProtocolError(f"Protocol version {request.protocol_version} is not supported"))
        return State.STA13

    def _indicate_release(self, _: object) -> None:  # AR-2
        self._events.append(ReleaseRequested())

    def _confirm_release(self, _: object) -> None:  # AR-3
        self._events.append(Released())

    def _indicate_collision(self, _: object) -> State:  # AR-8
        if self.role is Role.ACCEPTOR:
            return State.STA10
        self._events.append(ReleaseRequested(collision=True))
        return State.STA9

    def _confirm_collision(self, _: object) -> None:  # AR-10
        self._events.append(ReleaseRequested(collision=True))

    def _abort(self, what: object) -> None:  # AA-1
        if isinstance(what, Abort):
            self._send(pdus.encode(what))
        else:
            self._send(pdus.encode(Abort()))
            self._report(what)

    def _indicate_abort(self, abort: object) -> None:  # AA-3
        assert isinstance(abort, Abort)
        self._events.append(Aborted(abort.source, abort.reason))

    def _indicate_loss(self, _: object) -> None:  # AA-4
        self._events.append(ConnectionLost())

    def _abort_again(self, what: object) -> None:  # AA-7
        # Once: a peer that does not read must not make the answers pile up.
        assert isinstance(what, PduError)
        if not self._refused_in_sta13:
            self._refused_in_sta13 = True
            self._send(pdus.encode(Abort(AbortSource.PROVIDER, what.reason)))

    def _abort_as_provider(self, what: object) -> None:  # AA-8
        assert isinstance(what, PduError)
        self._send(pdus.encode(Abort(AbortSource.PROVIDER, what.reason)))
        self._report(what)

    def _report(self, what: object) -> None:
        assert isinstance(what, PduError)
        self._events.append(ProtocolError(str(what), what.reason))


def _check_peer_length(pdu: AssociateRequest | AssociateAccept) -> None:
    length = pdu.user.max_length
    if 0 < length < SMALLEST_PEER_LENGTH:
        raise PduError(
            f"Maximum length {length} is below the {SMALLEST_PEER_LENGTH} bytes that are supported"
        )


_HANDLERS: dict[Action, Callable[[Connection, object], State | None]] = {
    Action.AE_2: Connection._send,
    Action.AE_3: Connection._confirm_accept,
    Action.AE_4: Connection._confirm_reject,
    Action.AE_5: Connection._start_artim,
    Action.AE_6: Connection._indicate_request,
    Action.AE_7: Connection._send,
    Action.AE_8: Connection._send,
    Action.AR_1: Connection._send,
    Action.AR_2: Connection._indicate_release,
    Action.AR_3: Connection._confirm_release,
    Action.AR_4: Connection._send,
    Action.AR_8: Connection._indicate_collision,
    Action.AR_9: Connection._send,
    Action.AR_10: Connection._confirm_collision,
    Action.AA_1: Connection._abort,
    Action.AA_3: Connection._indicate_abort,
    Action.AA_4: Connection._indicate_loss,
    Action.AA_7: Connection._abort_again,
    Action.AA_8: Connection._abort_as_provider,
}
