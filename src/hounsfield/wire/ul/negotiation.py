"""What an acceptor answers to a proposal, and what both sides then agree on (PS3.8 9.3.3, PS3.7 D.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hounsfield.wire.ul.items import (
    AnsweredContext,
    AsyncOperations,
    ProposedContext,
    RoleSelection,
    SopClassExtended,
    UserInformation,
)
from hounsfield.wire.ul.pdu import APPLICATION_CONTEXT, AssociateAccept, AssociateReject, AssociateRequest
from hounsfield.wire.ul.reasons import ContextResult, RejectResult, RejectSource, UserReason, describe_context


def at_most(supported: bytes) -> Callable[[bytes], bytes]:
    """Extended negotiation where each byte answers the lesser of what is asked and what is supported.

    For Query/Retrieve: C-FIND bytes are relational queries, date-time matching, fuzzy semantic matching of
    person names, timezone query adjustment, enhanced multi-frame conversion (PS3.4 C.5.1.1); C-MOVE and C-GET
    bytes are relational retrieval, enhanced multi-frame conversion (PS3.4 C.5.2.1, C.5.3.1). Bytes that the
    peer did not send are not answered.
    """
    return lambda asked: bytes(map(min, asked, supported))


def always(info: bytes) -> Callable[[bytes], bytes]:
    """Extended negotiation where the acceptor states what it is, as for Storage (PS3.4 B.3.1)."""
    return lambda asked: info


@dataclass(frozen=True, slots=True)
class Offer:
    """How one abstract syntax is accepted.

    `transfer_syntaxes` in the order of our preference; with `proposers_order` the first proposed one that is
    among them wins instead (for storage: keep what the sender would rather send). `peer_as_scu` and
    `peer_as_scp` are the roles granted to a requestor that asks by role selection.
    """

    transfer_syntaxes: tuple[str, ...]
    proposers_order: bool = True
    peer_as_scu: bool = True
    peer_as_scp: bool = False
    extended: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What an acceptor takes from one peer. `otherwise` is for abstract syntaxes that are not in `offers`."""

    offers: Mapping[str, Offer]
    otherwise: Offer | None = None
    implementation_class_uid: str = ""
    implementation_version: str = ""


@dataclass(frozen=True, slots=True)
class ContextOutcome:
    """What became of one proposed context; `transfer_syntax` is empty unless accepted."""

    id: int
    abstract_syntax: str
    proposed: tuple[str, ...]
    result: ContextResult
    transfer_syntax: str = ""
    words: str = field(default="")


def refusal(request: AssociateRequest) -> AssociateReject | None:
    """The A-ASSOCIATE-RJ for a request that cannot be answered otherwise, None when it can.

    AE titles, user identity and the number of associations are the caller's to judge.
    """
    if request.application_context != APPLICATION_CONTEXT:
        reason = UserReason.APPLICATION_CONTEXT_NOT_SUPPORTED
    elif not request.contexts:
        reason = UserReason.NO_REASON_GIVEN
    else:
        return None
    return AssociateReject(RejectResult.PERMANENT, RejectSource.USER, reason)


def negotiate(
    request: AssociateRequest, policy: Policy, *, identity_response: bytes | None = None
) -> tuple[AssociateAccept, tuple[ContextOutcome, ...]]:
    """The answer to a request, and the outcome of every context in the order proposed.

    An id that is even, 0 or proposed twice makes its context rejected (PS3.8 9.3.2.2 wants odd, unique ones);
    a repeated id is answered once. `identity_response` is sent if the peer asked for one (b"" for all kinds
    but Kerberos, SAML and JWT). The asynchronous operations window is answered with 1/1.
    """
    times = Counter(context.id for context in request.contexts)
    outcomes = tuple(_decide(context, policy, times[context.id]) for context in request.contexts)
    answers = {
        outcome.id: AnsweredContext(
            outcome.id, outcome.result, outcome.transfer_syntax or (outcome.proposed or ("",))[0]
        )
        for outcome in outcomes
    }
    accepted = {outcome.abstract_syntax for outcome in outcomes if outcome.result is ContextResult.ACCEPTED}
    identity = request.user.user_identity
    user = UserInformation(
        implementation_class_uid=policy.implementation_class_uid,
        implementation_version=policy.implementation_version,
        async_ops=AsyncOperations(1, 1) if request.user.async_ops else None,
        roles=_roles(request.user.roles, accepted, policy),
        extended=_extended(request.user.extended, accepted, policy),
        user_identity_response=identity_response if identity and identity.response_requested else None,
    )
    accept = AssociateAccept(
        request.called, request.calling, tuple(answers.values()), user, request.application_context
    )
    return accept, outcomes


