"""Storage commitment with pynetdicom as SCU (PS3.4 J): the report on the same and on a new association."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

from hounsfield.servers.dicom.commitment import REPORT_SECONDS
from support_hostile import (
    COMMITMENT,
    EXPLICIT,
    RELEASE,
    RELEASE_RP,
    Raw,
    associate_rq,
    command,
    context,
    element,
    p_data,
    padded,
)
from support_server import Archive, free_port, loaded, study, wait_for

WELL_KNOWN = "1.2.840.10008.1.20.1.1"
MISSING = "1.2.3.4.5.6.7.8.9"


@dataclass
class Reports:
    """N-EVENT-REPORTs as they came."""

    came: list[tuple[int, pydicom.Dataset]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    status: int = 0

    def on_report(self, event: Any) -> tuple[int, None]:
        with self.lock:
            self.came.append((event.request.EventTypeID, event.event_information))
        return self.status, None

    @property
    def handlers(self) -> list[tuple[Any, Any]]:
        return [(evt.EVT_N_EVENT_REPORT, self.on_report)]


@contextmanager
def listening(title: str, reports: Reports, port: int) -> Iterator[None]:
    ae = AE(title)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=reports.handlers)
    try:
        yield
    finally:
        server.shutdown()


def request(transaction: str, pairs: list[tuple[str, str]]) -> pydicom.Dataset:
    information = pydicom.Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for sop_class, uid in pairs:
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        information.ReferencedSOPSequence.append(item)
    return information


def ask(association: Any, transaction: str, pairs: list[tuple[str, str]], action: int = 1) -> pydicom.Dataset:
    status, _ = association.send_n_action(
        request(transaction, pairs), action, StorageCommitmentPushModel, WELL_KNOWN
    )
    return status


def action(transaction: str, uids: list[str]) -> tuple[bytes, bytes]:
    """N-ACTION-RQ and its action information, by hand."""
    items = b""
    for uid in uids:
        body = element(0x00081150, b"UI", padded(CTImageStorage)) + element(0x00081155, b"UI", padded(uid))
        items += struct.pack("<HHL", 0xFFFE, 0xE000, len(body)) + body
    asked = command({0x0003: COMMITMENT, 0x0100: 0x0130, 0x0110: 1, 0x0800: 1, 0x1001: WELL_KNOWN, 0x1008: 1})
    information = element(0x00081195, b"UI", padded(transaction)) + element(0x00081199, b"SQ", items)
    return p_data(1, 3, asked), p_data(1, 2, information)


def check(
    report: tuple[int, pydicom.Dataset], transaction: str, good: set[str], failed: dict[str, int]
) -> None:
    kind, information = report
    assert kind == (2 if failed else 1)
    assert information.TransactionUID == transaction
    told = {i.ReferencedSOPInstanceUID for i in information.get("ReferencedSOPSequence", [])}
    assert told == good
    reasons = {i.ReferencedSOPInstanceUID: i.FailureReason for i in information.get("FailedSOPSequence", [])}
    assert reasons == failed


@pytest.fixture(scope="module")
def kept(archive: Archive) -> list[str]:
    files = study(3)
    assert archive.store(*files) == [0, 0, 0]
    return [loaded(f).SOPInstanceUID for f in files]


def test_report_on_the_same_association(archive: Archive, kept: list[str]) -> None:
    since, transaction, reports = archive.mark(), generate_uid(), Reports()
    pairs = [(CTImageStorage, kept[0]), (CTImageStorage, MISSING), ("1.2.840.10008.5.1.4.1.1.4", kept[1])]
    with archive.associate(
        StorageCommitmentPushModel, title="COMMITTER", evt_handlers=reports.handlers
    ) as association:
        assert ask(association, transaction, pairs).Status == 0
        wait_for(lambda: reports.came, "no report")
    check(reports.came[0], transaction, {kept[0]}, {MISSING: 0x0112, kept[1]: 0x0119})
    told = archive.event("commitment.reported", since, transaction=transaction)
    assert told.payload["over"] == "same" and told.payload["committed"] == 1


def test_the_job_does_not_report_again(archive: Archive, kept: list[str]) -> None:
    """What was delivered on the association is not delivered a second time, when the job's time has come."""
    since, transaction, reports, port = archive.mark(), generate_uid(), Reports(), free_port()
    archive.device("ONCE", host="127.0.0.1", port=port)
    with listening("ONCE", reports, port):
        with archive.associate(
            StorageCommitmentPushModel, title="ONCE", evt_handlers=reports.handlers
        ) as association:
            ask(association, transaction, [(CTImageStorage, kept[0])])
            wait_for(lambda: reports.came, "no report")
        archive.event("commitment.reported", since, transaction=transaction)
        archive.hasten(transaction)
        wait_for(lambda: not archive.jobs(transaction), "the job did not end")
    assert len(reports.came) == 1


