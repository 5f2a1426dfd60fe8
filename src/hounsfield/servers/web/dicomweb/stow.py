"""STOW-RS (PS3.18 10.5): objects come in through the one way in, as those of C-STORE do.

The body is read as it comes: an object goes on to the store while it is received, and no object waits for the
one before it. The answer comes when all that was kept is in the index, so that a search finds it. A body that
breaks off keeps what was complete by then; the same request may always be repeated.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field, replace

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hounsfield.domain.access import Permission, Scope
from hounsfield.domain.errors import StorageFullError
from hounsfield.domain.events import Event, Subjects
from hounsfield.domain.identify import Refusal
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.names import name_key
from hounsfield.domain.query import Level, Query, Single
from hounsfield.domain.stored import Origin
from hounsfield.domain.study import ObjectKeys, Patient
from hounsfield.ports.database import Transaction
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.dicomweb.asking import ROOT, accepted, not_acceptable
from hounsfield.servers.web.dicomweb.stow_answer import answer, status_of
from hounsfield.servers.web.guard import Rule
from hounsfield.servers.web.problems import RETRY_SECONDS, Problem
from hounsfield.services import tracing
from hounsfield.services.upload import NOT_AUTHORIZED, OTHER_STUDY, Part, Upload
from hounsfield.services.upload_bulk import BulkUpload, MetadataLimitError, UploadPart
from hounsfield.wire.dicomweb.accept import (
    DICOM,
    JSON,
    METADATA_OFFERS,
    PLAIN_JSON,
    RELATED,
    XML,
    AcceptError,
    negotiate,
    parse_media_type,
)
from hounsfield.wire.dicomweb.multipart import (
    Limits,
    MultipartError,
    MultipartLimitError,
    PartBegin,
    PartData,
    PartEnd,
    RelatedReader,
    boundary_of,
    related_part_type,
)
from hounsfield.wire.dicomweb.xml import json_to_xml

#: Objects, and parts of any kind, of one request.
MOST_PARTS = 50_000
#: So long an answer waits for the index; what is durable by then is kept, and in the index later.
INDEX_SECONDS = 30.0
#: Refusals of one request that the ledger tells one by one.
MOST_NOTED = 1000
_METADATA = frozenset({JSON, PLAIN_JSON, XML})
_TAKEN = (
    f'multipart/related with type "{DICOM}", "{JSON}" or "{XML}", or one {DICOM}, {JSON} or {XML} alone, '
    "without a Content-Encoding"
)


class _Gate:
    """Waits for what other threads tell."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def open(self) -> None:
        """Any thread."""
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            pass  # the loop is closed, and nobody waits any more

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()


@dataclass(slots=True)
class _Intake:
    """A body on its way into an upload: one part at a time."""

    web: the_web.Web
    upload: Upload
    bulk: BulkUpload
    room: _Gate  # told when objects have become durable
    asks_database: bool  # whether who stores is limited to some studies
    root_type: str  # of the whole body, for parts that do not tell their own
    flow: _Gate = field(default_factory=_Gate)  # told when a part may go on
    part: UploadPart | None = None

    async def begin(self, content_type: str, location: str) -> None:
        while self.upload.crowded:
            await self.room.wait()
        try:
            media_type = parse_media_type(content_type).media_type if content_type else self.root_type
        except AcceptError as error:
            raise Problem(400, "The body cannot be read", str(error)) from error
        if media_type == DICOM:
            self.part = self.upload.part10()
        elif media_type in _METADATA:
            self.part = self.bulk.metadata_part(media_type)
        elif location:
            self.part = self.bulk.bulk_part(content_type, location)
        else:
            raise Problem(
                415,
                "This media type is not taken here",
                f"A part is neither {DICOM} nor metadata, and has no Content-Location by which metadata "
                "could name it as bulk data",
            )

    async def write(self, data: memoryview | bytes) -> None:
        assert self.part is not None
        if not self.part.write(data, self.flow.open):
            await self.flow.wait()

    async def end(self, *, last: bool = False) -> None:
        """`last`: nothing comes behind it."""
        part, self.part = self.part, None
        assert part is not None
        if isinstance(part, Part) and not self.asks_database:
            part.end(alone=last and not self.upload.open and self.web.uploads == 1)
        else:
            await self.web.beside_loop(part.end)

    def cut(self) -> None:
        if self.part is not None:
            self.part.cut()
            self.part = None


