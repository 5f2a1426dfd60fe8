"""C-STORE requests of ours over an association: what `services.sending` sends through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from hounsfield.net.association import Association, Buffer
from hounsfield.wire.dimse.messages import c_store_rq


class AssociationChannel:
    """A `StoreChannel` over one association. `seconds`: how long an answer may take."""

    def __init__(self, association: Association, seconds: float) -> None:
        self.association = association
        self.seconds = seconds
        self._syntaxes: dict[str, list[tuple[int, str]]] = {}

    def syntaxes(self, sop_class_uid: str) -> Sequence[tuple[int, str]]:
        found = self._syntaxes.get(sop_class_uid)
        if found is None:
            found = [(c.id, c.transfer_syntax) for c in self.association.usable(sop_class_uid)]
            self._syntaxes[sop_class_uid] = found
        return found

    async def store(
        self,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        data: Buffer | AsyncIterator[Buffer],
        originator: tuple[str, int] | None,
    ) -> tuple[int, str, int]:
        """One C-STORE: status, Error Comment, bytes sent. Raises ConnectionError, TimeoutError. However it
        ends, nothing of `data` is looked at any more: what lay there may be something else by then."""
        association = self.association
        message_id = association.new_message_id()
        answers = association.expect(message_id)
        try:
            command = c_store_rq(
                message_id,
                sop_class_uid,
                sop_instance_uid,
                move_originator_ae=originator[0] if originator else "",
                move_originator_id=originator[1] if originator else None,
            )
            if isinstance(data, bytes | bytearray | memoryview):
                association.check_open()
                association.send(context_id, command, data)
                await association.link.drained()
                sent = len(data)
            else:
                sent = await association.send_stream(context_id, command, data)
            response = (await answers.next(self.seconds)).command
            async with asyncio.timeout(self.seconds):  # a peer may answer before it has taken all
                await association.link.emptied()
            return response.status, response.error_comment, sent
        except TimeoutError as error:
            association.abort(f"no answer to C-STORE within {self.seconds:g} s")
            raise ConnectionError(association.why_ended) from error
        finally:
            association.forget(message_id)
            if association.link.unsent:
                association.link.abort_transport()