def accepted_contexts(request: AssociateRequest, accept: AssociateAccept) -> dict[int, tuple[str, str]]:
    """Contexts both sides can use: id -> (abstract syntax, transfer syntax).

    An answer to something that was not proposed (another id, another transfer syntax) does not count.
    """
    proposed = {context.id: context for context in request.contexts}
    agreed: dict[int, tuple[str, str]] = {}
    for answer in accept.contexts:
        context = proposed.get(answer.id)
        if answer.accepted and context and answer.transfer_syntax in context.transfer_syntaxes:
            agreed[answer.id] = (context.abstract_syntax, answer.transfer_syntax)
    return agreed


def peer_roles(request: AssociateRequest, accept: AssociateAccept) -> dict[str, RoleSelection]:
    """The requestor's roles by SOP class where role selection took place; elsewhere it is SCU only."""
    asked = {role.sop_class_uid: role for role in request.user.roles}
    return {
        role.sop_class_uid: RoleSelection(
            role.sop_class_uid,
            role.scu and asked[role.sop_class_uid].scu,
            role.scp and asked[role.sop_class_uid].scp,
        )
        for role in accept.user.roles
        if role.sop_class_uid in asked
    }


def _decide(context: ProposedContext, policy: Policy, times: int) -> ContextOutcome:
    offer = policy.offers.get(context.abstract_syntax, policy.otherwise)
    syntax, words = "", ""
    if context.id % 2 == 0:
        result, words = ContextResult.NO_REASON, f"presentation context id {context.id} is not odd"
    elif times > 1:
        result, words = ContextResult.NO_REASON, f"presentation context id {context.id} was proposed twice"
    elif offer is None or not context.abstract_syntax:
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    else:
        syntax = _choose(context.transfer_syntaxes, offer)
        result = ContextResult.ACCEPTED if syntax else ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    return ContextOutcome(
        context.id,
        context.abstract_syntax,
        context.transfer_syntaxes,
        result,
        syntax,
        words or describe_context(result),
    )


def _choose(proposed: tuple[str, ...], offer: Offer) -> str:
    first, second = proposed, offer.transfer_syntaxes
    if not offer.proposers_order:
        first, second = second, first
    return next((uid for uid in first if uid and uid in second), "")


def _roles(asked: tuple[RoleSelection, ...], accepted: set[str], policy: Policy) -> tuple[RoleSelection, ...]:
    answers = []
    for role in asked:
        offer = policy.offers.get(role.sop_class_uid, policy.otherwise)
        if offer is not None and role.sop_class_uid in accepted:
            scu, scp = role.scu and offer.peer_as_scu, role.scp and offer.peer_as_scp
            answers.append(RoleSelection(role.sop_class_uid, scu, scp))
    return tuple(answers)


def _extended(
    asked: tuple[SopClassExtended, ...], accepted: set[str], policy: Policy
) -> tuple[SopClassExtended, ...]:
    answers = []
    for item in asked:
        offer = policy.offers.get(item.sop_class_uid, policy.otherwise)
        if offer is not None and offer.extended is not None and item.sop_class_uid in accepted:
            answers.append(SopClassExtended(item.sop_class_uid, offer.extended(item.info)))
    return tuple(answers)