def test_release_with_the_answer_to_the_report(archive: Archive, kept: list[str]) -> None:
    """What the peer has taken counts as delivered, though it goes away in the same breath."""
    since, transaction, port = archive.mark(), generate_uid(), free_port()
    archive.device("QUICK", host="127.0.0.1", port=port)
    with Raw(archive.port) as raw:
        raw.associate(associate_rq([context(1, COMMITMENT, EXPLICIT)], calling=b"QUICK"))
        raw.send(*action(transaction, kept))
        assert raw.answer() == (0, "")
        last = False
        while not last:  # N-EVENT-REPORT-RQ to the end of its data set
            _, body = raw.read()
            last = body[5] == 2
        done = {0x0002: COMMITMENT, 0x0100: 0x8100, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0, 0x1002: 1}
        raw.send(p_data(1, 3, command(done)) + RELEASE)
        assert raw.end() == [RELEASE_RP]
    assert archive.event("commitment.reported", since, transaction=transaction)


def test_release_before_the_report(archive: Archive, kept: list[str]) -> None:
    """A peer that releases at once gets the report on a new association, though its listener is down at
    first."""
    since, transaction, reports, port = archive.mark(), generate_uid(), Reports(), free_port()
    archive.device("LATER", host="127.0.0.1", port=port)
    with Raw(archive.port) as raw:
        raw.associate(associate_rq([context(1, COMMITMENT, EXPLICIT)], calling=b"LATER"))
        raw.send(*action(transaction, kept), RELEASE)
        assert raw.answer() == (0, "")
        assert raw.end() == [RELEASE_RP]
    archive.hasten(transaction)
    undelivered = archive.event("commitment.undelivered", since, transaction=transaction)
    assert "refuses the connection" in str(undelivered.payload["why"])
    with listening("LATER", reports, port):
        archive.hasten(transaction)
        wait_for(lambda: reports.came, "no report")
        told = archive.event("commitment.reported", since, transaction=transaction)
    check(reports.came[0], transaction, set(kept), {})
    assert told.payload["over"] == "new"


def test_a_large_request(archive: Archive, kept: list[str]) -> None:
    """5000 objects: a whole body with contrast."""
    transaction, reports = generate_uid(), Reports()
    pairs = [(CTImageStorage, f"1.2.3.{n}") for n in range(4999)] + [(CTImageStorage, kept[0])]
    with archive.associate(StorageCommitmentPushModel, evt_handlers=reports.handlers) as association:
        assert ask(association, transaction, pairs).Status == 0
        wait_for(lambda: reports.came, "no report")
    information = reports.came[0][1]
    assert len(information.FailedSOPSequence) == 4999 and len(information.ReferencedSOPSequence) == 1


@pytest.mark.parametrize(
    ("transaction", "pairs", "action", "instance", "status"),
    [
        ("1.2.3", [(CTImageStorage, "1.2")], 2, WELL_KNOWN, 0x0123),
        ("1.2.3", [(CTImageStorage, "1.2")], 1, "1.2.3", 0x0112),
        ("1.2.3", [], 1, WELL_KNOWN, 0x0115),
        ("", [(CTImageStorage, "1.2")], 1, WELL_KNOWN, 0x0115),
    ],
    ids=["action type", "instance", "no objects", "no transaction"],
)
def test_what_is_refused(
    archive: Archive, transaction: str, pairs: list[tuple[str, str]], action: int, instance: str, status: int
) -> None:
    since = archive.mark()
    with archive.associate(StorageCommitmentPushModel) as association:
        answer, _ = association.send_n_action(
            request(transaction, pairs), action, StorageCommitmentPushModel, instance
        )
    assert answer.Status == status and answer.ErrorComment
    assert archive.event("message.refused", since, status=f"{status:04X}").payload["comment"]


def test_store_and_commit_over_one_association(archive: Archive) -> None:
    data_set, transaction, reports = loaded(study(1)[0]), generate_uid(), Reports()
    with archive.associate(
        CTImageStorage,
        StorageCommitmentPushModel,
        ext_neg=[build_role(StorageCommitmentPushModel, scu_role=True)],
        evt_handlers=reports.handlers,
    ) as association:
        assert association.send_c_store(data_set).Status == 0
        ask(association, transaction, [(CTImageStorage, data_set.SOPInstanceUID)])
        wait_for(lambda: reports.came, "no report")
    check(reports.came[0], transaction, {data_set.SOPInstanceUID}, {})


def test_release_while_the_report_is_not_answered(archive: Archive, kept: list[str]) -> None:
    """A peer that is through gets its release though it never answers the report."""
    with Raw(archive.port) as raw:
        raw.associate(associate_rq([context(1, COMMITMENT, EXPLICIT)]))
        raw.send(*action(generate_uid(), kept))
        assert raw.answer() == (0, "")
        raw.message()  # the report
        raw.read()  # its data set
        raw.socket.settimeout(REPORT_SECONDS - 1)
        raw.send(RELEASE)
        assert raw.end() == [RELEASE_RP]
