"""PS3.8 Table 9-10: the table itself, and what a connection does for every event in every state."""

from __future__ import annotations

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from hounsfield.wire.ul import events as ev
from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.connection import Connection, NotPossibleError, Role
from hounsfield.wire.ul.states import NEXT, TABLE, Action, Evt, State
from support_wire import (
    ABORT,
    AC,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    RQ,
    UNKNOWN,
    acceptor,
    give,
    in_state,
    pdata,
    sent,
)

PEER = {
    Evt.A_ASSOCIATE_AC: pdus.encode(AC),
    Evt.A_ASSOCIATE_RJ: REJECT,
    Evt.A_ASSOCIATE_RQ: pdus.encode(RQ),
    Evt.P_DATA_TF: pdata(1, 3, b"ab"),
    Evt.A_RELEASE_RQ: RELEASE_RQ,
    Evt.A_RELEASE_RP: RELEASE_RP,
    Evt.A_ABORT: ABORT,
    Evt.INVALID_PDU: UNKNOWN,
}
LOCAL = {
    Evt.A_ASSOCIATE_ACCEPT: lambda c: c.accept(AC),
    Evt.A_ASSOCIATE_REJECT: lambda c: c.reject(pdus.AssociateReject(1, 1, 1)),
    Evt.P_DATA_REQUEST: lambda c: c.send_pdata(1, True, b"ab", True),
    Evt.A_RELEASE_REQUEST: lambda c: c.request_release(),
    Evt.A_RELEASE_RESPONSE: lambda c: c.accept_release(),
}
SENDS = {
    Action.AE_7: 2,
    Action.AE_8: 3,
    Action.DT_1: 4,
    Action.AR_7: 4,
    Action.AR_1: 5,
    Action.AR_4: 6,
    Action.AR_9: 6,
    Action.AA_1: 7,
    Action.AA_7: 7,
    Action.AA_8: 7,
}
TELLS = {
    Action.AE_3: ev.AssociateAccepted,
    Action.AE_4: ev.AssociateRejected,
    Action.AE_6: ev.AssociateRequested,
    Action.DT_2: ev.Pdv,
    Action.AR_6: ev.Pdv,
    Action.AR_2: ev.ReleaseRequested,
    Action.AR_3: ev.Released,
    Action.AR_10: ev.ReleaseRequested,
    Action.AA_1: ev.ProtocolError,
    Action.AA_3: ev.Aborted,
    Action.AA_4: ev.ConnectionLost,
    Action.AA_8: ev.ProtocolError,
}
STATES = list(State)


def check_consequences(connection: Connection, action: Action, events: list[ev.Event]) -> None:
    assert connection.state in NEXT[action]
    written = sent(connection)
    assert (written[0] if written else None) == SENDS.get(action)
    if action is Action.AR_8:
        assert connection.state is (State.STA9 if connection.role is Role.REQUESTOR else State.STA10)
        assert len(events) == (1 if connection.role is Role.REQUESTOR else 0)
    else:
        assert [type(event) for event in events] == [TELLS[action]] if action in TELLS else not events
    assert connection.artim_running == (connection.state in (State.STA2, State.STA13))
    assert connection.should_close == (connection.state is State.STA1)


def test_the_table_is_the_standards():
    ours = {
        (f"Evt{event.value}", f"Sta{state.value}"): action.value for (event, state), action in TABLE.items()
    }
    assert ours == TRANSITION_TABLE
    assert set(NEXT) == set(Action)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", list(PEER))
def test_a_pdu_in_every_state(event: Evt, state: State):
    connection = in_state(state)
    events = give(connection, PEER[event])
    # Sta1 and Sta4 have no transport connection that could bring a PDU: answered like any other nonsense.
    check_consequences(connection, TABLE.get((event, state), Action.AA_8), events)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", list(LOCAL))
def test_a_local_request_in_every_state(event: Evt, state: State):
    connection = in_state(state)
    before = (connection.state, connection.artim_running, connection.should_close)
    action = TABLE.get((event, state))
    assert connection.can_send == ((Evt.P_DATA_REQUEST, state) in TABLE)
    if action is None:
        with pytest.raises(NotPossibleError):
            LOCAL[event](connection)
        assert (connection.state, connection.artim_running, connection.should_close) == before
        assert not sent(connection)
    else:
        LOCAL[event](connection)
        check_consequences(connection, action, [])


@pytest.mark.parametrize("state", STATES)
def test_associate_in_every_state(state: State):
    connection = in_state(state)
    if state is State.STA1:
        connection.associate(RQ)
        assert connection.state is State.STA5
        assert sent(connection)[0] == 1
    else:
        with pytest.raises(NotPossibleError):
            connection.associate(RQ)
        assert connection.state is state


@pytest.mark.parametrize("state", STATES)
def test_abort_in_every_state(state: State):
    connection = in_state(state)
    connection.abort()
    if state in (State.STA1, State.STA2, State.STA4, State.STA13):
        assert not sent(connection)
        assert connection.state is (State.STA13 if state is State.STA13 else State.STA1)
        assert connection.should_close == (state in (State.STA2, State.STA4))
    else:
        assert sent(connection) == ABORT
        assert connection.state is State.STA13


@pytest.mark.parametrize("state", STATES)
def test_the_end_of_the_stream_in_every_state(state: State):
    connection = in_state(state)
    events = connection.receive_eof()
    if state is State.STA1:
        assert not events
    else:
        check_consequences(connection, TABLE[Evt.TRANSPORT_CLOSED, state], events)


@pytest.mark.parametrize("state", STATES)
def test_artim_in_every_state(state: State):
    connection = in_state(state)
    events = connection.timer_expired()
    if state in (State.STA2, State.STA13):
        check_consequences(connection, Action.AA_2, events)
    else:  # it ran out too late to matter
        assert not events
        assert connection.state is state


def test_a_protocol_version_that_is_not_supported_is_rejected():
    connection = Connection(Role.ACCEPTOR)
    request = bytearray(pdus.encode(RQ))
    request[6:8] = b"\x00\x02"
    (event,) = give(connection, bytes(request))
    assert isinstance(event, ev.ProtocolError)
    assert connection.state is State.STA13
    assert connection.artim_running
    assert pdus.decode(3, sent(connection)[6:]) == pdus.AssociateReject(1, 2, 2)


def test_a_closed_connection_hears_nothing():
    connection = acceptor()
    give(connection, ABORT)
    assert connection.should_close
    assert give(connection, pdus.encode(RQ) + RELEASE_RQ + UNKNOWN) == []
    assert connection.state is State.STA1
    assert not sent(connection)


def test_aborts_do_not_pile_up_towards_a_peer_that_goes_on():
    connection = in_state(State.STA13)
    for _ in range(100):
        give(connection, pdus.encode(RQ))
    assert sent(connection).count(b"\x07\x00\x00\x00\x00\x04") == 1
