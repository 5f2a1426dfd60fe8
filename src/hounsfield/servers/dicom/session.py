"""One connection from its first byte to its last: who calls, may it, what is it told, how did it end."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from hounsfield.domain.device import Admission, Device, DeviceState, Verdict
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.ids import clean_ae_title, is_ae_title
from hounsfield.net.association import Association, Context
from hounsfield.net.link import Link
from hounsfield.servers.dicom.negotiation import answer_request, contexts_of, refused_contexts
from hounsfield.servers.dicom.requests import Requests
from hounsfield.servers.dicom.slots import Slot
from hounsfield.services import tracing
from hounsfield.wire.ul import events as ul
from hounsfield.wire.ul.pdu import AssociateReject, AssociateRequest
from hounsfield.wire.ul.reasons import (
    AbortReason,
    AbortSource,
    PresentationReason,
    RejectResult,
    RejectSource,
    UserReason,
    describe_reject,
)

if TYPE_CHECKING:
    from hounsfield.servers.dicom.server import DicomServer

_NOT_RECOGNIZED = (RejectResult.PERMANENT, RejectSource.USER, UserReason.CALLING_AE_TITLE_NOT_RECOGNIZED)
_CALLED_UNKNOWN = (RejectResult.PERMANENT, RejectSource.USER, UserReason.CALLED_AE_TITLE_NOT_RECOGNIZED)
_NO_REASON = (RejectResult.PERMANENT, RejectSource.USER, UserReason.NO_REASON_GIVEN)
_NO_CONTEXT_NAME = (
    RejectResult.PERMANENT,
    RejectSource.USER,
    UserReason.APPLICATION_CONTEXT_NOT_SUPPORTED,
)
_LIMIT = (
    RejectResult.TRANSIENT,
    RejectSource.PROVIDER_PRESENTATION,
    PresentationReason.LOCAL_LIMIT_EXCEEDED,
)
_CONGESTION = (
    RejectResult.TRANSIENT,
    RejectSource.PROVIDER_PRESENTATION,
    PresentationReason.TEMPORARY_CONGESTION,
)


#: Between two objects of one study a sender pauses no longer than this: a stop waits for it.
PAUSE_SECONDS = 2.0


class Session:
    """The user of one accepted connection's link; owns its association."""

    def __init__(self, server: DicomServer, tls: bool) -> None:
        self.server = server
        self.id = secrets.token_hex(6)
        self.tls = tls
        self.link: Link | None = None
        self.association: Association | None = None
        self.requests: Requests | None = None
        self.device: Device | None = None
        self.quarantine = False
        self.calling = ""
        self.called = ""
        self.slot = Slot("", self.drop, lambda: self.active)
        self.active = server.clock.monotonic()
        self.accepted_at = 0.0
        self._ended = False
        self._noted = False
        self.release_waits = False
        self._task: asyncio.Task[None] | None = None

    # The link's events ---------------------------------------------------------------------------------

    def connected(self, link: Link) -> None:
        self.link = link
        self.slot.address = link.peer_address
        self.slot.busy = lambda: self.is_busy() and not link.stuck
        self.server.sessions.add(self)
        self.server.slots.connected(self.slot)

    def happened(self, event: ul.Event) -> None:
        kind = type(event)
        if kind is ul.Pdv:
            if self.association is not None:
                self.association.received(event)  # type: ignore[arg-type]
        elif isinstance(event, ul.AssociateRequested):
            self.slot.asked = True
            self._task = asyncio.get_running_loop().create_task(self._decide(event.request))
        elif isinstance(event, ul.ReleaseRequested):
            self.release_waits = True
            if self.association is not None and self.association.receiving:
                self.association.abort("the peer asked for release within a message")
            self.maybe_release()
        elif isinstance(event, ul.Aborted):
            self.end("aborted-by-peer", str(event))
        elif isinstance(event, ul.ProtocolError):
            self.end("aborted-by-us", str(event))
        elif isinstance(event, ul.ConnectionLost):
            self.end("lost", "the connection was closed without release or abort")
        elif isinstance(event, ul.Released):
            self.end("released", "")

    def idle(self, stalled: bool) -> bool:
        if self.is_busy() and not stalled:  # the peer waits for us
            return False
        self.drop("the peer takes no data" if stalled else "silent for too long")
        return True

    def closed(self, error: Exception | None) -> None:
        self.end("lost", f"the connection broke: {error}" if error else "the connection was closed")
        self.server.slots.gone(self.slot)
        self.server.sessions.discard(self)

    # Negotiation ---------------------------------------------------------------------------------------

    async def _decide(self, request: AssociateRequest) -> None:
        """Accept or reject; what has to be looked up in the database is looked up beside the loop."""
        self.calling = clean_ae_title(request.calling)
        self.called = clean_ae_title(request.called)
        server, link = self.server, self.link
        assert link is not None
        try:
            verdict = await server.beside_loop(server.devices.verdict, self.calling, link.peer_address)
            rejection = await self._rejection(request, verdict)
            if self._ended or link.transport is None:
                return
            if rejection is None:
                self._accept(request, verdict)
            else:
                self._reject(*rejection)
                return
        except Exception as error:
            server.trouble("an association request could not be decided", error)
            if not self._ended and self.association is None and link.transport is not None:
                why = f"the archive cannot look up devices now: {type(error).__name__}"
                self._reject(*_CONGESTION, why)
            return
        try:
            await server.beside_loop(
                server.devices.seen,
                self.calling,
                self.called,
                link.peer_address,
                f"{request.user.implementation_class_uid} {request.user.implementation_version}".strip(),
                verdict,
            )
        except Exception as error:  # the association does not suffer
            server.trouble("that a device called could not be written down", error)

    async def _rejection(
        self, request: AssociateRequest, verdict: Verdict
    ) -> tuple[int, int, int, str] | None:
        settings = self.server.settings
        if request.application_context != "1.2.840.10008.3.1.1.1":
            return (*_NO_CONTEXT_NAME, "the application context is not DICOM's")
        if settings.called_ae_titles == "ours" and self.called != settings.ae_title:
            return (*_CALLED_UNKNOWN, f"called {self.called!r}, we are {settings.ae_title}")
        if verdict.admission is Admission.REFUSE:
            return (*_NOT_RECOGNIZED, verdict.reason)
        if not is_ae_title(self.calling):
            return (*_NOT_RECOGNIZED, "the calling AE title is empty, or holds what no AE title can")
        if self.server.stopping:
            return (*_CONGESTION, "the archive is stopping")
        identity = request.user.user_identity
        if (
            identity is not None
            and identity.kind == 2
            and not await self.server.passcode_fits(identity.primary, identity.secondary)
        ):
            return (*_NO_REASON, "the user name and passcode are not known here")
        device = verdict.device
        name = device.name if device else f"{self.calling}@{self.slot.address}"
        limit = self.server.share(device.max_associations) if device else 0
        admitted = device is not None and device.state is DeviceState.ADMITTED
        why = self.server.slots.associate(self.slot, name, limit, admitted=admitted)
        return (*_LIMIT, why) if why else None

    def _reject(self, result: int, source: int, reason: int, why: str) -> None:
        assert self.link is not None
        nearest = ""
        if source == RejectSource.USER:
            nearest = self.server.nearest_title(self.calling, self.called)
        self.server.note(
            Event(
                "association.rejected",
                self.server.clock.now(),
                Subjects(device=self.calling, association=self.id),
                f"device:{self.calling}",
                payload={
                    **self._who(),
                    "result": result,
                    "source": source,
                    "reason": reason,
                    "why": f"{describe_reject(result, source, reason)}: {why}",
                    "nearest": nearest,
                },
            )
        )
        self._noted = True
        self.server.slots.over(self.slot)
        self.link.core.reject(AssociateReject(result, source, reason))
        self.link.flush()

    def _accept(self, request: AssociateRequest, verdict: Verdict) -> None:
        assert self.link is not None
        self.device = verdict.device
        self.quarantine = verdict.admission is Admission.QUARANTINE
        accept = answer_request(request, self.server.policy)
        self.link.core.accept(accept)
        contexts = contexts_of(request, accept, self.link.core.contexts)
        self.requests = Requests(self.server, self)
        self.association = Association(self.link, contexts, self.requests)
        self.association.on_abort = lambda why: self.end("aborted-by-us", why)
        self.accepted_at = self.active = self.server.clock.monotonic()
        tracing.begin_bringing(self.id, "association", {"dicom.contexts": len(contexts)})
        self._note_accepted(request, contexts, refused_contexts(request, accept))
        self.link.flush()

    def _note_accepted(
        self, request: AssociateRequest, contexts: dict[int, Context], refused: list[list[object]]
    ) -> None:
        assert self.link is not None
        at, subjects, actor = self.server.clock.now(), self.subjects(), f"device:{self.calling}"
        identity = request.user.user_identity
        payload: dict[str, object] = {
            **self._who(),
            "contexts": [[c.id, c.abstract_syntax, c.transfer_syntax] for c in contexts.values()],
            "max_pdu": request.user.max_length,
            "implementation": f"{request.user.implementation_class_uid} "
            f"{request.user.implementation_version}".strip(),
        }
        if identity is not None:
            named = identity.kind in (1, 2)
            payload["user_identity"] = [identity.kind, _name_of(identity.primary) if named else ""]
        if self.tls:
            payload["tls"] = self.link.tls
        self.server.note(Event("association.accepted", at, subjects, actor, payload=payload))
        if refused:
            self.server.note(Event("context.refused", at, subjects, actor, payload={"contexts": refused}))

    # Life ----------------------------------------------------------------------------------------------

    def subjects(self, **more: str) -> Subjects:
        name = self.device.name if self.device else self.calling
        return Subjects(device=name, association=self.id, **more)

    def relational(self, abstract_syntax: str) -> bool:
        """Whether relational queries or retrieval were agreed for a SOP class (PS3.4 C.5.1.1, byte 1)."""
        return self.extended(abstract_syntax)[:1] == b"\x01"

    def extended(self, abstract_syntax: str) -> bytes:
        """What was agreed by SOP class extended negotiation, b"" for nothing."""
        accepted = self.link.core.accepted if self.link is not None else None
        if accepted is None:
            return b""
        return next((e.info for e in accepted.user.extended if e.sop_class_uid == abstract_syntax), b"")

    def is_busy(self) -> bool:
        """Whether we owe the peer an answer. What it has not sent to its end is owed by the peer."""
        if self.requests is None or self.association is None:
            return False
        return self.requests.outstanding > self.association.receiving

    def is_working(self) -> bool:
        """Whether the association is in the middle of something: what a stop waits for."""
        if self._ended or self.association is None:
            return False
        return self.is_busy() or self.server.clock.monotonic() - self.active < PAUSE_SECONDS

    def touch(self) -> None:
        """A message was completed."""
        self.active = self.server.clock.monotonic()

    def maybe_release(self) -> None:
        """Answer A-RELEASE-RQ once nothing is owed any more."""
        if not self.release_waits or self._ended or (self.requests is not None and self.requests.outstanding):
            return
        # Who has released can be asked, anywhere, for what it was acknowledged: the index has it by then.
        self.release_waits = False
        behind = self.server.store.rounds.barrier() if self.requests and self.requests.objects else None
        if behind is None:
            self._release()
        else:
            loop = asyncio.get_running_loop()
            behind.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))

    def _release(self) -> None:
        if self._ended:
            return
        assert self.link is not None
        if not self.link.core.can_answer_release:  # the peer sent more behind its A-RELEASE-RQ
            return
        self.link.core.accept_release()
        self.end("released", "")
        self.link.flush()

    def drop(self, why: str) -> None:
        """End this connection from our side."""
        if self.link is None:
            return
        if self.association is not None and not self._ended:
            self.link.core.abort(AbortSource.PROVIDER, AbortReason.NOT_SPECIFIED)
            self.end("aborted-by-us", why)
            self.link.flush()
            if self.link.stuck:  # it would not even take the abort
                self.link.abort_transport()
        else:
            self.end("dropped", why)
            self.link.abort_transport()

    def end(self, how: str, why: str) -> None:
        """The association, or the attempt, is over. Idempotent; writes the one ledger event of its end."""
        if self._ended:
            return
        self._ended = True
        self.server.slots.over(self.slot)
        if self.association is None:
            self._note_no_association(why)
            return
        self.association.ended(why or how)
        requests = self.requests
        objects = requests.objects if requests else 0
        tracing.end_bringing(self.id, {"dicom.ended": how, "dicom.objects": objects})
        self.server.note(
            Event(
                "association.ended",
                self.server.clock.now(),
                self.subjects(),
                f"device:{self.calling}",
                payload={
                    "how": how,
                    "why": why,
                    "objects": objects,
                    "bytes": requests.bytes if requests else 0,
                    "seconds": round(self.server.clock.monotonic() - self.accepted_at, 3),
                },
            )
        )
        if requests is not None:
            requests.close()

    def _note_no_association(self, why: str) -> None:
        if self._noted or self.link is None:
            return
        payload = {"address": self.link.peer_address, "why": why, "first": self.link.first_bytes.hex()}
        self.server.note(Event("connection.refused", self.server.clock.now(), payload=payload))

    def _who(self) -> dict[str, object]:
        assert self.link is not None
        return {"calling": self.calling, "called": self.called, "address": self.link.peer_address}


def _name_of(raw: bytes) -> str:
    return raw[:64].decode("utf-8", "replace")
