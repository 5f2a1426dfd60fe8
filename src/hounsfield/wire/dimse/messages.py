"""Constructors of every DIMSE-C and DIMSE-N command (PS3.7 9.3, 10.3).

UIDs and message ids of a response come from its request. Every response takes `comment` (Error Comment, cut
to 64 characters) and `offending` (Offending Element, tags as 32-bit numbers). Requests and responses say by
`has_data_set` whether a data set follows where the standard leaves that open.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hounsfield.wire.dimse import fields as f
from hounsfield.wire.dimse.command import Command, Value, encode_tags, shorten_comment

_US = struct.Struct("<H").pack
_WITH, _WITHOUT = _US(f.WITH_DATA_SET), _US(f.NO_DATA_SET)


def respond(
    request: Command,
    status: int,
    comment: str = "",
    *,
    has_data_set: bool = False,
    offending: Sequence[int] = (),
) -> Command:
    """The response to any request, also to one whose field is not known (0211H, unrecognized operation)."""
    asked = request.values
    values = {
        f.COMMAND_FIELD: _US(request.field | f.RESPONSE),
        f.MESSAGE_ID_RESPONDED_TO: asked.get(f.MESSAGE_ID, b"\0\0"),
        f.DATA_SET_TYPE: _WITH if has_data_set else _WITHOUT,
        f.STATUS: _US(status),
    }
    # N-services ask for a "requested" instance and are answered with the "affected" one.
    sop_class = asked.get(f.AFFECTED_SOP_CLASS_UID) or asked.get(f.REQUESTED_SOP_CLASS_UID)
    if sop_class:
        values[f.AFFECTED_SOP_CLASS_UID] = sop_class + b"\0" if len(sop_class) & 1 else sop_class
    instance = asked.get(f.AFFECTED_SOP_INSTANCE_UID) or asked.get(f.REQUESTED_SOP_INSTANCE_UID)
    if instance:
        values[f.AFFECTED_SOP_INSTANCE_UID] = instance + b"\0" if len(instance) & 1 else instance
    if comment:
        text = shorten_comment(comment).encode("ascii")
        values[f.ERROR_COMMENT] = text + b" " if len(text) & 1 else text
    if offending:
        values[f.OFFENDING_ELEMENT] = encode_tags(offending)
    return Command(values)


def c_echo_rq(message_id: int, sop_class_uid: str = "1.2.840.10008.1.1") -> Command:
    """C-ECHO-RQ (9.3.5.1) of the Verification SOP class."""
    return _request(f.C_ECHO_RQ, message_id, False, {f.AFFECTED_SOP_CLASS_UID: sop_class_uid})


def c_echo_rsp(
    request: Command, status: int = 0, comment: str = "", *, offending: Sequence[int] = ()
) -> Command:
    """C-ECHO-RSP (9.3.5.2)."""
    return respond(request, status, comment, offending=offending)


def c_store_rq(
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    *,
    priority: int = f.PRIORITY_MEDIUM,
    move_originator_ae: str = "",
    move_originator_id: int | None = None,
) -> Command:
    """C-STORE-RQ (9.3.1.1); the move originator is set in sub-operations of a C-MOVE."""
    more: dict[int, Value | None] = {
        f.AFFECTED_SOP_CLASS_UID: sop_class_uid,
        f.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        f.PRIORITY: priority,
        f.MOVE_ORIGINATOR_AE: move_originator_ae or None,
        f.MOVE_ORIGINATOR_ID: move_originator_id,
    }
    return _request(f.C_STORE_RQ, message_id, True, more)


def c_store_rsp(
    request: Command, status: int = 0, comment: str = "", *, offending: Sequence[int] = ()
) -> Command:
    """C-STORE-RSP (9.3.1.2)."""
    return respond(request, status, comment, offending=offending)


def c_find_rq(message_id: int, sop_class_uid: str, *, priority: int = f.PRIORITY_MEDIUM) -> Command:
    """C-FIND-RQ (9.3.2.1); the identifier follows."""
    more: dict[int, Value | None] = {f.AFFECTED_SOP_CLASS_UID: sop_class_uid, f.PRIORITY: priority}
    return _request(f.C_FIND_RQ, message_id, True, more)


def c_find_rsp(
    request: Command,
    status: int = 0,
    comment: str = "",
    *,
    has_data_set: bool = False,
    offending: Sequence[int] = (),
) -> Command:
    """C-FIND-RSP (9.3.2.2); a pending one has an identifier."""
    return respond(request, status, comment, has_data_set=has_data_set, offending=offending)


def c_get_rq(message_id: int, sop_class_uid: str, *, priority: int = f.PRIORITY_MEDIUM) -> Command:
    """C-GET-RQ (9.3.3.1); the identifier follows."""
    more: dict[int, Value | None] = {f.AFFECTED_SOP_CLASS_UID: sop_class_uid, f.PRIORITY: priority}
    return _request(f.C_GET_RQ, message_id, True, more)


def c_move_rq(
    message_id: int, sop_class_uid: str, destination: str, *, priority: int = f.PRIORITY_MEDIUM
) -> Command:
    """C-MOVE-RQ (9.3.4.1); the identifier follows."""
    more: dict[int, Value | None] = {
        f.AFFECTED_SOP_CLASS_UID: sop_class_uid,
        f.PRIORITY: priority,
        f.MOVE_DESTINATION: destination,
    }
    return _request(f.C_MOVE_RQ, message_id, True, more)


def retrieve_rsp(
    request: Command,
    status: int,
    comment: str = "",
    *,
    remaining: int | None = None,
    completed: int | None = None,
    failed: int | None = None,
    warning: int | None = None,
    has_data_set: bool = False,
    offending: Sequence[int] = (),
) -> Command:
    """C-GET-RSP or C-MOVE-RSP (9.3.3.2, 9.3.4.2), after the request.

    Counts of sub-operations; more than 65535 are told as 65535. `remaining` belongs into pending and cancel
    responses only (PS3.4 C.4.2.1.6). The data set is the Failed SOP Instance UID List.
    """
    response = respond(request, status, comment, has_data_set=has_data_set, offending=offending)
    counts = ((f.REMAINING, remaining), (f.COMPLETED, completed), (f.FAILED, failed), (f.WARNING, warning))
    for tag, count in counts:
        if count is not None:
            response.values[tag] = _US(min(count, 0xFFFF))
    return response


c_get_rsp = retrieve_rsp
c_move_rsp = retrieve_rsp


def c_cancel_rq(message_id_responded_to: int) -> Command:
    """C-CANCEL-FIND-RQ, -GET-RQ or -MOVE-RQ (9.3.2.3) of the request with this message id."""
    return Command.of(
        {
            f.COMMAND_FIELD: f.C_CANCEL_RQ,
            f.MESSAGE_ID_RESPONDED_TO: message_id_responded_to,
            f.DATA_SET_TYPE: f.NO_DATA_SET,
        }
    )


def n_event_report_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int, *, has_data_set: bool = True
) -> Command:
    """N-EVENT-REPORT-RQ (10.3.1.1)."""
    more: dict[int, Value | None] = {
        f.AFFECTED_SOP_CLASS_UID: sop_class_uid,
        f.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        f.EVENT_TYPE: event_type,
    }
    return _request(f.N_EVENT_REPORT_RQ, message_id, has_data_set, more)


def n_event_report_rsp(
    request: Command,
    status: int = 0,
    comment: str = "",
    *,
    has_data_set: bool = False,
    error_id: int | None = None,
    offending: Sequence[int] = (),
) -> Command:
    """N-EVENT-REPORT-RSP (10.3.1.2), with the request's event type."""
    return _n_response(request, status, comment, f.EVENT_TYPE, has_data_set, error_id, offending)