async def store(request: Request) -> Response:
    """Store instances, of any studies or of one."""
    try:
        return await _store(request)
    except Problem as problem:
        problem.headers.setdefault("Connection", "close")  # what the client still sends is not waited for
        raise


async def _store(request: Request) -> Response:
    study = request.path_params.get("study", "")
    if study and not is_tolerated_uid(study):
        raise Problem(400, "This is no UID", "A Study Instance UID is digits and dots, at most 64 of them")
    as_xml = _answers_xml(request)
    content_type, root_type = _content_type(request)
    web = the_web.of(request)
    service = the_web.base_url(request) + ROOT
    room = _Gate()
    scope = the_web.principal(request).scope
    origin = _origin(request)
    upload = Upload(web.store, origin, lambda keys: _refusal(web, scope, study, keys), room.open)
    base = f"{service}{request.url.path.removeprefix(ROOT)}/"
    tracing.begin_bringing(origin.association, "upload")
    web.uploads += 1
    try:
        with BulkUpload(web.settings.data / "uploads", base, web.threads, web.room_left) as bulk:
            intake = _Intake(web, upload, bulk, room, not scope.unlimited, root_type)
            trouble = await _read(request, intake, content_type)
            if trouble is None and bulk.metadata:
                await web.beside_loop(bulk.hand_over, upload)
        await _settled(upload, room)
    finally:
        web.uploads -= 1
        tracing.end_bringing(origin.association, {"dicom.objects": len(upload.fates)})
    _note_refused(request, upload)
    if trouble is not None:
        kept = sum(not fate.status for fate in upload.fates)
        more = f"; {kept} objects before it are kept" if kept else ""
        raise Problem(trouble.status, trouble.title, trouble.detail + more, trouble.headers)
    if not upload.fates:
        raise Problem(400, "There is nothing to store", "The body has no object")
    text = answer(upload.fates, service)
    status = status_of(upload.fates)
    headers = {"Retry-After": RETRY_SECONDS} if status == 503 else {}
    if as_xml:
        return Response(json_to_xml(text), status, headers, XML)
    return Response(text.encode("utf-8", "replace"), status, headers, JSON)


def _answers_xml(request: Request) -> bool:
    """Before anything is read: an answer that cannot be given would come too late."""
    choice = negotiate(accepted(request), METADATA_OFFERS)
    if choice is None:
        raise not_acceptable(f"The answer is {JSON} or {XML}")
    return choice.media_type == XML


def _content_type(request: Request) -> tuple[str, str]:
    """The Content-Type, and the media type of what it holds. Raises Problem 400, 415."""
    header = request.headers.get("content-type", "")
    unsupported = Problem(415, "This media type is not taken here", f"Send {_TAKEN}", {"Accept": RELATED})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise unsupported
    try:
        media_type = parse_media_type(header).media_type if header else ""
        if media_type != RELATED:
            root_type = media_type
        else:
            boundary_of(header)
            root_type = related_part_type(header) or DICOM
    except (AcceptError, MultipartError) as error:
        raise Problem(400, "The Content-Type cannot be read", str(error)) from error
    if root_type != DICOM and root_type not in _METADATA:
        raise unsupported
    return ("" if media_type != RELATED else header), root_type


def _origin(request: Request) -> Origin:
    principal = the_web.principal(request)
    sites = principal.scope.sites or ()
    site = next(iter(sites)) if len(sites) == 1 else ""
    return Origin("stow", principal.name, uuid.uuid4().hex[:12], the_web.address(request), site)


def _refusal(web: the_web.Web, scope: Scope, study: str, keys: ObjectKeys) -> Refusal | None:
    """Why this object may not come in here. Reads the database where the scope is limited."""
    own = keys.study.study_instance_uid
    if study and own != study:
        return Refusal(OTHER_STUDY, "it is of another study than that of the request's address")
    if scope.unlimited:
        return None
    with web.database.read() as tx:
        if tx.index.study_seen(own, Scope()):
            allowed = tx.index.study_seen(own, scope)
        else:
            allowed = scope.sees(own, scope.sites or ())
            if allowed and _would_reveal(tx, scope, keys.patient):
                return Refusal(NOT_AUTHORIZED, "its Patient ID is of another patient here; give an issuer")
    return None if allowed else Refusal(NOT_AUTHORIZED, "this study is not for you to add to")


