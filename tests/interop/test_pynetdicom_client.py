"""pynetdicom as client: what DCMTK's programs cannot say (negotiation, identity, cancel, policies)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from pynetdicom import build_context, build_role
from pynetdicom.dimse_primitives import C_CANCEL
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.sop_class import (
    BasicFilmSession,
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from hounsfield.ports.clock import SystemClock
from hounsfield.services.accounts import first_admin
from support_hostile import ASSOCIATE_RJ, RQ, Raw
from support_peers import storage_scp
from support_server import Archive, keys, loaded, study

FIND, GET, MOVE = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)
PRIVATE = "1.2.826.0.1.3680043.8.498.77.1"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """An archive that takes neither other called titles nor unknown SOP classes nor unknown devices."""
    made = Archive(
        tmp_path_factory.mktemp("strict"),
        called_ae_titles="ours",
        unknown_sop_classes="refuse",
        unknown_devices="refuse",
    )
    made.start()
    made.device("KNOWN")
    first_admin(made.database, SystemClock(), "correct horse")
    yield made
    made.stop()


def extended(sop_class: str, info: bytes) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = sop_class
    item.service_class_application_information = info
    return item


def test_every_contexts_outcome_is_told(archive: Archive) -> None:
    since = archive.mark()
    contexts = (Verification, BasicFilmSession, (CTImageStorage, ["1.2.3.4.5"]), CTImageStorage)
    with archive.associate(*contexts, title="OUTCOMES") as association:
        results = {
            c.context_id: c.result for c in association.accepted_contexts + association.rejected_contexts
        }
    assert results == {1: 0, 3: 3, 5: 4, 7: 0}
    refused = archive.event("context.refused", since)
    assert [[c[0], c[1], c[3]] for c in refused.payload["contexts"]] == [
        [3, BasicFilmSession, 3],
        [5, CTImageStorage, 4],
    ]
    accepted = archive.event("association.accepted", since, calling="OUTCOMES")
    assert [c[0] for c in accepted.payload["contexts"]] == [1, 7]


def test_store(archive: Archive) -> None:
    files = [loaded(data) for data in study(3)]
    with archive.associate(CTImageStorage) as association:
        assert [association.send_c_store(f).Status for f in files] == [0, 0, 0]
        assert association.send_c_store(files[0]).Status == 0, "the same again"
    assert len(archive.instances(study=files[0].StudyInstanceUID)) == 3


def test_the_senders_first_syntax_is_taken_for_storage(archive: Archive) -> None:
    proposed = [JPEG2000Lossless, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with archive.associate((CTImageStorage, proposed)) as association:
        assert association.accepted_contexts[0].transfer_syntax == [JPEG2000Lossless]


def test_asynchronous_operations_are_answered_with_one(archive: Archive) -> None:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = item.maximum_number_operations_performed = 5
    with archive.associate(Verification, ext_neg=[item]) as association:
        assert association.acceptor.asynchronous_operations == (1, 1)


def test_roles(archive: Archive) -> None:
    role = build_role(CTImageStorage, scu_role=True, scp_role=True)
    with archive.associate(CTImageStorage, MRImageStorage, ext_neg=[role]) as association:
        by_class = {c.abstract_syntax: c for c in association.accepted_contexts}
    assert (by_class[CTImageStorage].as_scu, by_class[CTImageStorage].as_scp) == (True, True)
    assert (by_class[MRImageStorage].as_scu, by_class[MRImageStorage].as_scp) == (True, False)


def test_extended_negotiation_of_find(archive: Archive) -> None:
    with archive.associate(FIND, ext_neg=[extended(FIND, b"\1\1\1\1\1")]) as association:
        answered = association.acceptor.sop_class_extended
    assert answered[FIND] == b"\1\1\1\1\0", "relational, date-time, fuzzy, timezone; not multi-frame"


def relational(archive: Archive, info: bytes, identifier: pydicom.Dataset) -> list[Any]:
    with archive.associate(FIND, ext_neg=[extended(FIND, info)]) as association:
        return list(association.send_c_find(identifier, FIND))


def test_relational_queries_need_to_be_agreed(archive: Archive) -> None:
    files = study(2)
    archive.store(*files)
    asked = keys("IMAGE", SOPInstanceUID=loaded(files[0]).SOPInstanceUID)
    assert [bool(found) for _, found in relational(archive, b"\1", asked)] == [True, False]
    (status, _), *rest = relational(archive, b"\0", asked)
    assert (status.Status, rest) == (0xA900, [])
    assert "StudyInstanceUID" in status.ErrorComment
    assert status.OffendingElement == pydicom.tag.Tag("StudyInstanceUID")


def test_timezone_adjustment_needs_to_be_agreed(archive: Archive) -> None:
    """Half past eleven at night in New York is the next day in Berlin."""
    patient = generate_uid()[-16:]
    ((scanned, *_)) = study(1, patient=patient, StudyDate="20240101", StudyTime="233000")
    late = loaded(scanned)
    late.TimezoneOffsetFromUTC = "-0500"
    archive.store(late)
    for info, date, zone, expected in (
        (b"\0\0\0\1", "20240102", "+0100", ("20240102", "053000", "+0100")),
        (b"\0\0\0\1", "20240101", "+0100", None),
        (b"\0\0\0\1", "20240101", "", ("20240101", "233000", "-0500")),
        (b"\0\0\0\0", "20240101", "+0100", ("20240101", "233000", "-0500")),
        (b"\0\0\0\0", "20240102", "+0100", None),
    ):
        asked = keys("STUDY", PatientID=patient, StudyDate=date, StudyTime="", TimezoneOffsetFromUTC=zone)
        found = [data for _, data in relational(archive, info, asked) if data is not None]
        told = [(d.StudyDate, d.StudyTime, d.TimezoneOffsetFromUTC) for d in found]
        assert told == ([expected] if expected else []), (info, date, zone)
    combined = keys(
        "STUDY",
        PatientID=patient,
        StudyDate="20240102-20240102",
        StudyTime="0500-0600",
        TimezoneOffsetFromUTC="+0100",
    )
    assert len(relational(archive, b"\0\1\0\1", combined)) == 2
    combined.TimezoneOffsetFromUTC = "+0000"
    assert len(relational(archive, b"\0\1\0\1", combined)) == 1
    combined.TimezoneOffsetFromUTC = "CET"
    ((status, _),) = relational(archive, b"\0\0\0\1", combined)
    assert status.Status == 0xC000 and "TimezoneOffsetFromUTC" in status.ErrorComment


def test_fuzzy_names_need_to_be_agreed(archive: Archive) -> None:
    patient = generate_uid()[-16:]
    archive.store(*study(1, patient=patient, PatientName="Schmidt^Anna"))
    asked = keys("STUDY", PatientID=patient, PatientName="Schmitt^Anna")
    assert len(relational(archive, b"\0\0\1", asked)) == 2
    assert len(relational(archive, b"\0\0\0", asked)) == 1


def test_date_and_time_together_need_to_be_agreed(archive: Archive) -> None:
    patient = generate_uid()[-16:]
    archive.store(*study(1, patient=patient, StudyDate="20240110", StudyTime="040000"))
    asked = keys("STUDY", PatientID=patient, StudyDate="20240109-20240111", StudyTime="100000-120000")
    assert len(relational(archive, b"\0\1", asked)) == 2, "one range of moments"
    assert len(relational(archive, b"\0\0", asked)) == 1, "a range of days, and one of hours of each day"


def identity(kind: int, primary: bytes, secondary: bytes = b"") -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = primary
    item.secondary_field = secondary
    item.positive_response_requested = True
    return item


@pytest.mark.parametrize(
    ("kind", "primary", "secondary", "established"),
    [
        (1, b"someone", b"", True),
        (2, b"admin", b"correct horse", True),
        (2, b"admin", b"wrong", False),
        (2, b"nobody", b"correct horse", False),
        (5, b"eyJhbGciOiJub25lIn0.e30.", b"", True),
    ],
    ids=["name", "passcode", "wrong passcode", "unknown name", "JWT"],
)
def test_user_identity(
    strict: Archive, kind: int, primary: bytes, secondary: bytes, established: bool
) -> None:
    since = strict.mark()
    item = identity(kind, primary, secondary)
    with strict.associate(Verification, title="KNOWN", ext_neg=[item]) as association:
        assert association.is_established is established
        assert association.is_rejected is not established
    if established:
        told = strict.event("association.accepted", since).payload["user_identity"]
        assert told == [kind, primary.decode() if kind < 3 else ""], "a token is no name, and stays out"
    else:
        rejected = strict.event("association.rejected", since)
        assert "passcode" in str(rejected.payload["why"])
        assert "wrong" not in str(rejected.payload) and "correct" not in str(rejected.payload)


def test_called_title(strict: Archive, archive: Archive) -> None:
    since = strict.mark()
    with strict.associate(Verification, title="KNOWN", called="OTHER") as association:
        assert association.is_rejected
    rejected = strict.event("association.rejected", since)
    assert [rejected.payload[k] for k in ("result", "source", "reason")] == [1, 1, 7]
    assert rejected.payload["nearest"] == "HOUNSFIELD"
    with archive.associate(Verification, called="OTHER") as association:
        assert association.is_established, "any called title, where the setting says so"


def test_calling_title(strict: Archive) -> None:
    since = strict.mark()
    with strict.associate(Verification, title="KNOWM") as association:
        assert association.is_rejected
    rejected = strict.event("association.rejected", since)
    assert [rejected.payload[k] for k in ("result", "source", "reason")] == [1, 1, 3]
    assert rejected.payload["nearest"] == "KNOWN"


def test_private_sop_classes_by_policy(archive: Archive, strict: Archive) -> None:
    data_set = loaded(study(1)[0])
    data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = PRIVATE
    assert archive.store(data_set) == [0]
    assert archive.instances(sop=[data_set.SOPInstanceUID])[0].sop_class_uid == PRIVATE
    with strict.associate(PRIVATE, Verification, title="KNOWN") as association:
        assert [c.abstract_syntax for c in association.rejected_contexts] == [PRIVATE]


def test_what_a_device_may_not_do(archive: Archive) -> None:
    archive.device("SENDER", roles=("store",))
    files = study(1)
    assert archive.store(*files, title="SENDER") == [0]
    since = archive.mark()
    with archive.associate(FIND, title="SENDER") as association:
        answers = list(association.send_c_find(keys("STUDY", StudyInstanceUID=""), FIND))
    assert [status.Status for status, _ in answers] == [0x0124]
    assert answers[0][0].ErrorComment == "this device may not query"
    assert archive.event("message.refused", since, status="0124").subjects.device == "SENDER"
    archive.device("VIEWER", roles=("query", "retrieve"))
    assert archive.store(*study(1), title="VIEWER") == [0x0124]
    assert (
        archive.event("instance.refused", since, status="0124").payload["why"] == "this device may not store"
    )


def test_more_associations_than_a_device_may_have(archive: Archive) -> None:
    archive.device("NARROW", max_associations=1)
    since = archive.mark()
    request = RQ.replace(b"HOSTILE", b"NARROW ")
    with Raw(archive.port) as first, Raw(archive.port) as second:
        first.associate(request)
        assert second.send(request).read() == (ASSOCIATE_RJ, bytes((0, 2, 3, 2))), "for now; a local limit"
        assert archive.echoes("WIDE")
    rejected = archive.event("association.rejected", since)
    assert "NARROW has 1 associations already" in str(rejected.payload["why"])


def cancel(association: Any, sop_class: str, message_id: int = 1) -> None:
    request = C_CANCEL()
    request.MessageIDBeingRespondedTo = message_id
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == sop_class)
    association.dimse.send_msg(request, context.context_id)


@pytest.fixture(scope="module")
def many(archive: Archive) -> str:
    """Patient ID of 600 studies."""
    patient = generate_uid()[-16:]
    files = [study(1, patient=patient, AccessionNumber=str(n))[0] for n in range(600)]
    assert set(archive.store(*files)) == {0}
    return patient


def test_cancel_of_a_find(archive: Archive, many: str) -> None:
    since = archive.mark()
    with archive.associate(FIND) as association:
        answers = association.send_c_find(keys("STUDY", PatientID=many, StudyInstanceUID=""), FIND, msg_id=7)
        next(answers)
        cancel(association, FIND, 7)
        rest = list(answers)
        assert rest[-1][0].Status in (0xFE00, 0x0000)
        assert association.send_c_find(keys("STUDY", PatientID="none"), FIND) is not None
    told = archive.event("query.answered", since, status=f"{rest[-1][0].Status:04X}")
    assert told.payload["matches"] == len(rest)


def test_all_answers_come_where_nobody_cancels(archive: Archive, many: str) -> None:
    since = archive.mark()
    found = archive.find("STUDY", PatientID=many, StudyInstanceUID="")
    assert len({f.StudyInstanceUID for f in found}) == 600
    told = archive.event("query.answered", since, matches=600)
    assert told.payload["model"] == "study" and told.payload["keys"] == ["PatientID"]


def test_cancel_of_a_get(archive: Archive) -> None:
    from pynetdicom import evt

    files = study(40)
    archive.store(*files)
    came: list[str] = []

    def on_store(event: Any) -> int:
        came.append(event.request.AffectedSOPInstanceUID)
        if len(came) == 5:
            cancel(event.assoc, GET, 3)
        return 0

    since = archive.mark()
    with archive.associate(
        GET,
        CTImageStorage,
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    ) as association:
        identifier = keys("STUDY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID)
        final, _ = list(association.send_c_get(identifier, GET, msg_id=3))[-1]
    assert final.Status == 0xFE00
    assert final.NumberOfCompletedSuboperations == len(came) < 40
    assert final.NumberOfRemainingSuboperations == 40 - len(came)
    assert archive.event("retrieve.ended", since, status="FE00").payload["remaining"] == 40 - len(came)


def test_cancel_of_a_move(archive: Archive) -> None:
    files = study(40)
    archive.store(*files)
    with archive.associate(MOVE) as association:

        def answer(uid: str, number: int) -> int:
            if number == 3:
                cancel(association, MOVE, 9)
            return 0

        with storage_scp(title="SLOWDEST", answer=answer) as scp:
            archive.device("SLOWDEST", host="127.0.0.1", port=scp.port)
            identifier = keys("STUDY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID)
            final, _ = list(association.send_c_move(identifier, "SLOWDEST", MOVE, msg_id=9))[-1]
    assert final.Status == 0xFE00
    assert final.NumberOfCompletedSuboperations == len(scp.came) < 40
    assert final.NumberOfRemainingSuboperations == 40 - len(scp.came)


def test_a_context_that_does_not_fit_the_request(archive: Archive) -> None:
    data_set = loaded(study(1)[0])
    with archive.associate((MRImageStorage, [ExplicitVRLittleEndian]), CTImageStorage) as association:
        wrong = build_context(CTImageStorage, ExplicitVRLittleEndian)
        wrong.context_id = 1
        association._accepted_cx[1].abstract_syntax = CTImageStorage  # pynetdicom would not send it otherwise
        del association._accepted_cx[3]
        status = association.send_c_store(data_set)
    assert status.Status == 0x0122
    assert "presentation context" in status.ErrorComment


def test_patient_root_needs_the_patient(archive: Archive) -> None:
    with archive.associate(PatientRootQueryRetrieveInformationModelFind) as association:
        answers = list(
            association.send_c_find(
                keys("STUDY", StudyInstanceUID="1.2"), PatientRootQueryRetrieveInformationModelFind
            )
        )
    assert answers[0][0].Status == 0xA900 and "PatientID" in answers[0][0].ErrorComment
