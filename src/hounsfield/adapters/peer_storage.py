"""C-STORE requests that come to us on an association of our own, as answers to our C-GET."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from hounsfield.domain.device import Device
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.stored import Origin
from hounsfield.net.association import Association, Context, Sink, SmallSink
from hounsfield.services.rounds import OUT_OF_RESOURCES
from hounsfield.services.store import Receiver, Result
from hounsfield.wire.dimse import fields
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import c_store_rsp, respond
from hounsfield.wire.dimse.status import Status


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
        if command.field != fields.C_STORE_RQ:
            return _answering(
                association, context, respond(command, Status.UNRECOGNIZED_OPERATION, "not offered here")
            )
        if not is_tolerated_uid(command.affected_sop_instance_uid):
            why = "Affected SOP Instance UID is not a UID"
            return _answering(
                association, context, c_store_rsp(command, Status.INVALID_SOP_INSTANCE, why), drop_data=True
            )
        origin = Origin("retrieve", self.peer.name, self.run, self.peer.host)
        receiver = self.store.begin(
            command.affected_sop_class_uid,
            command.affected_sop_instance_uid,
            context.transfer_syntax,
            origin,
            character_set=self.peer.character_set,
        )
        return _StoreSink(association, context, command, receiver)

    def cancel(self, association: Association, message_id: int) -> None:
        pass


class _Passing:
    """Lets a data set pass and answers."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer

    def write(self, piece: memoryview) -> None:
        pass

    def end(self) -> None:
        self._answer()

    def cut(self) -> None:
        pass


def _answering(
    association: Association, context: Context, answer: Command, *, drop_data: bool = False
) -> Sink:
    def send(_: bytes = b"") -> None:
        association.send(context.id, answer)

    return _Passing(send) if drop_data else SmallSink(association, send)


class _StoreSink:
    def __init__(
        self, association: Association, context: Context, command: Command, receiver: Receiver
    ) -> None:
        self._association = association
        self._context = context
        self._command = command
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()

    def write(self, piece: memoryview) -> None:
        if not self._receiver.write(piece, self._resume):
            self._association.link.hold()

    def _resume(self) -> None:
        self._loop.call_soon_threadsafe(self._association.link.let_go)

    def end(self) -> None:
        self._receiver.finish().add_done_callback(
            lambda future: self._loop.call_soon_threadsafe(self._answer, future)
        )

    def cut(self) -> None:
        self._receiver.abandon()

    def _answer(self, future: Future[Result]) -> None:
        error = future.exception()
        if error is not None:
            status, reason = OUT_OF_RESOURCES, f"cannot store now: {type(error).__name__}"
        else:
            status, reason = future.result().status, future.result().reason
        response = c_store_rsp(self._command, status, reason if status else "")
        self._association.send(self._context.id, response)
