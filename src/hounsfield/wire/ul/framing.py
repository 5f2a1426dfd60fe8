"""PDUs out of a stream of bytes (PS3.8 9.3.1), with the payload of P-DATA-TF handed on where it lies.

Bytes are copied only for a header cut by the end of a chunk (5 at most) and for PDUs other than P-DATA-TF.
What a length claims is never allocated before it is there.
"""

from __future__ import annotations

import struct
from enum import Enum, auto
from typing import Protocol

from hounsfield.wire.ul.events import Event, Pdv
from hounsfield.wire.ul.reasons import AbortReason
from hounsfield.wire.ul.states import TABLE, Action, Evt, State

_PDU = struct.Struct(">BxL")
_PDV = struct.Struct(">LBB")
_BOTH = struct.Struct(">BxLLBB")
_P_DATA_TF = 4

EVENT_OF_PDU = {
    1: Evt.A_ASSOCIATE_RQ,
    2: Evt.A_ASSOCIATE_AC,
    3: Evt.A_ASSOCIATE_RJ,
    4: Evt.P_DATA_TF,
    5: Evt.A_RELEASE_RQ,
    6: Evt.A_RELEASE_RP,
    7: Evt.A_ABORT,
}
_WITHOUT_CONTENT = frozenset({None, Action.AA_1, Action.AA_6, Action.AA_7, Action.AA_8})
_INVALID = AbortReason.INVALID_PDU_PARAMETER_VALUE


class Machine(Protocol):
    """What the framing needs of the connection."""

    state: State
    max_length: int
    contexts: dict[int, tuple[str, str]]

    def pdu_received(self, pdu_type: int, body: bytes) -> None: ...
    def unwanted(self, event: Evt) -> None: ...
    def invalid(self, text: str, reason: AbortReason) -> None: ...


class _At(Enum):
    """What the next byte belongs to."""

    PDU_HEADER = auto()
    PDV_HEADER = auto()
    PDV_DATA = auto()
    BODY = auto()  # of a PDU other than P-DATA-TF, to be decoded
    SKIPPED = auto()  # the rest of a PDU whose content does not matter
    NOTHING = auto()  # everything that still comes is ignored


