"""docs/reference/conformance.md: the DICOM conformance statement (PS3.2), made from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from pydicom.uid import UID

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, __version__
from hounsfield.adapters import peer_contexts, peers_dimse, transcode
from hounsfield.cli import committing
from hounsfield.domain.attributes import ATTRIBUTES, DATE_AND_TIME, UNIQUE_KEY, Kind
from hounsfield.domain.query import Level
from hounsfield.net.requestor import associate
from hounsfield.servers.dicom import negotiation, tls_door
from hounsfield.services import commitment, find, retrieve
from hounsfield.settings import Settings
from hounsfield.wire.dicomfile import sop_classes, text
from hounsfield.wire.dicomfile.transfer_syntaxes import TRANSFER_SYNTAXES
from hounsfield.wire.dimse import fields
from hounsfield.wire.dimse.status import Status, describe
from hounsfield.wire.ul.pdu import APPLICATION_CONTEXT
from hounsfield.wire.ul.reasons import (
    PresentationReason,
    RejectResult,
    RejectSource,
    UserReason,
    describe_reject,
)

#: Matching of each kind of key (PS3.4 C.2.2.2).
MATCHING = {
    Kind.UID: "single value, list of UID",
    Kind.TEXT: "single value, wild card, list of values",
    Kind.NAME: "single value and wild card without regard to case and accents, any component group; fuzzy",
    Kind.DATE: "single value, range",
    Kind.TIME: "single value, range",
    Kind.NUMBER: "single value as a number, list of values",
    Kind.COUNT: "returned only",
    Kind.SET: "single value, wild card or list against any of its values",
}
#: Returned, never matched, although of a kind that matches.
RETURNED_ONLY = {"TimezoneOffsetFromUTC"}
#: Required keys (PS3.4 Tables C.6-1 to C.6-4 and C.6-5); all others are optional.
REQUIRED = {
    *("PatientName", "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
    *("Modality", "SeriesNumber", "InstanceNumber"),
}
FIND_NAMES = (
    "relational queries",
    "combined date-time matching",
    "fuzzy semantic matching of person names",
    "timezone query adjustment",
    "enhanced multi-frame image conversion",
)
RETRIEVE_NAMES = ("relational retrieval", "enhanced multi-frame image conversion")
STORAGE_NAMES = {2: "level of support 2 (full)", 0: "no digital signature level, no element coercion"}

#: What is answered, by request (0: any): (status, when).
STATUSES: dict[int, tuple[tuple[int, str], ...]] = {
    fields.C_STORE_RQ: (
        (Status.SUCCESS, "the object is kept: new, identical to a kept one, or in quarantine"),
        (Status.OUT_OF_RESOURCES, "the disk has less than `min_free` left, or the archive cannot store now"),
        (
            Status.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
            "SOP Class or SOP Instance UID of data set and request differ",
        ),
        (Status.CANNOT_UNDERSTAND, "the data set cannot be read, or a UID is missing or not a UID"),
        (Status.INVALID_SOP_INSTANCE, "Affected SOP Instance UID is not a UID"),
        (Status.SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not that of the presentation context"),
        (Status.NOT_AUTHORIZED, "the device's record does not allow it to store"),
    ),
    fields.C_FIND_RQ: (
        (Status.PENDING, "a match"),
        (Status.PENDING_OPTIONAL_KEYS_NOT_SUPPORTED, "a match; some keys are not supported"),
        (Status.SUCCESS, "no more matches"),
        (Status.CANCEL, "after C-CANCEL"),
        (find.MISMATCH, "no level, one that the model does not have, or a unique key above is missing"),
        (find.UNABLE, "the identifier or a key cannot be read"),
        (Status.OUT_OF_RESOURCES, "the database cannot be reached"),
        (Status.SOP_CLASS_NOT_SUPPORTED, "Affected SOP Class UID is not that of the presentation context"),
        (Status.NOT_AUTHORIZED, "the device may not query, or waits to be admitted"),
        (Status.PROCESSING_FAILURE, "an error within the archive"),
    ),
    fields.C_MOVE_RQ: (
        (Status.PENDING, "sub-operations are going on"),
        (Status.SUCCESS, "all sub-operations succeeded"),
        (Status.SUBOPERATIONS_WITH_FAILURES, "some sub-operations failed, or had warnings"),
        (Status.OUT_OF_RESOURCES_SUBOPERATIONS, "all sub-operations failed"),
        (Status.CANCEL, "after C-CANCEL"),
        (Status.MOVE_DESTINATION_UNKNOWN, "C-MOVE: no admitted device with an address has that AE title"),
        (retrieve.IDENTIFIER_DOES_NOT_MATCH, "a unique key is missing or not allowed"),
        (retrieve.UNABLE_TO_PROCESS, "the identifier cannot be read"),
        (
            Status.SOP_CLASS_NOT_SUPPORTED,
            "Affected SOP Class UID is not that of the presentation context",
        ),
        (Status.NOT_AUTHORIZED, "the device may not retrieve, or waits to be admitted"),
        (Status.PROCESSING_FAILURE, "an error within the archive"),
    ),
    fields.N_ACTION_RQ: (
        (Status.SUCCESS, "the request is durable; the report follows"),
        (Status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance"),
        (Status.NO_SUCH_ACTION_TYPE, "an action type other than 1"),
        (Status.INVALID_ARGUMENT_VALUE, "no Transaction UID, or no or too many objects"),
        (Status.PROCESSING_FAILURE, "the action information cannot be read; an error within the archive"),
        (Status.SOP_CLASS_NOT_SUPPORTED, "on a presentation context of another service"),
        (Status.NOT_AUTHORIZED, "the device may not ask for commitment, or waits to be admitted"),
    ),
    fields.N_EVENT_REPORT_RQ: (
        (Status.SUCCESS, "the report is in the ledger, durable"),
        (Status.INVALID_ARGUMENT_VALUE, "the archive has asked this AE title for no such transaction"),
        (Status.DUPLICATE_INVOCATION, "the association of the request has brought the report already"),
        (Status.NO_SUCH_EVENT_TYPE, "an event type other than 1 and 2"),
        (Status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance"),
        (Status.NO_SUCH_SOP_CLASS, "on a presentation context of another service"),
        (Status.PROCESSING_FAILURE, "the event information cannot be read; an error within the archive"),
    ),
    0: (
        (Status.UNRECOGNIZED_OPERATION, "a request that is not offered"),
        (Status.DUPLICATE_INVOCATION, "a Message ID in use, or too many operations: aborted"),
    ),
}
REASONS = (
    (commitment.PROCESSING_FAILURE, "its bytes cannot be read"),
    (commitment.NO_SUCH_OBJECT_INSTANCE, "not kept, or in quarantine"),
    (commitment.CLASS_INSTANCE_CONFLICT, "kept with another SOP class"),
)
REJECTIONS = (
    (
        RejectResult.PERMANENT,
        RejectSource.USER,
        UserReason.CALLING_AE_TITLE_NOT_RECOGNIZED,
        "the device was refused, calls from an address that its record does not name, or is unknown and "
        "`unknown_devices` is `refuse`",
    ),
    (
        RejectResult.PERMANENT,
        RejectSource.USER,
        UserReason.CALLED_AE_TITLE_NOT_RECOGNIZED,
        "another AE title than ours was called, and `called_ae_titles` is `ours`",
    ),
    (
        RejectResult.PERMANENT,
        RejectSource.USER,
        UserReason.APPLICATION_CONTEXT_NOT_SUPPORTED,
        "the application context is not DICOM's",
    ),
    (
        RejectResult.PERMANENT,
        RejectSource.USER,
        UserReason.NO_REASON_GIVEN,
        "user name and passcode are not those of a user",
    ),
    (
        RejectResult.TRANSIENT,
        RejectSource.PROVIDER_PRESENTATION,
        PresentationReason.LOCAL_LIMIT_EXCEEDED,
        "the device, all devices that nobody admitted, or all devices together have as many associations as "
        "are allowed",
    ),
    (
        RejectResult.TRANSIENT,
        RejectSource.PROVIDER_PRESENTATION,
        PresentationReason.TEMPORARY_CONGESTION,
        "the archive is stopping, or cannot reach its database",
    ),
)
LIMITS = (
    *("max_associations", "reserved_percent", "max_associations_per_device"),
    *("max_pending", "max_pending_per_address"),
    *("max_pdu", "artim_seconds", "idle_seconds", "answer_seconds", "shutdown_seconds"),
    *("min_free", "large_object", "memory_budget"),
)


def page(note: str) -> str:
    template = Template((Path(__file__).parent / "conformance_template.md").read_text(encoding="utf-8"))
    return template.substitute({name: _one(value) for name, value in _values(note).items()})


def _one(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "\n".join(value)


def _values(note: str) -> dict[str, str | list[str]]:
    contexts, roles = peer_contexts.incoming_proposals(3)
    plain = {name: _default(name) for name in ("ae_title", "host", "dicom_port", "dicom_tls_port")}
    minimum, ciphers = _tls()
    single, extension = _character_sets()
    return plain | {
        "note": note,
        "version": __version__,
        "services": _services(),
        "general": _general(),
        "parallel": str(peers_dimse.PeerSettings("ANY").parallel),
        "get_contexts": str(len(contexts)),
        "get_classes": str(len(roles)),
        "get_compressed": str(len(peer_contexts.OFTEN_COMPRESSED)),
        "answer": _default("answer_seconds"),
        "native": ", ".join(TRANSFER_SYNTAXES[uid].name for uid in negotiation.NATIVE),
        "storage_roots": _code(negotiation._STORAGE_ROOTS),
        "extended": _extended(),
        "rejections": _rejections(),
        "keys": _keys(),
        "models": _models(),
        "store_statuses": _statuses(fields.C_STORE_RQ),
        "find_statuses": _statuses(fields.C_FIND_RQ),
        "retrieve_statuses": _statuses(fields.C_MOVE_RQ),
        "commitment_statuses": _statuses(fields.N_ACTION_RQ),
        "report_statuses": _statuses(fields.N_EVENT_REPORT_RQ),
        "wait": f"{inspect.signature(committing.commit).parameters['wait'].default:g}",
        "any_statuses": _statuses(0),
        "most": str(commitment.MOST_OBJECTS),
        "grace": str(commitment.GRACE_SECONDS),
        "attempts": str(commitment.MAX_ATTEMPTS),
        "failure_reasons": _table(("Reason", "When"), [(f"{code:04X}", when) for code, when in REASONS]),
        "limits": _limits(),
        "character_sets": single,
        "code_extensions": extension,
        "minimum": minimum,
        "ciphers": ciphers,
        "transfer_syntaxes": _transfer_syntaxes(),
        "storage_classes": _storage(),
    }


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _services() -> list[str]:
    scu = {
        sop_classes.VERIFICATION,
        *peer_contexts.FIND.values(),
        *peer_contexts.MOVE.values(),
        *peer_contexts.GET.values(),
        sop_classes.STORAGE_COMMITMENT_PUSH,
    }
    rows = []
    for uid in negotiation.offers():
        if uid not in sop_classes.STORAGE_SOP_CLASSES:
            rows.append((UID(uid).name, f"`{uid}`", "yes" if uid in scu else "no", "yes"))
    rows.append((f"{len(sop_classes.STORAGE_SOP_CLASSES)} storage SOP classes", "Annex B", "yes", "yes"))
    return _table(("SOP class", "UID", "SCU", "SCP"), rows)


def _general() -> list[str]:
    rows = [
        ("Application context", f"`{APPLICATION_CONTEXT}`"),
        ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
        ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
        ("Maximum length received, as acceptor", f"{_default('max_pdu')} bytes (`max_pdu`)"),
        ("Maximum length received, as requestor", f"{_requestor_length()} bytes"),
        ("Asynchronous operations", "1 invoked, 1 performed"),
        ("Associations at one time", f"{_default('max_associations')}, shared by the DIMSE processes"),
        ("... of devices that nobody admitted", f"{100 - int(_default('reserved_percent'))} % of these"),
        ("... of one device", f"{_default('max_associations_per_device')}, or what its record says"),
    ]
    return _table(("Parameter", "Value"), rows)


def _requestor_length() -> int:
    return int(inspect.signature(associate).parameters["max_length"].default)


def _extended() -> list[str]:
    def told(names: Sequence[str], answer: bytes) -> str:
        return "; ".join(f"{name}: {'yes' if one else 'no'}" for name, one in zip(names, answer, strict=True))

    level, *rest = negotiation.STORAGE_SUPPORT
    assert not any(rest)
    rows = [
        ("Storage", f"{STORAGE_NAMES[level]}; {STORAGE_NAMES[0]}"),
        ("C-FIND", told(FIND_NAMES, negotiation.FIND_SUPPORTED)),
        ("C-MOVE, C-GET", told(RETRIEVE_NAMES, negotiation.RETRIEVE_SUPPORTED)),
    ]
    return _table(("Service", "Answer"), rows)


def _rejections() -> list[str]:
    rows = ((describe_reject(result, source, reason), when) for result, source, reason, when in REJECTIONS)
    return _table(("A-ASSOCIATE-RJ", "When"), rows)


def _statuses(field: int) -> list[str]:
    rows = []
    for code, when in STATUSES[field]:
        rows.append((f"{code:04X}", re.sub(r" \([0-9A-F]{4}H\)$", "", describe(code, field)), when))
    return _table(("Status", "Meaning", "When"), rows)


def _keys() -> list[str]:
    lines: list[str] = []
    for level in Level:
        rows = []
        for attribute in ATTRIBUTES.values():
            if attribute.level is level:
                keyword = attribute.keyword
                kind = "U" if keyword == UNIQUE_KEY[level] else "R" if keyword in REQUIRED else "O"
                only = keyword in RETURNED_ONLY
                matching = MATCHING[Kind.COUNT] if only else MATCHING[attribute.kind]
                if any(keyword in pair for pair in DATE_AND_TIME):
                    matching += "; combined date-time"
                tag = f"({attribute.tag >> 16:04X},{attribute.tag & 0xFFFF:04X})"
                rows.append((keyword, tag, attribute.vr, kind, matching))
        head = ("Key", "Tag", "VR", "Type", "Matching")
        lines += [f"Level {level.name}:", "", *_table(head, rows), ""]
    return lines[:-1]


def _models() -> str:
    return "; ".join(f"{name}: {', '.join(one.name for one in of)}" for name, of in find.MODELS.items())


def _transfer_syntaxes() -> list[str]:
    transcoder = transcode.Transcoder()
    rows = []
    for syntax in TRANSFER_SYNTAXES.values():
        targets = [TRANSFER_SYNTAXES[uid].name for uid in transcoder.targets(syntax.uid)]
        rows.append((syntax.name, f"`{syntax.uid}`", ", ".join(targets) or "nothing"))
    return _table(("Transfer syntax", "UID", "Converted into"), rows)


def _storage() -> list[str]:
    rows = []
    for uid, name in sop_classes.STORAGE_SOP_CLASSES.items():
        retired = "" if uid in sop_classes.CURRENT_STORAGE_SOP_CLASSES else "retired"
        rows.append((name, f"`{uid}`", retired))
    return _table(("SOP class", "UID", ""), rows)


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _limits() -> list[str]:
    rows = [(f"`{name}`", _default(name), str(Settings.model_fields[name].description)) for name in LIMITS]
    return _table(("Setting", "Default", "Meaning"), rows)


def _character_sets() -> tuple[str, str]:
    """Defined terms without and with code extensions (PS3.3 C.12.1.1.2)."""
    single = [f"ISO_IR {n}" for n in text._CODECS if n not in ("58", "87", "149", "159")]
    single += [name for name in text._OTHER_NAMES if name in ("GB18030", "GBK")]
    return _code(single), _code(f"ISO 2022 IR {n}" for n in text._CODECS if n != "192")


def _tls() -> tuple[str, str]:
    """Oldest version, and the cipher suites in OpenSSL's words."""
    source = inspect.getsource(tls_door.tls_context)
    ciphers = re.search(r'set_ciphers\("([^"]+)"\)', source)
    minimum = re.search(r"TLSVersion\.TLSv(\d)_(\d)", source)
    assert ciphers and minimum, "servers/dicom/tls_door.py no longer says its TLS profile in tls_context"
    return f"TLS {minimum[1]}.{minimum[2]}", ciphers[1]
