"""Storage commitment with pynetdicom as SCP (PS3.4 J): the archive asks, and the report comes back on the
same or on a new association."""

from __future__ import annotations

import asyncio
import json
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

from hounsfield.adapters.peers_dimse import DimsePeers, PeerSettings
from hounsfield.adapters.transcode import Transcoder
from hounsfield.domain.errors import StorageFullError
from hounsfield.ports.peers import CommitmentAnswer
from support_server import Archive, free_port, loaded, study, wait_for

WELL_KNOWN = "1.2.840.10008.1.20.1.1"


def report(
    transaction: str, good: list[tuple[str, str]], failed: dict[tuple[str, str], int] | None = None
) -> pydicom.Dataset:
    """Event information (PS3.4 Table J.3-2)."""
    information = pydicom.Dataset()
    information.TransactionUID = transaction
    for keyword, pairs in (("ReferencedSOPSequence", good), ("FailedSOPSequence", list(failed or {}))):
        items = []
        for pair in pairs:
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = pair
            if keyword == "FailedSOPSequence":
                item.FailureReason = (failed or {})[pair]
            items.append(item)
        if items:
            setattr(information, keyword, items)
    return information


@dataclass
class Committer:
    """A storage commitment SCP. With `here` it reports over the association of the request: everything as
    committed but what `reasons` names by SOP Instance UID, and what it `forgets` not at all."""

    here: bool = True
    status: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    forgets: set[str] = field(default_factory=set)
    other_transaction: bool = False
    before_response: bool = False
    aborts: bool = False
    asked: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    statuses: list[Any] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    responded: threading.Event = field(default_factory=threading.Event)

    def on_action(self, event: Any) -> tuple[int, None]:
        information = event.action_information
        pairs = [
            (str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID))
            for i in information.ReferencedSOPSequence
        ]
        self.asked.append((str(information.TransactionUID), pairs))
        if self.before_response:
            self.tell(event.assoc, *self.asked[-1])
        elif self.here and not self.status:
            thread = threading.Thread(target=self.tell, args=(event.assoc, *self.asked[-1]))
            self.threads.append(thread)
            thread.start()
        return self.status, None

    def tell(self, association: Any, transaction: str, pairs: list[tuple[str, str]]) -> None:
        if self.aborts:
            assert self.responded.wait(30)
            association.abort()
            return
        if self.other_transaction:
            stray = report("2.25.1", pairs)
            self.statuses.append(send(association, stray, 1))
        failed = {pair: self.reasons[pair[1]] for pair in pairs if pair[1] in self.reasons}
        good = [pair for pair in pairs if pair not in failed and pair[1] not in self.forgets]
        self.statuses.append(send(association, report(transaction, good, failed), 2 if failed else 1))


def send(association: Any, information: pydicom.Dataset, kind: int, instance: str = WELL_KNOWN) -> Any:
    return association.send_n_event_report(information, kind, StorageCommitmentPushModel, instance)[0]


@contextmanager
def committing(archive: Archive, committer: Committer, roles: tuple[str, ...] = ()) -> Iterator[str]:
    """The name of a device of the archive at which `committer` listens."""
    title, port = f"CMT{free_port()}", free_port()
    archive.device(title, host="127.0.0.1", port=port, roles=roles)
    ae = AE(title)
    ae.add_supported_context(StorageCommitmentPushModel)
    server = ae.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[
            (evt.EVT_N_ACTION, committer.on_action),
            (evt.EVT_DIMSE_SENT, lambda event: committer.responded.set()),
        ],
    )
    try:
        yield title
    finally:
        for thread in committer.threads:
            thread.join(30)
        server.shutdown()


def tell_later(archive: Archive, title: str, information: pydicom.Dataset, kind: int = 1, **more: str) -> Any:
    """A report on a new association to our server, with the SCP role (PS3.4 J.3.3)."""
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    with archive.associate(StorageCommitmentPushModel, title=title, ext_neg=[role]) as association:
        assert association.is_established
        (context,) = association.accepted_contexts
        assert context.as_scp and not context.as_scu
        return send(association, information, kind, **more)


@pytest.fixture
def kept(archive: Archive) -> tuple[str, list[str]]:
    """A study of three objects: its UID and theirs."""
    files = study(3)
    assert archive.store(*files) == [0, 0, 0]
    return str(loaded(files[0]).StudyInstanceUID), [str(loaded(f).SOPInstanceUID) for f in files]


