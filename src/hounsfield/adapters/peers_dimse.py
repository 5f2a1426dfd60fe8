"""Other application entities over DIMSE: `ports.peers` with associations of our own."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from hounsfield.adapters.peer_commitment import IncomingReport
from hounsfield.adapters.peer_contexts import (
    FIND,
    GET,
    MOVE,
    groups_for_sending,
    identifier_items,
    incoming_proposals,
    proposals,
    read_identifier,
    usual_model,
)
from hounsfield.adapters.peer_storage import IncomingStores, StoreFactory
from hounsfield.domain.device import Device
from hounsfield.domain.errors import PeerError
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance
from hounsfield.net.association import Association, Context, Responder, Response
from hounsfield.net.requestor import AssociationRejectedError, associate
from hounsfield.net.storing import AssociationChannel
from hounsfield.ports.peers import CommitmentAnswer, SendResult, SubOperations
from hounsfield.ports.pixels import Transcoder
from hounsfield.services.commitment_report import commitment_items
from hounsfield.services.datasets import DataSets
from hounsfield.services.sending import send_all
from hounsfield.wire.dicomfile.elements import encode
from hounsfield.wire.dicomfile.errors import MalformedError
from hounsfield.wire.dicomfile.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    VERIFICATION,
)
from hounsfield.wire.dicomfile.transfer_syntaxes import IMPLICIT_LE
from hounsfield.wire.dimse import messages
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.dimse.status import Status, describe
from hounsfield.wire.ul.items import ProposedContext, RoleSelection, UserInformation
from hounsfield.wire.ul.pdu import AssociateRequest


@dataclass(frozen=True, slots=True)
class PeerSettings:
    ae_title: str
    connect_seconds: float = 30.0
    answer_seconds: float = 120.0
    #: Associations that one C-MOVE or send uses side by side.
    parallel: int = 4
    tls: ssl.SSLContext | None = None


class DimsePeers:
    """`ports.peers.Peers`. `data_sets` is what we send, `store` makes receivers for what our own C-GET
    brings; None where nothing is sent or brought."""

    def __init__(
        self,
        settings: PeerSettings,
        data_sets: DataSets | None,
        transcoder: Transcoder,
        store: StoreFactory | None = None,
    ) -> None:
        self.settings = settings
        self.data_sets = data_sets
        self.transcoder = transcoder
        self.store = store

    async def echo(self, peer: Device) -> Mapping[str, str]:
        began = time.monotonic()
        async with self._associate(peer, proposals([VERIFICATION])) as association:
            context = _context(association, VERIFICATION, peer)
            connected = time.monotonic()
            request = messages.c_echo_rq(association.new_message_id())
            response = await self._ask(association, context, request, None, peer)
            _check(response.command, "C-ECHO", peer)
            accepted = association.core.accepted
            assert accepted is not None
            return {
                "implementation_class_uid": accepted.user.implementation_class_uid,
                "implementation_version": accepted.user.implementation_version,
                "max_length": str(accepted.user.max_length),
                "associate_ms": f"{(connected - began) * 1000:.1f}",
                "echo_ms": f"{(time.monotonic() - connected) * 1000:.1f}",
            }

    async def find(
        self, peer: Device, model: str, level: Level, identifier: Mapping[str, str]
    ) -> AsyncIterator[Mapping[str, str]]:
        sop_class = FIND[model]
        async with self._associate(peer, proposals([sop_class])) as association:
            context = _context(association, sop_class, peer)
            request = messages.c_find_rq(association.new_message_id(), sop_class)
            data = _identifier(context, level, identifier, peer)
            async for response in self._responses(association, context, request, data, peer):
                if response.command.status in (Status.PENDING, Status.PENDING_OPTIONAL_KEYS_NOT_SUPPORTED):
                    yield _answer(response, peer.character_set, peer)
                else:
                    _check(response.command, "C-FIND", peer)

    async def move(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        destination: str,
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        sop_class = MOVE[model or usual_model(level)]
        async with self._associate(peer, proposals([sop_class])) as association:
            context = _context(association, sop_class, peer)
            request = messages.c_move_rq(association.new_message_id(), sop_class, destination)
            return await self._retrieve(association, context, request, level, identifier, peer, progress)

    async def get(
        self,
        peer: Device,
        level: Level,
        identifier: Mapping[str, str],
        progress: Callable[[SubOperations], None] | None = None,
        *,
        model: str = "",
    ) -> SubOperations:
        if self.store is None:
            raise PeerError("C-GET needs a store to put the objects into", "Run it where the archive is open")
        sop_class = GET[model or usual_model(level)]
        incoming, roles = incoming_proposals(3)
        responder = IncomingStores(self.store, peer)
        async with self._associate(peer, proposals([sop_class]) + incoming, roles, responder) as association:
            context = _context(association, sop_class, peer)
            request = messages.c_get_rq(association.new_message_id(), sop_class)
            return await self._retrieve(association, context, request, level, identifier, peer, progress)

    async def send(
        self,
        peer: Device,
        instances: Sequence[StoredInstance],
        progress: Callable[[SendResult], None],
        *,
        cancelled: Callable[[], bool] = lambda: False,
        originator: tuple[str, int] | None = None,
    ) -> None:
        told = 0

        def took(result: SendResult) -> None:
            nonlocal told
            told += 1
            progress(result)

        groups = groups_for_sending(instances, self.transcoder, self.settings.parallel)
        outcomes = await asyncio.gather(
            *(
                self._send_group(peer, group, contexts, took, cancelled, originator)
                for group, contexts in groups
            ),
            return_exceptions=True,
        )
        # An association that failed while another one took over all its objects harmed nothing.
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and told < len(instances):
                raise outcome

    async def _send_group(
        self,
        peer: Device,
        group: deque[StoredInstance],
        contexts: list[ProposedContext],
        progress: Callable[[SendResult], None],
        cancelled: Callable[[], bool],
        originator: tuple[str, int] | None,
    ) -> None:
        async with self._associate(peer, contexts) as association:
            channel = AssociationChannel(association, self.settings.answer_seconds)
            assert self.data_sets is not None, "sending needs an archive"
            await send_all(
                channel,
                group,
                self.data_sets,
                self.transcoder,
                progress,
                cancelled=cancelled,
                originator=originator,
            )

    async def report_commitment(
        self,
        peer: Device,
        transaction_uid: str,
        committed: Sequence[tuple[str, str]],
        failed: Sequence[tuple[str, str, int]],
    ) -> None:
        # PS3.4 J.3.3: on a new association the SCP of the service is its requestor, and says so by role.
        roles = (RoleSelection(STORAGE_COMMITMENT_PUSH, scu=False, scp=True),)
        async with self._associate(peer, proposals([STORAGE_COMMITMENT_PUSH]), roles) as association:
            context = _context(association, STORAGE_COMMITMENT_PUSH, peer)
            request = messages.n_event_report_rq(
                association.new_message_id(),
                STORAGE_COMMITMENT_PUSH,
                STORAGE_COMMITMENT_PUSH_INSTANCE,
                event_type=2 if failed else 1,
            )
            data = encode(
                commitment_items(transaction_uid, committed, failed),
                explicit=context.transfer_syntax != IMPLICIT_LE,
            )
            response = await self._ask(association, context, request, data, peer)
            _check(response.command, "N-EVENT-REPORT", peer)

    async def request_commitment(
        self,
        peer: Device,
        transaction_uid: str,
        pairs: Sequence[tuple[str, str]],
        seconds: float,
        take: Callable[[CommitmentAnswer], None] = lambda answer: None,
        elsewhere: asyncio.Event | None = None,
    ) -> CommitmentAnswer | None:
        report = IncomingReport(transaction_uid, take)
        contexts = proposals([STORAGE_COMMITMENT_PUSH])
        async with self._associate(peer, contexts, responder=report) as association:
            context = _context(association, STORAGE_COMMITMENT_PUSH, peer)
            request = messages.n_action_rq(
                association.new_message_id(), STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE, 1
            )
            items = commitment_items(transaction_uid, pairs, ())
            data = encode(items, explicit=context.transfer_syntax != IMPLICIT_LE)
            response = await self._ask(association, context, request, data, peer)
            _check(response.command, "N-ACTION", peer)
            return await report.wait(association, seconds, elsewhere)

    # What they share -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _associate(
        self,
        peer: Device,
        contexts: list[ProposedContext],
        roles: tuple[RoleSelection, ...] = (),
        responder: Responder | None = None,
    ) -> AsyncIterator[Association]:
        """An association with a peer; every way in which it can fail is a PeerError that says where."""
        where = f"{peer.ae_title} at {peer.host}:{peer.port}"
        if not peer.host or not peer.port:
            raise PeerError(
                f"{peer.name} has no address", f"Give it one: hounsfield device add {peer.name} ..."
            )
        user = UserInformation(
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            roles=roles,
        )
        request = AssociateRequest(peer.ae_title, self.settings.ae_title, tuple(contexts), user)
        tls = (self.settings.tls or ssl.create_default_context()) if peer.tls else None
        try:
            async with associate(
                peer.host,
                peer.port,
                request,
                responder=responder,
                tls=tls,
                seconds=self.settings.connect_seconds,
            ) as association:
                yield association
        except AssociationRejectedError as error:
            raise PeerError(
                f"{where} rejected the association: {error}",
                f"Check there that {self.settings.ae_title} is known and {peer.ae_title} is its own title",
            ) from error
        except ssl.SSLError as error:
            raise PeerError(
                f"TLS with {where} failed: {error.reason or error}", "Check both certificates"
            ) from error
        except TimeoutError as error:
            raise PeerError(f"{where} does not answer", "Check address, port and firewall") from error
        except ConnectionRefusedError as error:
            raise PeerError(f"{where} refuses the connection", "Check that it runs and its port") from error
        except ConnectionError as error:
            raise PeerError(f"{where} broke off: {error}", "Look at that system's log") from error
        except OSError as error:
            raise PeerError(
                f"{where} cannot be reached: {error.strerror or error}", "Check the address"
            ) from error

    async def _ask(
        self, association: Association, context: Context, request: Command, data: bytes | None, peer: Device
    ) -> Response:
        try:
            return await association.ask(context.id, request, data, self.settings.answer_seconds)
        except TimeoutError as error:
            association.abort("no answer in time")
            raise PeerError(
                f"{peer.ae_title} does not answer {request.name}", "Look at that system's log"
            ) from error

    async def _responses(
        self, association: Association, context: Context, request: Command, data: bytes, peer: Device
    ) -> AsyncIterator[Response]:
        """All answers to a request, up to the first that is not pending."""
        answers = association.expect(request.message_id)
        try:
            association.send(context.id, request, data)
            while True:
                response = await answers.next(self.settings.answer_seconds)
                yield response
                if response.command.status not in (
                    Status.PENDING,
                    Status.PENDING_OPTIONAL_KEYS_NOT_SUPPORTED,
                ):
                    return
        except TimeoutError as error:
            association.abort("no answer in time")
            raise PeerError(
                f"{peer.ae_title} does not answer {request.name}", "Look at that system's log"
            ) from error
        finally:
            association.forget(request.message_id)

    async def _retrieve(
        self,
        association: Association,
        context: Context,
        request: Command,
        level: Level,
        identifier: Mapping[str, str],
        peer: Device,
        progress: Callable[[SubOperations], None] | None,
    ) -> SubOperations:
        data = _identifier(context, level, identifier, peer)
        counts = SubOperations()
        async for response in self._responses(association, context, request, data, peer):
            command = response.command
            counts.remaining = command.remaining or 0
            counts.completed = command.completed or 0
            counts.failed = command.failed or 0
            counts.warning = command.warning or 0
            if progress is not None:
                progress(counts)
            if command.status == Status.PENDING:
                continue
            failed = _answer(response, "", peer).get("FailedSOPInstanceUIDList", "")
            why = command.error_comment or describe(command.status)
            counts.failures = [SendResult(uid, command.status, why) for uid in failed.split("\\") if uid]
            if command.status not in (Status.SUCCESS, Status.SUBOPERATIONS_WITH_FAILURES, Status.CANCEL):
                _check(command, request.name, peer)
        return counts


def _context(association: Association, sop_class: str, peer: Device) -> Context:
    usable = [c for c in association.contexts.values() if c.abstract_syntax == sop_class]
    if not usable:
        raise PeerError(
            f"{peer.ae_title} accepted no presentation context for {sop_class}",
            "It does not offer this service to us, or in none of our transfer syntaxes",
        )
    return usable[0]


def _answer(response: Response, character_set: str, peer: Device) -> dict[str, str]:
    try:
        return read_identifier(response.data, response.context, character_set)
    except MalformedError as error:
        raise PeerError(
            f"{peer.ae_title} sent an answer that cannot be read: {error}", "Look at that system's log"
        ) from error


def _check(command: Command, what: str, peer: Device) -> None:
    if command.status not in (Status.SUCCESS,) and command.status & 0xF000 != 0xB000:
        comment = f": {command.error_comment}" if command.error_comment else ""
        raise PeerError(
            f"{peer.ae_title} answered {what}: {command.status:04X}H, {describe(command.status)}{comment}",
            "Look at that system's log",
        )


def _identifier(context: Context, level: Level, identifier: Mapping[str, str], peer: Device) -> bytes:
    items = identifier_items({"QueryRetrieveLevel": level.name, **identifier}, peer.character_set)
    return encode(items, explicit=context.transfer_syntax != IMPLICIT_LE)
