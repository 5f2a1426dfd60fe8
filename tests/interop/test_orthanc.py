"""Orthanc as client of the archive, as its move destination, and as server for our own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

from hounsfield.domain.query import Level
from support_ours import ours, peer, statuses
from support_peers import Orthanc
from support_server import Archive, keys, loaded, study, wait_for

pytestmark = pytest.mark.peer("orthanc")


@pytest.fixture(autouse=True)
def _emptied(orthanc: Orthanc) -> Iterator[None]:
    yield
    orthanc.clear()


def upload(orthanc: Orthanc, files: list[bytes]) -> list[str]:
    return [orthanc.ask("/instances", data)["ID"] for data in files]


def uids(files: list[bytes]) -> set[str]:
    return {loaded(data).SOPInstanceUID for data in files}


def test_echo_and_store(archive: Archive, orthanc: Orthanc) -> None:
    files = study(8, pixels=bytes(30_000))
    orthanc.ask("/modalities/hounsfield/echo", {})
    identifiers = upload(orthanc, files)
    told = orthanc.ask("/modalities/hounsfield/store", {"Resources": identifiers, "Synchronous": True})
    assert (told["InstancesCount"], told["FailedInstancesCount"]) == (8, 0)
    kept = archive.instances(study=loaded(files[0]).StudyInstanceUID)
    assert {i.sop_instance_uid for i in kept} == uids(files)


def test_store_with_commitment(archive: Archive, orthanc: Orthanc) -> None:
    files = study(2)
    since = archive.mark()
    orthanc.ask(
        "/modalities/hounsfield/store",
        {"Resources": upload(orthanc, files), "Synchronous": True, "StorageCommitment": True},
    )
    asked = archive.event("commitment.requested", since)
    assert asked.payload["objects"] == 2 and asked.subjects.device == "ORTHANC"
    archive.hasten(str(asked.payload["transaction"]))  # Orthanc releases without waiting for the report
    told = archive.event("commitment.reported", since, transaction=asked.payload["transaction"])
    assert (told.payload["committed"], told.payload["failed"]) == (2, [])
    address = f"/storage-commitment/{asked.payload['transaction']}"
    wait_for(lambda: orthanc.ask(address)["Status"] == "Success", "Orthanc does not know of the report")


def test_orthanc_commits_to_what_we_ask_for(archive: Archive, orthanc: Orthanc) -> None:
    """Its report comes on an association of its own, to our server, while the command waits."""
    files = study(3)
    archive.store(*files)
    upload(orthanc, files[:2])
    uid, since = loaded(files[0]).StudyInstanceUID, archive.mark()
    done = archive.cli("commit", "ORTHANC", "--study", uid, "--wait", "600", check=False)
    assert done.returncode == 6, done.stderr
    told = json.loads(done.stdout)
    assert set(told["committed"]) == uids(files[:2])
    assert [(f["sop"], f["reason"]) for f in told["failed"]] == [(loaded(files[2]).SOPInstanceUID, "0112")]
    answered = archive.event("commitment.answered", since, transaction=told["transaction"])
    assert (answered.payload["over"], answered.subjects.device) == ("new", "ORTHANC")
    upload(orthanc, files[2:])
    told = archive.cli("commit", "ORTHANC", "--study", uid, "--wait", "600")
    assert set(told["committed"]) == uids(files) and told["failed"] == []


def query(orthanc: Orthanc, level: str, **asked: str) -> tuple[str, list[dict[str, Any]]]:
    told = orthanc.ask("/modalities/hounsfield/query", {"Level": level, "Query": asked})
    answers = orthanc.ask(f"/queries/{told['ID']}/answers?expand&simplify")
    return told["ID"], answers


def test_query_and_retrieve(archive: Archive, orthanc: Orthanc) -> None:
    patient = generate_uid()[-16:]
    files = study(9, patient=patient, PatientName="Orthanc^Asks")
    archive.store(*files)
    one = loaded(files[0])
    query_id, answers = query(orthanc, "Study", PatientID=patient, StudyInstanceUID="", PatientName="orth*")
    assert [(a["StudyInstanceUID"], a["PatientName"]) for a in answers] == [
        (one.StudyInstanceUID, "Orthanc^Asks")
    ]
    told = orthanc.ask(f"/queries/{query_id}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert "Query" in told
    assert orthanc.instances() == uids(files)
    _, series = query(orthanc, "Series", StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID="")
    assert [s["SeriesInstanceUID"] for s in series] == [one.SeriesInstanceUID]
    _, images = query(
        orthanc, "Instance", StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID
    )
    assert len(images) == 9


def test_move_to_orthanc_over_several_associations(archive: Archive, orthanc: Orthanc) -> None:
    files = study(50)
    archive.store(*files)
    since = archive.mark()
    with archive.associate(Move) as association:
        identifier = keys("STUDY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID)
        final, _ = list(association.send_c_move(identifier, "ORTHANC", Move))[-1]
    assert final.Status == 0
    assert final.NumberOfCompletedSuboperations == 50 and final.NumberOfFailedSuboperations == 0
    assert orthanc.instances() == uids(files)
    assert archive.event("retrieve.ended", since, destination="ORTHANC").payload["completed"] == 50


def test_our_client_against_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    files = study(12, patient="OURS1", PatientName="Our^Client")
    one = loaded(files[0])
    there = peer(orthanc.dicom_port, "ORTHANC")
    with ours(tmp_path) as mine:
        mine.keep(*files)
        assert mine.echo(there)["implementation_version"].startswith("OFFIS")
        assert statuses(mine.send(there)) == [0] * 12
        assert orthanc.instances() == uids(files)
        found = mine.find(there, Level.STUDY, PatientID="OURS1", StudyInstanceUID="", PatientName="")
        assert [f["StudyInstanceUID"] for f in found] == [one.StudyInstanceUID]
    with ours(tmp_path / "fresh") as fresh:
        counts = fresh.get(there, Level.STUDY, StudyInstanceUID=one.StudyInstanceUID)
        assert (counts.completed, counts.failed) == (12, 0)
        assert fresh.uids == uids(files)


def test_our_move_at_orthanc_to_the_archive(archive: Archive, orthanc: Orthanc, tmp_path: Path) -> None:
    files = study(4)
    upload(orthanc, files)
    with ours(tmp_path) as mine:
        counts = mine.move(
            peer(orthanc.dicom_port, "ORTHANC"),
            Level.STUDY,
            "HOUNSFIELD",
            StudyInstanceUID=loaded(files[0]).StudyInstanceUID,
        )
    assert (counts.completed, counts.failed) == (4, 0)
    assert len(archive.instances(study=loaded(files[0]).StudyInstanceUID)) == 4
