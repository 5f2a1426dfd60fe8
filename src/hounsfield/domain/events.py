"""The one catalogue of ledger events. What is not in it cannot be recorded.

An event has a type of this catalogue, the subjects by which it is found, an actor, and a payload whose
fields are listed here. Payloads hold JSON values. Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hounsfield.domain.event_types import EventType
from hounsfield.domain.event_types import event_type as _e
from hounsfield.domain.events_web import WEB_EVENTS


@dataclass(frozen=True, slots=True)
class Subjects:
    """By what an event is found. '' where it does not apply."""

    accession: str = ""
    patient: str = ""  # Patient ID
    study: str = ""  # Study Instance UID
    series: str = ""  # Series Instance UID
    device: str = ""  # device name, or AE title of an unknown one
    association: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before the ledger numbers and chains it."""

    type: str
    at: int
    subjects: Subjects = Subjects()
    actor: str = "system"  # "system", "user:<name>", "device:<name>", "cli:<os user>"
    cause: str = ""  # "<writer>:<n>" of the event that caused this one
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the ledger keeps it: number `n` of the chain of `writer`, with its chained hash."""

    writer: str
    n: int
    event: Event
    version: int
    hash: bytes


_OBJECT = {
    "sop": "SOP Instance UID",
    "sop_class": "SOP Class UID",
    "hash": "BLAKE3 of the data set, hex",
    "bytes": "length of the data set",
}
_WHO = {"calling": "calling AE title", "called": "called AE title", "address": "peer address"}

CATALOGUE: Mapping[str, EventType] = {
    e.name: e
    for e in (
        _e(
            "server.started",
            "A role started.",
            role="which role",
            version="program version",
            settings="settings that are not secret",
        ),
        _e("server.stopped", "A role stopped in good order.", role="which role"),
        _e(
            "association.accepted",
            "An association was accepted.",
            **_WHO,
            contexts="per context: id, abstract syntax, transfer syntax accepted, or result",
            max_pdu="peer's maximum length",
            implementation="class UID and version name",
            user_identity="type and, for a username, the name",
            tls="protocol and peer certificate subject, where TLS",
        ),
        _e(
            "association.rejected",
            "An association was rejected.",
            **_WHO,
            result="A-ASSOCIATE-RJ result",
            source="source",
            reason="reason code",
            why="in words",
            nearest="a known AE title that looks alike",
        ),
        _e(
            "association.ended",
            "An association was released, aborted or lost.",
            **_WHO,
            how="released, aborted-by-peer, aborted-by-us, lost, timeout",
            why="in words",
            objects="objects stored",
            bytes="bytes of data sets",
            seconds="duration",
        ),
        _e(
            "connection.refused",
            "A connection ended before any association.",
            address="peer address",
            why="not DICOM, TLS failure, ARTIM timeout, connection limit",
            first="first bytes, hex",
            count="how many alike, where counted together",
        ),
        _e(
            "context.refused",
            "Presentation contexts were refused.",
            contexts="per context: id, abstract syntax, transfer syntaxes proposed, result",
        ),
        _e(
            "message.refused",
            "A DIMSE request was answered with a failure.",
            command="which request",
            status="status, hex",
            comment="Error Comment",
            sop="Affected SOP Instance UID",
        ),
        _e(
            "instance.stored",
            "Objects were kept and acknowledged.",
            objects="list of [SOP Instance UID, SOP Class UID, BLAKE3 hex, bytes]",
            source="dimse, import, ...",
            handed_over="true where pydicom had to read the header, which the fast scan could not",
        ),
        _e(
            "instance.duplicate",
            "Objects that are kept already came again, identical: acknowledged, not kept twice.",
            objects="list of SOP Instance UIDs",
            source="dimse, import, ...",
            handed_over="true where pydicom had to read the header, which the fast scan could not",
        ),
        _e(
            "instance.conflict",
            "An object came whose SOP Instance UID is kept with other content: it is held in quarantine.",
            **_OBJECT,
            current="BLAKE3 of the current one",
            quarantine="quarantine id",
            source="dimse, import, ...",
        ),
        _e(
            "instance.quarantined",
            "An object was kept in quarantine.",
            **_OBJECT,
            reason="why",
            quarantine="quarantine id",
            source="dimse, import, ...",
            why="the error, where the index failed at it",
        ),
        _e(
            "instance.set_aside",
            "An object of the intake log could not be entered into the index; its file is kept.",
            hash="BLAKE3 of the data set, hex",
            bytes="length of the object",
            blob="where the log has it",
            offset="offset",
            file="where it is kept now, below the data folder",
            why="the error",
            source="dimse, import, ...",
        ),
        _e(
            "instance.released",
            "Quarantined objects became current.",
            objects="list of SOP Instance UIDs",
            reason="why they were held",
        ),
        _e(
            "instance.dropped",
            "A person gave up objects that were held in quarantine.",
            objects="list of [SOP Instance UID, BLAKE3 hex]",
            places="list of [blob, offset], where each was: replay of a log passes them over",
            reason="why they were held",
            why="why they were given up",
        ),
        _e(
            "instance.refused",
            "An object was refused; nothing of it is kept.",
            sop="SOP Instance UID, where readable",
            sop_class="SOP Class UID",
            status="DIMSE status, hex",
            why="in words",
            source="dimse, import, ...",
            file="file name, for an import",
        ),
        _e("study.created", "The first object of a study came."),
        _e("series.created", "The first object of a series came.", modality="Modality"),
        _e(
            "query.answered",
            "A C-FIND was answered.",
            model="information model",
            level="query level",
            keys="matching keys, without patient values",
            matches="number of matches",
            status="final status, hex",
            milliseconds="duration",
        ),
        _e(
            "retrieve.ended",
            "A C-GET or C-MOVE ended, or a send.",
            verb="get, move, send",
            level="level",
            destination="move destination",
            completed="sub-operations",
            failed="sub-operations",
            warning="sub-operations",
            remaining="not begun, when cancelled",
            failures="list of [SOP Instance UID, reason]",
            status="final status, hex",
            seconds="duration",
            bytes="bytes sent",
        ),
        _e(
            "commitment.requested",
            "Storage commitment was requested.",
            transaction="Transaction UID",
            objects="how many",
        ),
        _e(
            "commitment.reported",
            "The commitment report was delivered.",
            transaction="Transaction UID",
            committed="how many",
            failed="list of [SOP Instance UID, reason]",
            attempt="which attempt",
            over="same or new association",
        ),
        _e(
            "commitment.undelivered",
            "A commitment report could not be delivered; it will be tried again.",
            transaction="Transaction UID",
            attempt="which attempt",
            why="in words",
        ),
        _e(
            "commitment.asked",
            "The archive asked another system to commit to objects that it has sent there.",
            transaction="Transaction UID",
            objects="list of [SOP Instance UID, SOP Class UID]",
        ),
        _e(
            "commitment.refused",
            "The request for commitment did not reach the other system, or was refused there.",
            transaction="Transaction UID",
            why="in words",
        ),
        _e(
            "commitment.answered",
            "The other system reported what it is committed to.",
            transaction="Transaction UID",
            committed="how many of the objects that it was asked for",
            failed="list of [SOP Instance UID, reason]",
            missing="list of SOP Instance UIDs that were asked for and that the report does not name",
            over="same or new association",
        ),
        _e(
            "import.ended",
            "An import ended.",
            path="what was imported",
            new="how many",
            identical="how many",
            conflicting="how many",
            quarantined="how many",
            refused="how many",
            skipped="how many files that are no objects",
            complete="whether it went to its end",
            seconds="duration",
        ),
        _e(
            "series.packed",
            "A settled series was written into one file.",
            pack="key",
            generation="generation",
            objects="how many",
            bytes="length of the pack",
        ),
        _e(
            "log.replayed",
            "After an unclean stop the intake log was replayed.",
            segments="how many",
            entered="objects entered into the index",
            known="objects the index knew",
            torn="bytes cut off as torn",
            set_aside="objects that could not be entered, kept as files of their own",
        ),
        _e(
            "blob.removed",
            "A file that a crash had left, and that nothing named, was removed.",
            key="blob",
            bytes="its length",
            objects="list of SOP Instance UIDs in it; each was found whole elsewhere",
        ),
        _e(
            "blob.damaged",
            "Kept bytes are not what was received.",
            sop="SOP Instance UID",
            key="blob",
            offset="offset",
            why="in words",
        ),
        _e(
            "study.verified",
            "The bytes of a study were read and compared with their hashes.",
            objects="how many",
            damaged="list of SOP Instance UIDs",
        ),
        _e(
            "device.seen",
            "An unknown device was seen for the first time.",
            **_WHO,
            implementation="class UID and version name",
        ),
        _e(
            "device.changed",
            "A device was added, changed, admitted, refused or removed.",
            change="which",
            before="record before",
            after="record after",
            reason="why",
        ),
        *WEB_EVENTS,
        _e(
            "job.dead",
            "A job failed so often that it was set aside.",
            job="id",
            kind="kind",
            attempts="how many",
            why="last error",
        ),
        _e("job.revived", "A job that was set aside was put back.", job="id", kind="kind"),
        _e(
            "job.discarded",
            "A person gave a job up.",
            job="id",
            kind="kind",
            error="last error",
            why="why it was given up",
        ),
        _e(
            "ledger.verified",
            "The ledger's chains were recomputed.",
            chains="how many",
            events="how many",
            broken="list of [writer, n, why]",
        ),
    )
}

__all__ = ["CATALOGUE", "Event", "EventType", "Recorded", "Subjects"]
