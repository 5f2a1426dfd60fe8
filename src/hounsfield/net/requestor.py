"""Opening an association as requestor, and ending it in good order."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from hounsfield.net.association import Association, Context, Responder, Sink, SmallSink
from hounsfield.net.link import Link
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.messages import respond
from hounsfield.wire.dimse.status import Status
from hounsfield.wire.ul import events as ul
from hounsfield.wire.ul.connection import Connection, Role
from hounsfield.wire.ul.negotiation import peer_roles
from hounsfield.wire.ul.pdu import AssociateAccept, AssociateReject, AssociateRequest


class AssociationRejectedError(Exception):
    """The peer answered A-ASSOCIATE-RJ."""

    def __init__(self, reject: AssociateReject) -> None:
        super().__init__(str(reject))
        self.reject = reject


class NoRequests:
    """The responder of an association on which the peer has nothing to ask."""

    def request(self, association: Association, context: Context, command: Command) -> Sink:
        def refuse(_: bytes) -> None:
            association.send(context.id, respond(command, Status.UNRECOGNIZED_OPERATION, "not offered here"))

        return SmallSink(association, refuse)

    def cancel(self, association: Association, message_id: int) -> None:
        pass


class _User:
    """The user of a requestor's link."""

    def __init__(self, request: AssociateRequest, responder: Responder) -> None:
        self.request = request
        self.responder = responder
        self.link: Link | None = None
        self.association: Association | None = None
        loop = asyncio.get_running_loop()
        self.negotiated: asyncio.Future[AssociateAccept] = loop.create_future()
        self.released: asyncio.Future[None] = loop.create_future()

    def connected(self, link: Link) -> None:
        self.link = link
        link.core.associate(self.request)

    def happened(self, event: ul.Event) -> None:
        if type(event) is ul.Pdv:
            if self.association is not None:
                self.association.received(event)
        elif isinstance(event, ul.AssociateAccepted):
            assert self.link is not None
            contexts = _contexts(self.request, event.accept, self.link.core.contexts)
            self.association = Association(self.link, contexts, self.responder)
            if not self.negotiated.done():
                self.negotiated.set_result(event.accept)
        elif isinstance(event, ul.AssociateRejected):
            self._fail(AssociationRejectedError(event.reject))
        elif isinstance(event, ul.ReleaseRequested):
            assert self.link is not None
            if self.link.core.can_answer_release:
                self.link.core.accept_release()
            self._over("the peer released the association")
        elif isinstance(event, ul.Released):
            self._over("released")
        elif isinstance(event, ul.Aborted | ul.ProtocolError):
            self._over(str(event))
        elif isinstance(event, ul.ConnectionLost):
            self._over("the peer closed the connection without release or abort")

    def idle(self, stalled: bool) -> bool:
        return False  # our own requests have their own time limits

    def closed(self, error: Exception | None) -> None:
        self._over(f"the connection broke: {error}" if error else "the connection was closed")

    def _over(self, why: str) -> None:
        if self.association is not None:
            self.association.ended(why)
        self._fail(ConnectionError(why))
        if not self.released.done():
            self.released.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.negotiated.done():
            self.negotiated.set_exception(error)
            self.negotiated.exception()  # also where nobody waits any more


@asynccontextmanager
async def associate(
    host: str,
    port: int,
    request: AssociateRequest,
    *,
    responder: Responder | None = None,
    tls: ssl.SSLContext | None = None,
    max_length: int = 1 << 20,
    seconds: float = 30.0,
) -> AsyncIterator[Association]:
    """An association for the length of the block; released at its end, aborted when the block raises.

    Raises OSError (not reachable, TLS failure), TimeoutError, AssociationRejectedError, ConnectionError.
    """
    loop = asyncio.get_running_loop()
    user = _User(request, responder or NoRequests())
    core = Connection(Role.REQUESTOR, max_length=max_length)
    async with asyncio.timeout(seconds):
        _, link = await loop.create_connection(
            lambda: Link(core, user, artim=seconds, idle=0),
            host,
            port,
            ssl=tls,
            server_hostname=host if tls is not None else None,
        )
    try:
        async with asyncio.timeout(seconds):
            await user.negotiated
        association = user.association
        assert association is not None
        try:
            yield association
        except BaseException:
            association.abort("given up by us")
            raise
        if association.open:
            core.request_release()
            link.flush()
            try:
                async with asyncio.timeout(seconds):
                    await user.released
            except TimeoutError:  # all was said and answered: no reason to call it a failure
                association.abort("no answer to A-RELEASE-RQ")
    finally:
        if link.transport is not None:
            link.transport.close()


def _contexts(
    request: AssociateRequest, accept: AssociateAccept, agreed: Mapping[int, tuple[str, str]]
) -> dict[int, Context]:
    """The accepted contexts as the requestor uses them: SCU, and SCP where role selection says so."""
    roles = peer_roles(request, accept)
    contexts = {}
    for context_id, (abstract_syntax, transfer_syntax) in agreed.items():
        role = roles.get(abstract_syntax)
        contexts[context_id] = Context(
            context_id,
            abstract_syntax,
            transfer_syntax,
            scu=role is None or role.scu,
            scp=role is not None and role.scp,
        )
    return contexts
