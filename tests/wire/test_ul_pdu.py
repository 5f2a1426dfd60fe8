"""PDUs as bytes: golden ones, pynetdicom as oracle, round trips, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import pdu as theirs

from hounsfield.wire.ul import pdu as pdus
from hounsfield.wire.ul.items import (
    ASSUMED_MAX_LENGTH,
    AnsweredContext,
    AsyncOperations,
    PduError,
    ProposedContext,
    RoleSelection,
    SopClassCommonExtended,
    SopClassExtended,
    UserIdentity,
    UserInformation,
)
from hounsfield.wire.ul.pdu import Abort, AssociateAccept, AssociateReject, AssociateRequest
from hounsfield.wire.ul.reasons import (
    AbortReason,
    AcseReason,
    ContextResult,
    PresentationReason,
    RejectSource,
    UserReason,
    describe_abort,
    describe_context,
    describe_reject,
)
from support_wire import CT, EXPLICIT, IMPLICIT, RQ

FULL_RQ = AssociateRequest(
    "ARCHIVE",
    "CT SCANNER 1",
    (ProposedContext(1, CT, (EXPLICIT, IMPLICIT)), ProposedContext(255, "1.2.840.10008.1.1", (IMPLICIT,))),
    UserInformation(
        max_length=131072,
        implementation_class_uid="1.2.3.4",
        implementation_version="SOMETHING_1",
        async_ops=AsyncOperations(5, 0),
        roles=(RoleSelection(CT, True, False), RoleSelection("1.2.840.10008.1.1", False, True)),
        extended=(SopClassExtended("1.2.840.10008.5.1.4.1.2.2.1", b"\x01\x00\x01\x01"),),
        common_extended=(SopClassCommonExtended(CT, "1.2.840.10008.4.2", ("1.2.3", "1.2.3.45")),),
        user_identity=UserIdentity(2, b"someone", b"secret", True),
    ),
)
FULL_AC = AssociateAccept(
    "ARCHIVE",
    "CT SCANNER 1",
    (AnsweredContext(1, 0, EXPLICIT), AnsweredContext(3, 4, IMPLICIT)),
    UserInformation(
        max_length=0,
        implementation_class_uid="1.2.3.4",
        implementation_version="SOMETHING_1",
        async_ops=AsyncOperations(1, 1),
        roles=(RoleSelection(CT, True, True),),
        extended=(SopClassExtended(CT, b"\x02\x00\x00"),),
        user_identity_response=b"ticket",
    ),
)


def body_of(pdu: pdus.Pdu) -> bytes:
    return pdus.encode(pdu)[6:]


def test_golden_bytes_of_the_short_ones():
    assert pdus.encode(AssociateReject(1, 1, 7)).hex() == "03000000000400010107"
    assert pdus.encode(pdus.ReleaseRequest()).hex() == "05000000000400000000"
    assert pdus.encode(pdus.ReleaseResponse()).hex() == "06000000000400000000"
    assert pdus.encode(Abort(2, 6)).hex() == "07000000000400000206"


def test_golden_bytes_of_a_request():
    request = AssociateRequest(
        "B",
        "A",
        (ProposedContext(1, "1.2", ("1.3",)),),
        UserInformation(16384, "1.4", "V"),
        application_context="1.5",
    )
    expected = (
        "01000000 0079 0001 0000".replace(" ", "")
        + b"B               A               ".hex()
        + "00" * 32
        + "10000003" + b"1.5".hex()
        + "20000012 01000000".replace(" ", "")
        + "30000003" + b"1.2".hex()
        + "40000003" + b"1.3".hex()
        + "50000014"
        + "5100000400004000"
        + "52000003" + b"1.4".hex()
        + "55000001" + b"V".hex()
    )  # fmt: skip
    assert pdus.encode(request).hex() == expected


@pytest.mark.parametrize(
    ("ours", "oracle"),
    [
        (FULL_RQ, theirs.A_ASSOCIATE_RQ),
        (RQ, theirs.A_ASSOCIATE_RQ),
        (FULL_AC, theirs.A_ASSOCIATE_AC),
        (AssociateReject(2, 3, 1), theirs.A_ASSOCIATE_RJ),
        (pdus.ReleaseRequest(), theirs.A_RELEASE_RQ),
        (pdus.ReleaseResponse(), theirs.A_RELEASE_RP),
        (Abort(2, 1), theirs.A_ABORT_RQ),
    ],
)
def test_pynetdicom_reads_and_writes_the_same_bytes(ours, oracle):
    encoded = pdus.encode(ours)
    other = oracle()
    other.decode(encoded)
    assert other.encode() == encoded
    assert pdus.decode(encoded[0], encoded[6:]) == ours


def test_pynetdicom_understands_what_the_request_says():
    other = theirs.A_ASSOCIATE_RQ()
    other.decode(pdus.encode(FULL_RQ))
    user = {type(item).__name__: item for item in other.user_information.user_data}
    assert other.calling_ae_title.strip() == "CT SCANNER 1"
    assert [context.context_id for context in other.presentation_context] == [1, 255]
    assert other.presentation_context[0].transfer_syntax == [EXPLICIT, IMPLICIT]
    assert user["MaximumLengthSubItem"].maximum_length_received == 131072
    assert user["AsynchronousOperationsWindowSubItem"].maximum_number_operations_invoked == 5
    assert user["SOPClassCommonExtendedNegotiationSubItem"].related_general_sop_class_identification == [
        "1.2.3",
        "1.2.3.45",
    ]
    identity = user["UserIdentitySubItemRQ"]
    assert (identity.primary_field, identity.secondary_field) == (b"someone", b"secret")
    assert identity.positive_response_requested


uids = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)
titles = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=16)
blobs = st.binary(max_size=40)
numbers = st.integers(0, 0xFFFF)
roles = st.builds(RoleSelection, uids, st.booleans(), st.booleans())
extended = st.builds(SopClassExtended, uids, blobs)
commons = st.builds(SopClassCommonExtended, uids, uids, st.lists(uids, max_size=3).map(tuple))
identities = st.builds(UserIdentity, st.integers(0, 255), blobs, blobs, st.booleans())
users = st.builds(
    UserInformation,
    st.integers(0, 0xFFFFFFFF),
    uids,
    names,
    st.none() | st.builds(AsyncOperations, numbers, numbers),
    st.lists(roles, max_size=3).map(tuple),
    st.lists(extended, max_size=3).map(tuple),
    st.lists(commons, max_size=3).map(tuple),
    st.none() | identities,
    st.none() | blobs,
)
proposals = st.builds(ProposedContext, st.integers(0, 255), uids, st.lists(uids, max_size=4).map(tuple))
answers = st.builds(AnsweredContext, st.integers(0, 255), st.integers(0, 255), uids)
requests = st.builds(
    AssociateRequest, titles, titles, st.lists(proposals, max_size=4).map(tuple), users, uids, numbers
)
accepts = st.builds(
    AssociateAccept, titles, titles, st.lists(answers, max_size=4).map(tuple), users, uids, numbers
)


@given(requests | accepts)
def test_round_trip(pdu: AssociateRequest | AssociateAccept):
    encoded = pdus.encode(pdu)
    assert int.from_bytes(encoded[2:6], "big") == len(encoded) - 6
    assert pdus.decode(encoded[0], encoded[6:]) == pdu


@given(st.integers(0, 255), st.binary(max_size=200))
def test_any_body_decodes_or_is_refused(pdu_type: int, body: bytes):
    try:
        pdus.decode(pdu_type, body)
    except PduError:
        pass


@given(st.data())
def test_a_changed_request_decodes_or_is_refused(data: st.DataObject):
    body = bytearray(body_of(FULL_RQ))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0xFF]))
    try:
        pdus.decode(1, bytes(body))
    except PduError:
        pass


@pytest.mark.parametrize("pdu", [FULL_RQ, FULL_AC])
def test_truncated_at_every_byte(pdu: AssociateRequest | AssociateAccept):
    encoded = pdus.encode(pdu)
    body = encoded[6:]
    # A cut at the end of an item leaves a valid, shorter PDU; every other one is refused.
    ends = {68}
    start = 68
    while start < len(body):
        start += 4 + int.from_bytes(body[start + 2 : start + 4], "big")
        ends.add(start)
    for length in range(len(body)):
        if length in ends:
            pdus.decode(encoded[0], body[:length])
        else:
            with pytest.raises(PduError):
                pdus.decode(encoded[0], body[:length])


def test_padding_around_uids_and_titles_is_dropped():
    body = bytearray(body_of(AssociateRequest("B", "A", (ProposedContext(1, "1.2\0", ("1.3 ",)),))))
    body[4:20] = b"ARCHIVE\0\0\0\0\0\0\0\0\0"
    body[20:36] = b"  SCANNER       "
    request = pdus.decode(1, bytes(body))
    assert isinstance(request, AssociateRequest)
    assert (request.called, request.calling) == ("ARCHIVE", "SCANNER")
    assert request.contexts == (ProposedContext(1, "1.2", ("1.3",)),)


def test_what_is_missing_is_empty_or_assumed():
    request = pdus.decode(1, body_of(RQ)[:68])
    assert isinstance(request, AssociateRequest)
    assert request.contexts == ()
    assert request.application_context == ""
    assert request.user == UserInformation(max_length=ASSUMED_MAX_LENGTH)


def test_items_of_unknown_type_are_passed_over():
    extra = b"\x99\x00\x00\x03abc"
    assert pdus.decode(1, body_of(RQ) + extra) == RQ
    user = b"\x50\x00\x00\x0f\x51\x00\x00\x04\x00\x00\x10\x00" + extra
    request = pdus.decode(1, body_of(RQ)[:68] + user)
    assert isinstance(request, AssociateRequest)
    assert request.user.max_length == 4096


def test_a_second_user_information_item_is_refused():
    user = b"\x50\x00\x00\x08\x51\x00\x00\x04\x00\x00\x10\x00"
    with pytest.raises(PduError) as caught:
        pdus.decode(1, body_of(RQ) + user)
    assert caught.value.reason is AbortReason.UNEXPECTED_PDU_PARAMETER


@pytest.mark.parametrize(
    "item",
    [
        b"\x51\x00\x00\x02\x10\x00",  # maximum length of 2 bytes
        b"\x53\x00\x00\x05\x00\x01\x00\x01\x00",
        b"\x54\x00\x00\x06\x00\x09\x31\x2e\x01\x00",  # a UID longer than its sub-item
        b"\x54\x00\x00\x05\x00\x02\x31\x2e\x01",  # one role only
        b"\x56\x00\x00\x01\x00",
        b"\x57\x00\x00\x09\x00\x01\x31\x00\x01\x32\x00\x09\x00",  # related classes beyond the end
        b"\x57\x00\x00\x0a\x00\x01\x31\x00\x01\x32\x00\x02\x00\x09",  # a related UID beyond its list
        b"\x58\x00\x00\x01\x01",
        b"\x58\x00\x00\x06\x02\x01\xff\xff\x61\x62",
        b"\x58\x00\x00\x09\x02\x01\x00\x01\x61\x00\x05\x62\x63",
        b"\x59\x00\x00\x03\x00\x05\x61",
    ],
)
def test_sub_items_whose_fields_do_not_fit_are_refused(item: bytes):
    user = b"\x50\x00" + len(item).to_bytes(2, "big") + item
    with pytest.raises(PduError, match="user information"):
        pdus.decode(1, body_of(RQ)[:68] + user)


def test_thousands_of_contexts_and_syntaxes_are_refused():
    many = AssociateRequest("B", "A", tuple(ProposedContext(1, "1.2", ("1.3",)) for _ in range(5000)))
    with pytest.raises(PduError, match="presentation contexts"):
        pdus.decode(1, body_of(many))
    wide = AssociateRequest("B", "A", (ProposedContext(1, "1.2", ("1.3",) * 5000),))
    with pytest.raises(PduError, match="transfer syntaxes"):
        pdus.decode(1, body_of(wide))


def test_what_does_not_fit_is_not_encoded():
    with pytest.raises(ValueError, match="AE title"):
        pdus.encode(AssociateRequest("X" * 17, "A", ()))
    with pytest.raises(ValueError, match="65535"):
        pdus.encode(AssociateRequest("B", "A", (ProposedContext(1, "1" * 70000, ()),)))
    with pytest.raises(ValueError, match="65535"):
        identity = UserIdentity(5, b"x" * 70000)
        pdus.encode(AssociateRequest("B", "A", (), UserInformation(user_identity=identity)))


def test_credentials_do_not_show():
    assert "secret" not in repr(FULL_RQ)
    assert "someone" not in repr(FULL_RQ)


def test_every_number_has_words():
    assert str(AssociateReject(1, 1, 7)) == (
        "rejected permanently by the application: called AE title not recognized"
    )
    assert str(AssociateReject(2, 3, 2)) == (
        "rejected for now by the service provider (presentation): local limit exceeded"
    )
    assert str(Abort(0, 0)) == "aborted by the application"
    assert str(Abort(2, 6)) == "aborted by the service provider: invalid PDU parameter value"
    sources = {
        RejectSource.USER: UserReason,
        RejectSource.PROVIDER_ACSE: AcseReason,
        RejectSource.PROVIDER_PRESENTATION: PresentationReason,
    }
    for source, reasons in sources.items():
        for reason in reasons:
            assert "reason " not in describe_reject(1, source, reason).replace("no reason given", "")
    for abort_reason in AbortReason:
        assert not describe_abort(2, abort_reason).endswith(f"reason {abort_reason}")
    for result in ContextResult:
        assert not describe_context(result).startswith("result")
    assert describe_reject(9, 9, 9) == "rejected (result 9) by source 9: reason 9"
    assert describe_abort(2, 99).endswith("reason 99")
    assert describe_context(17) == "result 17"