class Framing:
    """The receiving half of one connection."""

    __slots__ = (
        "_association_limit",
        "_at",
        "_body",
        "_context_id",
        "_control",
        "_left",
        "_machine",
        "_partial",
        "_pdu_type",
        "_pdv_left",
    )

    def __init__(self, machine: Machine, association_limit: int) -> None:
        self._machine = machine
        self._association_limit = association_limit
        self._at = _At.PDU_HEADER
        self._partial = bytearray()  # of a header
        self._body = bytearray()
        self._pdu_type = 0
        self._left = 0  # bytes of the PDU that are still to come
        self._pdv_left = 0
        self._context_id = 0
        self._control = 0

    def receive(self, data: memoryview, events: list[Event]) -> None:
        """Go through `data`; PDVs are appended to `events`, all else is told to the machine."""
        pos, end = 0, len(data)
        while pos < end:
            at = self._at
            if at is _At.PDU_HEADER or at is _At.PDV_HEADER:
                if at is _At.PDU_HEADER and self._machine.state is State.STA6 and not self._partial:
                    pos = self._usual_pdata(data, pos, end, events)
                    if pos == end:
                        return
                pos = self._header(data, pos, end, events)
            elif at is _At.PDV_DATA:
                pos = self._pdv_data(data, pos, end, events)
            elif at is _At.BODY:
                pos = self._gather(data, pos, end)
            elif at is _At.SKIPPED:
                taken = min(self._left, end - pos)
                pos += taken
                self._left -= taken
                if not self._left:
                    self._at = _At.PDU_HEADER
            else:
                return

    def skip_rest_of_pdu(self) -> None:
        """Data is not wanted any more: the rest of a P-DATA-TF PDU that is arriving is ignored."""
        if self._at is _At.PDV_HEADER or self._at is _At.PDV_DATA:
            self._left -= len(self._partial)
            self._partial.clear()
            self._at = _At.SKIPPED

    def ignore_everything(self) -> None:
        """The stream cannot be followed, or nobody is interested any more."""
        self._at = _At.NOTHING
        self._partial.clear()
        self._body.clear()

    def _usual_pdata(self, data: memoryview, pos: int, end: int, events: list[Event]) -> int:
        """The fast path of Sta6: as many P-DATA-TF PDUs as are there and hold one valid PDV each.

        Does what DT-2 does for each of them, the last of which may be cut off by the end of `data`; all else
        is left to the table. Returns where it stopped.
        """
        unpack, contexts = _BOTH.unpack_from, self._machine.contexts
        limit = self._machine.max_length or 0xFFFFFFFF
        append = events.append
        while end - pos >= 12:
            pdu_type, length, pdv_length, context_id, control = unpack(data, pos)
            stop = pos + 6 + length
            if (
                pdu_type != _P_DATA_TF
                or pdv_length + 4 != length
                or not 6 <= length <= limit
                or context_id not in contexts
            ):
                break
            if stop > end:
                self._context_id, self._control = context_id, control
                self._left = self._pdv_left = length - 6
                self._at = _At.PDV_DATA
                return self._pdv_data(data, pos + 12, end, events) if pos + 12 < end else end
            append(Pdv(context_id, control & 1 == 1, control & 2 == 2, data[pos + 12 : stop]))
            pos = stop
        return pos

    def _header(self, data: memoryview, pos: int, end: int, events: list[Event]) -> int:
        """A header of 6 bytes, of a PDU or a PDV, which may arrive in parts."""
        partial = self._partial
        missing = 6 - len(partial)
        if end - pos < missing:
            partial += data[pos:end]
            return end
        if partial:
            partial += data[pos : pos + missing]
            header = bytes(partial)
            partial.clear()
        else:
            header = bytes(data[pos : pos + 6])
        if self._at is _At.PDU_HEADER:
            self._begin_pdu(*_PDU.unpack(header))
        else:
            length, context_id, control = _PDV.unpack(header)
            self._begin_pdv(length, context_id, control, events, data)
        return pos + missing

    def _begin_pdu(self, pdu_type: int, length: int) -> None:
        machine = self._machine
        event = EVENT_OF_PDU.get(pdu_type)
        if event is None:
            machine.invalid(f"PDU type {pdu_type:02X}H is not known", AbortReason.UNRECOGNIZED_PDU)
            return
        self._left = length
        if TABLE.get((event, machine.state)) in _WITHOUT_CONTENT:
            self._at = _At.SKIPPED if length else _At.PDU_HEADER
            machine.unwanted(event)
        elif pdu_type == _P_DATA_TF:
            limit = machine.max_length or 0xFFFFFFFF
            if length > limit:
                machine.invalid(f"P-DATA-TF of {length} bytes; {limit} were agreed", _INVALID)
            elif length < 6:
                machine.invalid(f"P-DATA-TF of {length} bytes has no PDV", _INVALID)
            else:
                self._at = _At.PDV_HEADER
        else:
            limit = self._association_limit if pdu_type <= 2 else 4
            if length > limit or length < 4:
                machine.invalid(f"{event.name} of {length} bytes", _INVALID)
            else:
                self._pdu_type = pdu_type
                self._at = _At.BODY

    def _begin_pdv(
        self, length: int, context_id: int, control: int, events: list[Event], data: memoryview
    ) -> None:
        left = self._left - 4 - length
        if length < 2:
            self._machine.invalid(f"PDV of {length} bytes, too few for its own header", _INVALID)
        elif left < 0 or 0 < left < 6:
            self._machine.invalid(f"PDV of {length} bytes does not fit its PDU", _INVALID)
        elif context_id not in self._machine.contexts:
            self._machine.invalid(f"PDV with presentation context id {context_id}, not accepted", _INVALID)
        else:
            self._context_id, self._control = context_id, control
            self._left -= 6
            self._pdv_left = length - 2
            self._at = _At.PDV_DATA
            if length == 2:
                self._pdv_data(data, 0, 0, events)

    def _pdv_data(self, data: memoryview, pos: int, end: int, events: list[Event]) -> int:
        stop = min(end, pos + self._pdv_left)
        self._pdv_left -= stop - pos
        self._left -= stop - pos
        control = self._control
        complete = not self._pdv_left
        events.append(Pdv(self._context_id, control & 1 == 1, complete and control & 2 == 2, data[pos:stop]))
        if complete:
            self._at = _At.PDV_HEADER if self._left else _At.PDU_HEADER
        return stop

    def _gather(self, data: memoryview, pos: int, end: int) -> int:
        stop = min(end, pos + self._left)
        self._body += data[pos:stop]
        self._left -= stop - pos
        if not self._left:
            body = bytes(self._body)
            self._body.clear()
            self._at = _At.PDU_HEADER
            self._machine.pdu_received(self._pdu_type, body)
        return stop
