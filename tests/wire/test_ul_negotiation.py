"""What is answered to a proposal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.items import (
    AsyncOperations,
    ProposedContext,
    RoleSelection,
    SopClassExtended,
    UserIdentity,
    UserInformation,
)
from hounsfield.wire.ul.negotiation import (
    Offer,
    Policy,
    accepted_contexts,
    always,
    at_most,
    negotiate,
    peer_roles,
    refusal,
)
from hounsfield.wire.ul.pdu import AssociateRequest
from hounsfield.wire.ul.reasons import ContextResult
from support_wire import CT, EXPLICIT, IMPLICIT, VERIFICATION

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
JPEG = "1.2.840.10008.1.2.4.70"
POLICY = Policy(
    {
        VERIFICATION: Offer((IMPLICIT,)),
        CT: Offer((EXPLICIT, IMPLICIT, JPEG), peer_as_scp=True, extended=always(b"\x02\x00")),
        FIND: Offer((EXPLICIT, IMPLICIT), proposers_order=False, extended=at_most(b"\x01\x01\x00\x01")),
    },
    implementation_class_uid="1.2.3",
    implementation_version="V1",
)


def ask(*contexts: ProposedContext, **user: object) -> AssociateRequest:
    return AssociateRequest("ARCHIVE", "SCANNER", contexts, UserInformation(**user))


def test_each_context_gets_its_result():
    request = ask(
        ProposedContext(1, CT, (JPEG, EXPLICIT)),
        ProposedContext(5, "1.2.3.4", (EXPLICIT,)),
        ProposedContext(3, FIND, ("1.9", IMPLICIT, EXPLICIT)),
        ProposedContext(7, CT, ("1.9",)),
        ProposedContext(9, CT, ()),
        ProposedContext(11, "", (EXPLICIT,)),
    )
    accept, outcomes = negotiate(request, POLICY)
    assert [(o.id, o.result, o.transfer_syntax) for o in outcomes] == [
        (1, 0, JPEG),  # the sender's first
        (5, 3, ""),
        (3, 0, EXPLICIT),  # our first
        (7, 4, ""),
        (9, 4, ""),
        (11, 3, ""),
    ]
    assert [(c.id, c.result) for c in accept.contexts] == [(1, 0), (5, 3), (3, 0), (7, 4), (9, 4), (11, 3)]
    assert accepted_contexts(request, accept) == {1: (CT, JPEG), 3: (FIND, EXPLICIT)}
    assert (accept.called, accept.calling) == ("ARCHIVE", "SCANNER")
    assert accept.user.implementation_class_uid == "1.2.3"
    assert outcomes[1].words == "abstract syntax not supported"


def test_unknown_abstract_syntaxes_are_taken_if_the_policy_says_so():
    policy = Policy({}, otherwise=Offer((EXPLICIT,)))
    request = ask(ProposedContext(1, "1.2.3.4", (EXPLICIT,)), ProposedContext(3, "", (EXPLICIT,)))
    _, outcomes = negotiate(request, policy)
    assert [o.result for o in outcomes] == [0, 3]


def test_even_and_repeated_ids_are_rejected_and_answered_once():
    request = ask(
        ProposedContext(2, CT, (EXPLICIT,)),
        ProposedContext(0, CT, (EXPLICIT,)),
        ProposedContext(3, CT, (EXPLICIT,)),
        ProposedContext(3, VERIFICATION, (IMPLICIT,)),
        ProposedContext(1, CT, (EXPLICIT,)),
    )
    accept, outcomes = negotiate(request, POLICY)
    assert [o.result for o in outcomes] == [2, 2, 2, 2, 0]
    assert [(c.id, c.result) for c in accept.contexts] == [(2, 2), (0, 2), (3, 2), (1, 0)]
    assert accepted_contexts(request, accept) == {1: (CT, EXPLICIT)}
    assert "twice" in outcomes[2].words
    assert "not odd" in outcomes[0].words


def test_roles_are_granted_within_the_offer_and_for_accepted_classes():
    contexts = (ProposedContext(1, CT, (EXPLICIT,)), ProposedContext(3, VERIFICATION, (IMPLICIT,)))
    asked = (
        RoleSelection(CT, True, True),
        RoleSelection(VERIFICATION, True, True),
        RoleSelection(FIND, True, True),  # no context
        RoleSelection("1.2.3", False, True),
    )
    request = ask(*contexts, roles=asked)
    accept, _ = negotiate(request, POLICY)
    assert accept.user.roles == (RoleSelection(CT, True, True), RoleSelection(VERIFICATION, True, False))
    assert peer_roles(request, accept)[CT].scp
    only_scp = ask(*contexts, roles=(RoleSelection(CT, False, True),))
    accept, _ = negotiate(only_scp, POLICY)
    assert accept.user.roles == (RoleSelection(CT, False, True),)


def test_an_answer_cannot_widen_the_roles_asked_for():
    asked = ask(roles=(RoleSelection(CT, True, False),))
    accept, _ = negotiate(asked, POLICY)
    greedy = UserInformation(roles=(RoleSelection(CT, True, True), RoleSelection(FIND, True, True)))
    accept = pdus.AssociateAccept("", "", accept.contexts, greedy)
    assert peer_roles(asked, accept) == {CT: RoleSelection(CT, True, False)}


def test_extended_negotiation():
    request = ask(
        ProposedContext(1, FIND, (EXPLICIT,)),
        ProposedContext(3, CT, (EXPLICIT,)),
        extended=(
            SopClassExtended(FIND, b"\x01\x00\x01"),
            SopClassExtended(CT, b"\x01"),
            SopClassExtended("1.2.3", b"\x01"),
        ),
    )
    accept, _ = negotiate(request, POLICY)
    assert accept.user.extended == (
        SopClassExtended(FIND, b"\x01\x00\x00"),
        SopClassExtended(CT, b"\x02\x00"),
    )
    assert at_most(b"\x01\x01")(b"\x01\x00\x01\x01") == b"\x01\x00"


def test_async_window_and_identity_are_answered_only_when_asked():
    context = ProposedContext(1, CT, (EXPLICIT,))
    accept, _ = negotiate(ask(context), POLICY, identity_response=b"x")
    assert accept.user.async_ops is None
    assert accept.user.user_identity_response is None
    identity = UserIdentity(5, b"token", response_requested=True)
    accept, _ = negotiate(
        ask(context, async_ops=AsyncOperations(0, 0), user_identity=identity), POLICY, identity_response=b"x"
    )
    assert accept.user.async_ops == AsyncOperations(1, 1)
    assert accept.user.user_identity_response == b"x"
    silent = UserIdentity(1, b"someone")
    accept, _ = negotiate(ask(context, user_identity=silent), POLICY, identity_response=b"")
    assert accept.user.user_identity_response is None


def test_refusals():
    assert refusal(ask(ProposedContext(1, CT, (EXPLICIT,)))) is None
    other = AssociateRequest("B", "A", (ProposedContext(1, CT, (EXPLICIT,)),), application_context="1.2")
    refused = refusal(other)
    assert refused is not None
    assert (refused.result, refused.source, refused.reason) == (1, 1, 2)
    assert refusal(ask()) is not None


texts = st.sampled_from(["", CT, FIND, VERIFICATION, EXPLICIT, IMPLICIT, "1.2.3", "x\0y"])
proposals = st.builds(ProposedContext, st.integers(0, 255), texts, st.lists(texts, max_size=3).map(tuple))


@given(st.lists(proposals, max_size=30))
def test_any_proposal_gets_an_answer_that_can_be_sent(contexts: list[ProposedContext]):
    request = ask(*contexts)
    accept, outcomes = negotiate(request, POLICY)
    decoded = pdus.decode(2, pdus.encode(accept)[6:])
    assert {c.id for c in accept.contexts} == {c.id for c in contexts}
    assert len({c.id for c in accept.contexts}) == len(accept.contexts)
    assert len(outcomes) == len(contexts)
    assert isinstance(decoded, pdus.AssociateAccept)
    agreed = accepted_contexts(request, decoded)
    assert set(agreed) == {o.id for o in outcomes if o.result is ContextResult.ACCEPTED}
