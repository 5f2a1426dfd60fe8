"""What we accept: every storage SOP class in every transfer syntax we know, the query, retrieve, commitment
and verification services in the native ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hounsfield import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from hounsfield.net.association import Context
from hounsfield.wire.dicomfile.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_FIND,
    PATIENT_STUDY_ONLY_GET,
    PATIENT_STUDY_ONLY_MOVE,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_SOP_CLASSES,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    VERIFICATION,
)
from hounsfield.wire.dicomfile.transfer_syntaxes import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
)
from hounsfield.wire.ul.negotiation import Offer, Policy, always, at_most, negotiate, peer_roles
from hounsfield.wire.ul.pdu import AssociateAccept, AssociateRequest
from hounsfield.wire.ul.reasons import ContextResult

#: Syntaxes of commands' data sets that are not objects.
NATIVE = (EXPLICIT_LE, IMPLICIT_LE)
#: Bytes of SOP class extended negotiation that we answer with 1 where asked (PS3.4 C.5.1.1, C.5.2.1).
FIND_SUPPORTED = bytes((1, 1, 1, 1, 0))  # relational, combined date-time, fuzzy, timezone; no conversion
RETRIEVE_SUPPORTED = bytes((1, 0))  # relational
#: Storage (PS3.4 B.3.1): level 2 (full), no signature level, no element coercion.
STORAGE_SUPPORT = bytes((2, 0, 0, 0, 0, 0))

FIND_MODELS = {
    PATIENT_ROOT_FIND: "patient",
    STUDY_ROOT_FIND: "study",
    PATIENT_STUDY_ONLY_FIND: "patient-study-only",
}
RETRIEVE_MODELS = {
    PATIENT_ROOT_MOVE: "patient",
    STUDY_ROOT_MOVE: "study",
    PATIENT_STUDY_ONLY_MOVE: "patient-study-only",
    PATIENT_ROOT_GET: "patient",
    STUDY_ROOT_GET: "study",
    PATIENT_STUDY_ONLY_GET: "patient-study-only",
}

#: Standard services that are no storage: an unknown abstract syntax below DICOM's root is not taken for one.
_DICOM_ROOT = "1.2.840.10008."
_STORAGE_ROOTS = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10")

_STORAGE = Offer(
    tuple(TRANSFER_SYNTAXES), proposers_order=True, peer_as_scp=True, extended=always(STORAGE_SUPPORT)
)
_NATIVE = Offer(NATIVE, proposers_order=False)


@dataclass(frozen=True, slots=True)
class AcceptPolicy:
    """Settings that decide about contexts."""

    unknown_sop_classes: bool


def offers() -> dict[str, Offer]:
    """What is offered to every peer, by abstract syntax: also the source of the conformance statement."""
    found: dict[str, Offer] = {VERIFICATION: _NATIVE}
    found |= dict.fromkeys(STORAGE_SOP_CLASSES, _STORAGE)
    found |= dict.fromkeys(FIND_MODELS, replace(_NATIVE, extended=at_most(FIND_SUPPORTED)))
    found |= dict.fromkeys(RETRIEVE_MODELS, replace(_NATIVE, extended=at_most(RETRIEVE_SUPPORTED)))
    # As SCP a peer reports on an association of its own what it was asked to commit to (PS3.4 J.3.3).
    found[STORAGE_COMMITMENT_PUSH] = replace(_NATIVE, peer_as_scp=True)
    return found


_OFFERS = offers()


def _is_unknown_storage(abstract_syntax: str) -> bool:
    return not abstract_syntax.startswith(_DICOM_ROOT) or abstract_syntax.startswith(_STORAGE_ROOTS)


def answer_request(request: AssociateRequest, policy: AcceptPolicy) -> AssociateAccept:
    """The A-ASSOCIATE-AC for a request that is to be accepted."""
    known = _OFFERS
    if policy.unknown_sop_classes:
        unknown = {
            c.abstract_syntax
            for c in request.contexts
            if c.abstract_syntax not in known and _is_unknown_storage(c.abstract_syntax)
        }
        if unknown:
            known = known | dict.fromkeys(unknown, _STORAGE)
    accept, _ = negotiate(
        request,
        Policy(
            known,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
        ),
        identity_response=b"",
    )
    return accept


def contexts_of(
    request: AssociateRequest, accept: AssociateAccept, agreed: dict[int, tuple[str, str]]
) -> dict[int, Context]:
    """The accepted contexts as the acceptor uses them: where role selection made the peer SCP, we are SCU."""
    roles = peer_roles(request, accept)
    contexts = {}
    for context_id, (abstract_syntax, transfer_syntax) in agreed.items():
        role = roles.get(abstract_syntax)
        contexts[context_id] = Context(
            context_id,
            abstract_syntax,
            transfer_syntax,
            scu=role is not None and role.scp,
            scp=role is None or role.scu,
        )
    return contexts


def refused_contexts(request: AssociateRequest, accept: AssociateAccept) -> list[list[object]]:
    """For the ledger: id, abstract syntax, proposed transfer syntaxes and result of what was not accepted."""
    results = {c.id: c.result for c in accept.contexts}
    return [
        [c.id, c.abstract_syntax, list(c.transfer_syntaxes), int(results.get(c.id, ContextResult.NO_REASON))]
        for c in request.contexts
        if results.get(c.id) != ContextResult.ACCEPTED
    ]