def _would_reveal(tx: Transaction, scope: Scope, patient: Patient) -> bool:
    """Whether a study of this patient would show what is kept of one whom the principal does not see: studies
    with the same Patient ID and issuer are of one patient, who is called as in the first."""
    if not patient.patient_id:
        return False
    wanted = frozenset({"PatientName", "PatientBirthDate", "IssuerOfPatientID"})
    query = Query(Level.PATIENT, {"PatientID": Single(patient.patient_id)}, wanted)
    for row in tx.index.search(query):
        if row["IssuerOfPatientID"] != patient.issuer:
            continue
        told = name_key(patient.name), patient.birth_date
        if told == (name_key(row["PatientName"]), row["PatientBirthDate"]):
            continue
        seen = tx.index.search(replace(query, scope=scope))
        return not any(one["IssuerOfPatientID"] == patient.issuer for one in seen)
    return False


async def _read(request: Request, intake: _Intake, content_type: str) -> Problem | None:
    """Read the body to its end. What is wrong with it, where something is: what came before may be kept."""
    try:
        if content_type:
            await _read_related(request, intake, content_type)
        else:
            await _read_single(request, intake)
    except MultipartLimitError as error:
        return Problem(413, "The request is too large", str(error))
    except MultipartError as error:
        return Problem(400, "The body cannot be read", str(error))
    except MetadataLimitError as error:
        return Problem(413, "The request is too large", str(error))
    except StorageFullError as error:
        return Problem(507, "The storage is full", str(error))
    except ClientDisconnect:
        return Problem(400, "The request broke off")  # nobody is there to hear
    except Problem as problem:
        return problem
    finally:
        intake.cut()
    return None


async def _read_related(request: Request, intake: _Intake, content_type: str) -> None:
    reader = RelatedReader(boundary_of(content_type), Limits(max_parts=MOST_PARTS))
    async for chunk in request.stream():
        if not chunk:
            continue
        events = reader.feed(chunk)
        for event in events:
            if isinstance(event, PartData):
                await intake.write(event.data)
            elif isinstance(event, PartBegin):
                await intake.begin(event.content_type, event.location)
            elif isinstance(event, PartEnd):
                await intake.end(last=reader.ended and event is events[-1])
    reader.finish()


async def _read_single(request: Request, intake: _Intake) -> None:
    async for chunk in request.stream():
        if chunk:
            if intake.part is None:
                await intake.begin(intake.root_type, "")
            await intake.write(chunk)
    if intake.part is not None:
        await intake.end(last=True)


async def _settled(upload: Upload, room: _Gate) -> None:
    """Wait until every object is durable or refused and, for a while, until it is in the index."""
    while upload.open:
        await room.wait()
    entered = upload.store.rounds.barrier()
    if entered is not None and upload.waiting():
        await asyncio.wait([asyncio.wrap_future(entered)], timeout=INDEX_SECONDS)
    upload.settle(all_of_them=True)


def _note_refused(request: Request, upload: Upload) -> None:
    """What is not kept is in the ledger too. (What is kept, or held, the index has written down.)"""
    web = the_web.of(request)
    origin = upload.origin
    subjects = Subjects(association=origin.association)
    refused = [fate for fate in upload.fates if fate.status and not fate.held]
    for fate in refused[:MOST_NOTED]:
        payload: dict[str, object] = {
            "sop": fate.sop_instance_uid,
            "sop_class": fate.sop_class_uid,
            "status": f"{fate.status:04X}",
            "why": fate.why,
            "source": origin.source,
        }
        web.recorder.note(Event("instance.refused", web.clock.now(), subjects, origin.actor, payload=payload))


_PATHS = ("/studies", "/studies/{study}")
routes: list[BaseRoute] = [Route(ROOT + path, store, methods=["POST"]) for path in _PATHS]
RULES: tuple[Rule, ...] = tuple(
    Rule("POST", ROOT + path, Permission.STUDIES_STORE, upload=True) for path in _PATHS
)