def test_report_on_the_same_association(archive: Archive, kept: tuple[str, list[str]]) -> None:
    uid, sops = kept
    committer, since = Committer(), archive.mark()
    with committing(archive, committer) as title:
        told = archive.cli("commit", title, "--study", uid, "--wait", "600")  # ends when the report came
    ((transaction, pairs),) = committer.asked
    assert sorted(pairs) == sorted((CTImageStorage, sop) for sop in sops)
    assert (told["transaction"], told["asked"], told["answered"]) == (transaction, 3, True)
    assert sorted(told["committed"]) == sorted(sops) and told["failed"] == told["missing"] == []
    assert [status.Status for status in committer.statuses] == [0]
    asked = archive.event("commitment.asked", since, transaction=transaction)
    assert (asked.subjects.device, asked.subjects.study) == (title, uid)
    answered = archive.event("commitment.answered", since, transaction=transaction)
    assert answered.payload["over"] == "same" and answered.payload["committed"] == 3
    assert (answered.subjects.device, answered.subjects.study) == (title, uid)


def test_failed_and_forgotten_objects(archive: Archive, kept: tuple[str, list[str]]) -> None:
    uid, (first, second, third) = kept
    committer, since = Committer(reasons={second: 0x0112}, forgets={third}), archive.mark()
    with committing(archive, committer) as title:
        done = archive.cli("commit", title, "--study", uid, check=False)
    assert done.returncode == 6, done.stderr
    told = json.loads(done.stdout)
    assert told["committed"] == [first] and told["missing"] == [third]
    assert [(f["sop"], f["reason"]) for f in told["failed"]] == [(second, "0112")]
    answered = archive.event("commitment.answered", since, transaction=told["transaction"])
    assert answered.payload["failed"] == [[second, "0112"]] and answered.payload["missing"] == [third]


