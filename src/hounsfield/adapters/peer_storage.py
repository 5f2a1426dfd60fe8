"""C-STORE requests that come to us on an association of our own, as answers to our C-GET."""

from __future__ import annotations

import logging
import secrets
from typing import Protocol

from hounsfield.domain.device import Device
from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.identify import CANNOT_UNDERSTAND
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.stored import Origin
from hounsfield.net.association import Association, Context, Passing, Sink
from hounsfield.net.object_sink import ObjectSink, StoreResult
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.store import Receiver
from hounsfield.wire.dimse import fields
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import c_store_rsp, respond
from hounsfield.wire.dimse.status import Status

log = logging.getLogger(__name__)


class StoreFactory(Protocol):
    """Where receivers come from: `services.store.Store.begin`."""

    def begin(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        origin: Origin,
        *,
        character_set: str = "",
        quarantine: str = "",
        meta: bytes = b"",
    ) -> Receiver: ...


class IncomingStores:
    """The responder of an association on which we are C-STORE SCP. What comes is as hostile as anything."""

    def __init__(self, store: StoreFactory, peer: Device) -> None:
        self.store = store
        self.peer = peer
        self.run = secrets.token_hex(6)

    def request(self, association: Association, context: Context, command: Command) -> Sink:
        refusal = self._refusal(context, command)
        if refusal is not None:
            return Passing(lambda: association.send(context.id, refusal))
        origin = Origin("retrieve", self.peer.name, self.run, self.peer.host)
        receiver = self.store.begin(
            command.affected_sop_class_uid,
            command.affected_sop_instance_uid,
            context.transfer_syntax,
            origin,
            character_set=self.peer.character_set,
        )

        def answer(result: StoreResult | BaseException) -> None:
            if isinstance(result, HounsfieldError):
                status, reason = OUT_OF_RESOURCES, result.what
            elif isinstance(result, BaseException):
                log.error("an object could not be stored", exc_info=result)
                status, reason = OUT_OF_RESOURCES, f"cannot store now: {type(result).__name__}"
            else:
                status, reason = result.status, result.reason
            association.send(context.id, c_store_rsp(command, status, reason if status else ""))

        return ObjectSink(association, receiver, answer)

    def cancel(self, association: Association, message_id: int) -> None:
        pass

    def _refusal(self, context: Context, command: Command) -> Command | None:
        if command.field != fields.C_STORE_RQ:
            return respond(command, Status.UNRECOGNIZED_OPERATION, "not offered here")
        if not command.has_data_set:
            return c_store_rsp(command, CANNOT_UNDERSTAND, "C-STORE without a data set")
        if command.affected_sop_class_uid != context.abstract_syntax:
            why = "Affected SOP Class UID is not that of the presentation context"
            return c_store_rsp(command, Status.SOP_CLASS_NOT_SUPPORTED, why)
        if not is_tolerated_uid(command.affected_sop_instance_uid):
            why = "Affected SOP Instance UID is not a UID"
            return c_store_rsp(command, Status.INVALID_SOP_INSTANCE, why)
        return None