def n_get_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, attributes: Sequence[int] = ()
) -> Command:
    """N-GET-RQ (10.3.2.1) of the attributes named by 32-bit tags, all for none."""
    more = _requested(sop_class_uid, sop_instance_uid)
    more[f.ATTRIBUTE_IDENTIFIERS] = tuple(attributes) or None
    return _request(f.N_GET_RQ, message_id, False, more)


def n_set_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> Command:
    """N-SET-RQ (10.3.3.1); the modification list follows."""
    return _request(f.N_SET_RQ, message_id, True, _requested(sop_class_uid, sop_instance_uid))


def n_action_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int, *, has_data_set: bool = True
) -> Command:
    """N-ACTION-RQ (10.3.4.1)."""
    more = _requested(sop_class_uid, sop_instance_uid)
    more[f.ACTION_TYPE] = action_type
    return _request(f.N_ACTION_RQ, message_id, has_data_set, more)


def n_action_rsp(
    request: Command,
    status: int = 0,
    comment: str = "",
    *,
    has_data_set: bool = False,
    error_id: int | None = None,
    offending: Sequence[int] = (),
) -> Command:
    """N-ACTION-RSP (10.3.4.2), with the request's action type."""
    return _n_response(request, status, comment, f.ACTION_TYPE, has_data_set, error_id, offending)


def n_create_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str = "", *, has_data_set: bool = True
) -> Command:
    """N-CREATE-RQ (10.3.5.1); without an instance UID the performer assigns one."""
    more: dict[int, Value | None] = {
        f.AFFECTED_SOP_CLASS_UID: sop_class_uid,
        f.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid or None,
    }
    return _request(f.N_CREATE_RQ, message_id, has_data_set, more)


def n_delete_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> Command:
    """N-DELETE-RQ (10.3.6.1)."""
    return _request(f.N_DELETE_RQ, message_id, False, _requested(sop_class_uid, sop_instance_uid))


def n_rsp(
    request: Command,
    status: int = 0,
    comment: str = "",
    *,
    has_data_set: bool = False,
    error_id: int | None = None,
    offending: Sequence[int] = (),
    sop_instance_uid: str = "",
) -> Command:
    """N-GET-RSP, N-SET-RSP, N-CREATE-RSP or N-DELETE-RSP (10.3.2.2 to 10.3.6.2), after the request.

    `sop_instance_uid`: the one assigned by the performer of an N-CREATE.
    """
    response = _n_response(request, status, comment, 0, has_data_set, error_id, offending)
    if sop_instance_uid:
        response.values.update(Command.of({f.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid}).values)
    return response


n_get_rsp = n_rsp
n_set_rsp = n_rsp
n_create_rsp = n_rsp
n_delete_rsp = n_rsp


def _request(field: int, message_id: int, has_data_set: bool, more: dict[int, Value | None]) -> Command:
    kind = f.WITH_DATA_SET if has_data_set else f.NO_DATA_SET
    return Command.of({f.COMMAND_FIELD: field, f.MESSAGE_ID: message_id, f.DATA_SET_TYPE: kind, **more})


def _requested(sop_class_uid: str, sop_instance_uid: str) -> dict[int, Value | None]:
    return {f.REQUESTED_SOP_CLASS_UID: sop_class_uid, f.REQUESTED_SOP_INSTANCE_UID: sop_instance_uid}


def _n_response(
    request: Command,
    status: int,
    comment: str,
    repeated: int,
    has_data_set: bool,
    error_id: int | None,
    offending: Sequence[int],
) -> Command:
    response = respond(request, status, comment, has_data_set=has_data_set, offending=offending)
    if repeated in request.values:
        response.values[repeated] = request.values[repeated]
    if error_id is not None:
        response.values[f.ERROR_ID] = _US(error_id)
    return response