def test_one_series(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """Another series of the study is not asked for."""
    uid, sops = kept
    (more,) = study(1)
    other = loaded(more)
    other.StudyInstanceUID = uid
    assert archive.store(other) == [0]
    (instance,) = archive.instances(sop=[sops[0]])
    committer = Committer()
    with committing(archive, committer) as title:
        told = archive.cli("commit", title, "--study", uid, "--series", instance.series_instance_uid)
        nothing = archive.cli("commit", title, "--study", uid, "--series", "1.2.3", check=False)
    assert sorted(told["committed"]) == sorted(sops) and nothing.returncode == 3
    assert len(committer.asked) == 1


def test_report_on_a_new_association(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """It comes long after the command has ended; once more because its answer was lost."""
    uid = kept[0]
    committer, since = Committer(here=False), archive.mark()
    # what a device may ask of us does not matter: it answers
    with committing(archive, committer, roles=("query",)) as title:
        told = archive.cli("commit", title, "--study", uid, "--wait", "0")
    assert not told["answered"] and told["committed"] == []
    ((transaction, pairs),) = committer.asked
    # what comes into the study afterwards was not asked for
    late = loaded(study(1)[0])
    late.StudyInstanceUID = uid
    assert archive.store(late) == [0]
    information = report(transaction, pairs[:2], {pairs[2]: 0x0110})
    for _ in range(2):
        assert tell_later(archive, title, information, 2).Status == 0
    answers = [e for e in archive.events("commitment.answered", since=since) if e.subjects.study == uid]
    (answered,) = answers
    assert answered.payload["over"] == "new" and answered.payload["committed"] == 2
    assert answered.payload["failed"] == [[pairs[2][1], "0110"]] and answered.payload["missing"] == []
    assert answered.subjects.device == title and answered.subjects.association


def test_report_on_a_new_association_while_the_command_waits(
    archive: Archive, kept: tuple[str, list[str]]
) -> None:
    uid, sops = kept
    committer = Committer(here=False)
    with committing(archive, committer) as title:

        def elsewhere() -> None:
            transaction, pairs = wait_for(lambda: committer.asked, "no request")[0]
            committer.statuses.append(tell_later(archive, title, report(transaction, pairs)))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        told = archive.cli("commit", title, "--study", uid, "--wait", "600")  # ends when the report came
        thread.join(30)
    assert [status.Status for status in committer.statuses] == [0]
    assert sorted(told["committed"]) == sorted(sops)


def test_an_unknown_transaction_is_refused(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """One that nobody asked for, and one that another device was asked for."""
    since = archive.mark()
    committer = Committer(here=False)
    with committing(archive, committer) as title:
        archive.cli("commit", title, "--study", kept[0], "--wait", "0")
    ((transaction, pairs),) = committer.asked
    for asked, sender in (
        (generate_uid(), title),
        (generate_uid(prefix="2.25."), title),
        (transaction, "THIEF"),
    ):
        answer = tell_later(archive, sender, report(asked, pairs))
        assert answer.Status == 0x0115 and answer.ErrorComment
        refused = archive.event("message.refused", since, status="0115")
        assert refused.payload["command"] == "0100" and refused.subjects.device == sender
        since = archive.mark()
    assert not [e for e in archive.events("commitment.answered") if e.subjects.study == kept[0]]


@pytest.mark.parametrize(
    ("kind", "instance", "status"), [(3, WELL_KNOWN, 0x0113), (1, "1.2.3", 0x0112)], ids=["event", "instance"]
)
def test_other_events_are_refused(archive: Archive, kind: int, instance: str, status: int) -> None:
    since = archive.mark()
    answer = tell_later(archive, "EVENTS", report("2.25.1", []), kind, instance=instance)
    assert answer.Status == status and answer.ErrorComment
    archive.event("message.refused", since, status=f"{status:04X}")


def test_without_the_role_a_report_ends_the_association(archive: Archive) -> None:
    """No role selection: the peer is SCU alone, and N-EVENT-REPORT is the SCP's."""
    since = archive.mark()
    with archive.associate(StorageCommitmentPushModel, title="NOROLE") as association:
        (context,) = association.accepted_contexts
        context._as_scp = True  # it takes what it was not given
        send(association, report("2.25.1", []), 1)
        wait_for(lambda: association.is_aborted, "the association goes on")
    ended = archive.event("association.ended", since, how="aborted-by-us")
    assert ended.subjects.device == "NOROLE" and "role" in str(ended.payload["why"])


def test_another_transaction_on_our_association(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """It is refused, and the right one is still taken."""
    committer = Committer(other_transaction=True)
    with committing(archive, committer) as title:
        told = archive.cli("commit", title, "--study", kept[0])
    assert [status.Status for status in committer.statuses] == [0x0115, 0]
    assert sorted(told["committed"]) == sorted(kept[1])


def test_report_before_the_response(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """The peer answers the N-ACTION only when its report was taken."""
    committer = Committer(before_response=True)
    with committing(archive, committer) as title:
        told = archive.cli("commit", title, "--study", kept[0])
    assert [status.Status for status in committer.statuses] == [0]
    assert sorted(told["committed"]) == sorted(kept[1])


def test_a_report_that_cannot_be_written_down_is_not_acknowledged(
    archive: Archive, kept: tuple[str, list[str]]
) -> None:
    committer, pairs = Committer(), [(CTImageStorage, sop) for sop in kept[1]]
    peers = DimsePeers(PeerSettings("HOUNSFIELD"), None, Transcoder())

    def take(answer: CommitmentAnswer) -> None:
        assert answer == CommitmentAnswer(tuple(pairs), ())
        raise StorageFullError("no room for the ledger")

    with committing(archive, committer) as title:
        with archive.database.read() as tx:
            device = tx.devices.by_name(title)
        assert device is not None
        with pytest.raises(StorageFullError):
            asyncio.run(peers.request_commitment(device, "2.25.7", pairs, 30, take))
    # the association is aborted right after: the answer may be lost, and is no success in any case
    assert [status.get("Status") for status in committer.statuses] in ([0x0110], [None])


def test_a_peer_that_never_answers(archive: Archive, kept: tuple[str, list[str]]) -> None:
    committer, since = Committer(here=False), archive.mark()
    with committing(archive, committer) as title:
        done = archive.cli("commit", title, "--study", kept[0], "--wait", "0.5", check=False)
    assert done.returncode == 6 and "has not reported" in done.stderr
    told = json.loads(done.stdout)
    assert not told["answered"] and told["committed"] == []
    assert archive.event("commitment.asked", since, transaction=told["transaction"])


def test_a_peer_that_ends_the_association(archive: Archive, kept: tuple[str, list[str]]) -> None:
    """Nothing comes on it any more: nobody waits for it, and the request stands."""
    committer = Committer(aborts=True)
    with committing(archive, committer) as title:
        done = archive.cli("commit", title, "--study", kept[0], "--wait", "600", check=False)
        assert done.returncode == 6 and not json.loads(done.stdout)["answered"], done.stderr
        assert tell_later(archive, title, report(*committer.asked[0])).Status == 0


def test_a_request_that_is_refused(archive: Archive, kept: tuple[str, list[str]]) -> None:
    committer, since = Committer(status=0x0110), archive.mark()
    with committing(archive, committer) as title:
        done = archive.cli("commit", title, "--study", kept[0], check=False)
    assert done.returncode == 6 and "0110" in done.stderr
    refused = archive.event("commitment.refused", since, transaction=committer.asked[0][0])
    assert refused.subjects.device == title and "0110" in str(refused.payload["why"])
