"""pynetdicom as server: for our own client, and as move destination of the archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from hounsfield.domain.errors import PeerError
from hounsfield.domain.query import Level
from support_ours import Ours, ours, peer, statuses
from support_peers import storage_scp
from support_server import Archive, free_port, keys, loaded, study, written

FIND, GET, MOVE = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Ours]:
    with ours(tmp_path, seconds=3) as made:
        yield made


def move(archive: Archive, title: str, one: pydicom.Dataset) -> tuple[pydicom.Dataset, list[str], list[Any]]:
    """The final answer of a C-MOVE of a study, its Failed SOP Instance UID List, and the pending ones."""
    with archive.associate(MOVE) as association:
        answers = list(
            association.send_c_move(keys("STUDY", StudyInstanceUID=one.StudyInstanceUID), title, MOVE)
        )
    final, identifier = answers[-1]
    failed = identifier.get("FailedSOPInstanceUIDList", []) if identifier is not None else []
    return final, [failed] if isinstance(failed, str) else list(failed), answers[:-1]


def counts(final: pydicom.Dataset) -> tuple[int, int, int]:
    return (
        final.NumberOfCompletedSuboperations,
        final.NumberOfFailedSuboperations,
        final.NumberOfWarningSuboperations,
    )


def test_move_over_several_associations(archive: Archive) -> None:
    files = study(40)
    archive.store(*files)
    with storage_scp(title="MANY") as scp:
        archive.device("MANY", host="127.0.0.1", port=scp.port)
        final, failed, _ = move(archive, "MANY", loaded(files[0]))
    assert (final.Status, counts(final), failed) == (0, (40, 0, 0), [])
    assert sorted(scp.uids) == sorted(loaded(f).SOPInstanceUID for f in files), "each once"
    assert scp.associations == 4
    assert {r.MoveOriginatorApplicationEntityTitle for r in scp.requests} == {"TEST"}
    assert {r.MoveOriginatorMessageID for r in scp.requests} == {1}


def test_move_whose_destination_fails_some_objects(archive: Archive) -> None:
    files = study(10)
    uids = [loaded(f).SOPInstanceUID for f in files]
    archive.store(*files)
    answers = {uids[2]: 0xA700, uids[5]: 0xC123, uids[7]: 0xB000}
    since = archive.mark()
    with storage_scp(title="PICKY", answer=lambda uid, _: answers.get(uid, 0)) as scp:
        archive.device("PICKY", host="127.0.0.1", port=scp.port)
        final, failed, _ = move(archive, "PICKY", loaded(files[0]))
    assert (final.Status, counts(final)) == (0xB000, (7, 2, 1))
    assert set(failed) == {uids[2], uids[5]}
    told = archive.event("retrieve.ended", since, destination="PICKY")
    assert {uid for uid, _ in told.payload["failures"]} == {uids[2], uids[5]}


def test_move_to_a_destination_that_takes_one_class_only(archive: Archive) -> None:
    files = study(4)
    other = loaded(files[3])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = MRImageStorage
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    archive.store(*files[:3], written(other))
    with storage_scp(title="CTONLY") as scp:
        archive.device("CTONLY", host="127.0.0.1", port=scp.port)
        final, failed, _ = move(archive, "CTONLY", loaded(files[0]))
    assert (final.Status, counts(final), failed) == (0xB000, (3, 1, 0), [other.SOPInstanceUID])
    assert "accepted no presentation context" in final.ErrorComment


def test_move_to_a_destination_that_is_down(archive: Archive) -> None:
    files = study(3)
    archive.store(*files)
    archive.device("DOWN", host="127.0.0.1", port=free_port())
    final, failed, _ = move(archive, "DOWN", loaded(files[0]))
    assert (final.Status, counts(final)) == (0xA702, (0, 3, 0))
    assert sorted(failed) == sorted(loaded(f).SOPInstanceUID for f in files)
    assert "refuses the connection" in final.ErrorComment


def test_move_to_a_destination_that_breaks_off(archive: Archive) -> None:
    files = study(6)
    archive.store(*files)

    def answer(event: Any) -> int:
        if event.request.MessageID == 3:
            event.assoc.abort()
        return 0

    with storage_scp(title="BREAKER") as scp:
        ae = AE("BREAKER")
        ae.add_supported_context(CTImageStorage)
        port = free_port()
        server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
        archive.device("BREAKER", host="127.0.0.1", port=port)
        final, failed, _ = move(archive, "BREAKER", loaded(files[0]))
        server.shutdown()
    assert scp.came == []
    completed, missed, warned = counts(final)
    assert final.Status == 0xB000 and (completed, warned) == (2, 0)
    assert completed + missed == 6 and len(failed) == missed


def test_a_long_list_of_failures_fits_its_element(archive: Archive) -> None:
    """UI has a length of 16 bits in explicit VR: of 1200 failures as many as fit are listed."""
    files = study(1200)
    archive.store(*files)
    archive.device("DOWN", host="127.0.0.1", port=free_port())
    final, failed, _ = move(archive, "DOWN", loaded(files[0]))
    assert counts(final) == (0, 1200, 0)
    assert 900 < len(failed) < 1200
    assert set(failed) < {loaded(f).SOPInstanceUID for f in files}


def test_get_from_the_archive_counts_failures(archive: Archive) -> None:
    files = study(5)
    uids = [loaded(f).SOPInstanceUID for f in files]
    archive.store(*files)

    def on_store(event: Any) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == uids[1] else 0

    with archive.associate(
        GET,
        CTImageStorage,
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    ) as association:
        identifier = keys("STUDY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID)
        final, failed = list(association.send_c_get(identifier, GET))[-1]
    assert (final.Status, counts(final)) == (0xB000, (4, 1, 0))
    assert failed.FailedSOPInstanceUIDList == uids[1]


def test_get_without_the_role_fails_every_object(archive: Archive) -> None:
    """Without role selection the peer is no SCP of storage: nothing may be sent to it."""
    files = study(2)
    archive.store(*files)
    with archive.associate(GET, CTImageStorage) as association:
        identifier = keys("STUDY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID)
        final, _ = list(association.send_c_get(identifier, GET))[-1]
    assert (final.Status, counts(final)) == (0xA702, (0, 2, 0))
    assert "no presentation context" in final.ErrorComment


def scp_of(
    sop_class: str, handler: Callable[[Any], Any], event: Any, more: Callable[[AE], None] = lambda ae: None
) -> Any:
    def prepare(ae: AE) -> None:
        ae.add_supported_context(sop_class)
        more(ae)

    return storage_scp(handlers=[(event, handler)], more=prepare)


def test_our_find(mine: Ours) -> None:
    asked: list[pydicom.Dataset] = []

    def on_find(event: Any) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        asked.append(event.identifier)
        for number in range(300):
            found = keys("STUDY", StudyInstanceUID=f"1.2.{number}", PatientName="Doe^Jane")
            yield 0xFF00, found
        yield 0x0000, None

    with scp_of(FIND, on_find, evt.EVT_C_FIND) as scp:
        found = mine.find(peer(scp.port), Level.STUDY, PatientName="Doe*", StudyInstanceUID="")
    assert [f["StudyInstanceUID"] for f in found] == [f"1.2.{n}" for n in range(300)]
    assert asked[0].PatientName == "Doe*" and asked[0].QueryRetrieveLevel == "STUDY"


def test_our_find_in_patient_root_and_in_japanese(mine: Ours) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    asked: list[str] = []

    def on_find(event: Any) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        asked.append(str(event.identifier.PatientName))
        found = pydicom.Dataset()
        found.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        found.QueryRetrieveLevel = "PATIENT"
        found.PatientName = name
        yield 0xFF00, found
        yield 0x0000, None

    model = PatientRootQueryRetrieveInformationModelFind
    with scp_of(model, on_find, evt.EVT_C_FIND) as scp:
        found = mine.find(peer(scp.port), Level.PATIENT, model="patient", PatientName=name)
    assert [f["PatientName"] for f in found] == [name]
    assert asked == [name]


def test_a_find_that_fails_halfway(mine: Ours) -> None:
    def on_find(event: Any) -> Iterator[tuple[int, pydicom.Dataset | None]]:
        yield 0xFF00, keys("STUDY", StudyInstanceUID="1.2.3")
        yield 0xA700, None

    with (
        scp_of(FIND, on_find, evt.EVT_C_FIND) as scp,
        pytest.raises(PeerError, match="answered C-FIND: A700H"),
    ):
        mine.find(peer(scp.port), Level.STUDY, StudyInstanceUID="")


def test_a_service_that_the_peer_does_not_offer(mine: Ours) -> None:
    with storage_scp() as scp, pytest.raises(PeerError, match="accepted no presentation context"):
        mine.find(peer(scp.port), Level.STUDY, StudyInstanceUID="")


def test_our_get_keeps_the_syntax_in_which_the_peer_has_it(mine: Ours) -> None:
    plain, packed = loaded(study(1)[0]), loaded(study(1)[0])
    packed.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(40)])
    packed["PixelData"].VR = "OB"
    packed["PixelData"].is_undefined_length = True
    packed.file_meta.TransferSyntaxUID = JPEG2000Lossless

    def on_get(event: Any) -> Iterator[Any]:
        yield 2
        yield 0xFF00, plain
        yield 0xFF00, packed

    def roles(ae: AE) -> None:
        syntaxes = [plain.file_meta.TransferSyntaxUID, JPEG2000Lossless]
        ae.add_supported_context(CTImageStorage, syntaxes, scu_role=True, scp_role=True)

    with scp_of(GET, on_get, evt.EVT_C_GET, roles) as scp:
        got = mine.get(peer(scp.port), Level.STUDY, StudyInstanceUID="1.2.3")
    assert (got.completed, got.failed) == (2, 0)
    kept = {i.sop_instance_uid: i.transfer_syntax_uid for i in mine.house.instances()}
    assert kept[packed.SOPInstanceUID] == JPEG2000Lossless
    assert kept.keys() == {plain.SOPInstanceUID, packed.SOPInstanceUID}


def test_our_move_tells_what_failed(mine: Ours) -> None:
    def on_move(event: Any) -> Iterator[Any]:
        yield ("127.0.0.1", destination.port)
        yield 3
        for data in files:
            yield 0xFF00, loaded(data)

    files = study(3)
    bad = loaded(files[1]).SOPInstanceUID
    with (
        storage_scp(answer=lambda uid, _: 0xA700 if uid == bad else 0) as destination,
        scp_of(MOVE, on_move, evt.EVT_C_MOVE, lambda ae: ae.add_requested_context(CTImageStorage)) as scp,
    ):
        result = mine.move(peer(scp.port), Level.STUDY, "ANY", StudyInstanceUID="1.2.3")
    assert (result.completed, result.failed) == (2, 1)
    assert [f.sop_instance_uid for f in result.failures] == [bad]


def test_a_peer_that_does_not_answer_a_store(mine: Ours) -> None:
    """The objects that were not sent are not told as sent; the reason says how long was waited."""
    mine.keep(*study(2))

    def slow(uid: str, number: int) -> int:
        time.sleep(4)
        return 0

    with storage_scp(answer=slow) as scp, pytest.raises(PeerError, match="no answer to C-STORE within 3 s"):
        mine.send(peer(scp.port))


def test_a_peer_that_never_answers_the_release(mine: Ours) -> None:
    """All was stored: that the association did not end in good order does not make it a failure."""
    mine.keep(*study(2))
    with storage_scp() as scp:
        from pynetdicom import acse

        original = acse.ACSE.send_release
        try:
            acse.ACSE.send_release = lambda self, is_response=False: (
                None if is_response else original(self, is_response)
            )
            assert statuses(mine.send(peer(scp.port))) == [0, 0]
        finally:
            acse.ACSE.send_release = original
