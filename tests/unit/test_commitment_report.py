"""Commitment reports as bytes, held against what was asked; UIDs that tell their time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.domain.events import Subjects
from hounsfield.domain.ids import is_uid, new_timed_uid, timed_uid_milliseconds
from hounsfield.ports.peers import CommitmentAnswer
from hounsfield.services.commitment_report import ReportRefusedError, commitment_items, read_report
from hounsfield.services.commitment_scu import Asked, outcome
from hounsfield.wire.dicomfile.elements import encode

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize("explicit", [False, True])
def test_what_is_written_is_read(explicit: bool) -> None:
    good, bad = [(CT, "1.2.3"), (MR, "1.2.4")], [(CT, "1.2.5", 0x0112)]
    data = encode(commitment_items("2.25.1", good, bad), explicit=explicit)
    assert read_report(data, explicit=explicit) == ("2.25.1", CommitmentAnswer(tuple(good), tuple(bad)))


def test_what_is_named_as_failed_is_not_committed() -> None:
    data = encode(commitment_items("2.25.1", [(CT, "1.2.3")], [(CT, "1.2.3", 0x0110)]), explicit=True)
    assert read_report(data, explicit=True)[1] == CommitmentAnswer((), ((CT, "1.2.3", 0x0110),))


def test_a_failure_without_reason_is_a_failure() -> None:
    item = [(0x00081150, "UI", CT.encode()), (0x00081155, "UI", b"1.2.3")]
    data = encode([(0x00081198, "SQ", [item])], explicit=True)
    assert read_report(data, explicit=True) == ("", CommitmentAnswer((), ((CT, "1.2.3", 0x0110),)))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, explicit: bool) -> None:
    try:
        read_report(data, explicit=explicit)
    except ReportRefusedError as error:
        assert error.status == 0x0110 and error.comment


def test_an_outcome_is_of_what_was_asked_alone() -> None:
    asked = Asked("2.25.1", Subjects(), ((CT, "1.1"), (CT, "1.2"), (CT, "1.3"), (CT, "1.4")))
    told = outcome(
        asked,
        CommitmentAnswer(
            ((CT, "1.1"), (MR, "1.2"), (CT, "9.9")),  # one under another SOP class, one of nobody
            ((CT, "1.3", 0x0112), (CT, "9.8", 0x0112)),
        ),
    )
    assert (told.committed, told.failed, told.missing) == (("1.1",), (("1.3", 0x0112),), ("1.2", "1.4"))


@given(st.integers(0, (1 << 48) - 1))
def test_a_timed_uid_tells_its_time(milliseconds: int) -> None:
    uid = new_timed_uid(milliseconds * 1000 + 999)
    assert is_uid(uid) and timed_uid_milliseconds(uid) == milliseconds
    assert uid != new_timed_uid(milliseconds * 1000 + 999)


@pytest.mark.parametrize(
    "uid",
    [
        "2.25.167294524443019463650669042799107562665",
        "",
        "2.25",
        "2.25.x",
        "1.2.840.7",
        "2.25." + "9" * 59,
        "2.25.²",
    ],
)
def test_other_uids_tell_no_time(uid: str) -> None:
    assert timed_uid_milliseconds(uid) is None
