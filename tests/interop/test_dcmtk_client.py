"""DCMTK's programs as clients of the archive."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from support_peers import Secured, run, serving, storage_scp
from support_server import Archive, free_port, loaded, study

pytestmark = pytest.mark.peer("dcmtk")

STUDY_ROOT, PATIENT_ROOT, PATIENT_STUDY_ONLY = "-S", "-P", "-O"
#: Transfer syntax -> option of storescu that proposes it, and a file that has it.
SYNTAXES = {
    ImplicitVRLittleEndian: ("-xi", "MR_small_implicit.dcm"),
    ExplicitVRLittleEndian: ("-xe", "CT_small.dcm"),
    ExplicitVRBigEndian: ("-xb", "MR_small_bigendian.dcm"),
    DeflatedExplicitVRLittleEndian: ("-xd", "image_dfl.dcm"),
    JPEGBaseline8Bit: ("-xy", "SC_rgb_jpeg_dcmtk.dcm"),
    JPEGLSLossless: ("-xt", "MR_small_jpeg_ls_lossless.dcm"),
    JPEG2000Lossless: ("-xv", "693_J2KR.dcm"),
    RLELossless: ("-xr", "MR_small_RLE.dcm"),
}


def here(archive: Archive, *more: object) -> list[object]:
    return [*more, "-aec", "HOUNSFIELD", "127.0.0.1", archive.port]


def write(folder: Path, files: list[bytes]) -> list[Path]:
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / f"{number:04}.dcm")
        paths[-1].write_bytes(data)
    return paths


def answers(said: str) -> list[dict[str, str]]:
    """The identifiers that findscu printed: tag -> value."""
    found: list[dict[str, str]] = []
    for line in said.splitlines():
        if "Find Response:" in line:
            found.append({})
        match = re.match(
            r"^(?:I: )?\(([0-9a-f]{4}),([0-9a-f]{4})\) .. (?:\[(.*?)\]|=\S*|(\d+)|\(no value)", line
        )
        if match and found:
            found[-1][match[1] + match[2]] = (match[3] or match[4] or "").strip(" \0")
    return found


def find(archive: Archive, model: str, *keys: str, check: bool = True) -> list[dict[str, str]]:
    words = [word for key in keys for word in ("-k", key)]
    return answers(run("findscu", model, *words, *here(archive), check=check))


def test_echo(archive: Archive) -> None:
    since = archive.mark()
    assert "Received Echo Response (Success)" in run("echoscu", "-v", "-aet", "ECHOER", *here(archive))
    accepted = archive.event("association.accepted", since, calling="ECHOER", called="HOUNSFIELD")
    ended = archive.event("association.ended", since, how="released")
    assert accepted.subjects.association == ended.subjects.association != ""
    assert accepted.subjects.device == "ECHOER"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_storescu_in_every_syntax(archive: Archive, folder: Path, syntax: pydicom.uid.UID) -> None:
    option, name = SYNTAXES[syntax]
    data_set = pydicom.dcmread(get_testdata_file(name))
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    path = folder / "object.dcm"
    data_set.save_as(path, enforce_file_format=True)
    run("storescu", option, *here(archive), path)
    kept = archive.instances(sop=[data_set.SOPInstanceUID])
    assert [k.transfer_syntax_uid for k in kept] == [syntax], "kept in the syntax in which it came"


def test_stock_storescu_with_many_contexts(archive: Archive, folder: Path) -> None:
    """Nagle on, as DCMTK has it where nobody sets TCP_NODELAY; every context that storescu knows."""
    files = study(60, pixels=bytes(20_000))
    write(folder, files)
    run("storescu", "+sd", *here(archive), folder, seconds=30)
    assert len(archive.instances(study=loaded(files[0]).StudyInstanceUID)) == 60


def test_dcmsend(archive: Archive, folder: Path) -> None:
    files = study(3)
    sop = loaded(files[0])
    said = run("dcmsend", "-v", *here(archive), *write(folder, files))
    assert "with status SUCCESS                : 3" in said or "status SUCCESS" in said
    assert len(archive.instances(study=sop.StudyInstanceUID)) == 3


def test_findscu_at_every_level_and_root(archive: Archive) -> None:
    patient = f"FIND{generate_uid()[-20:]}"
    files = study(2, patient=patient, PatientName="Query^Level", AccessionNumber=patient[-12:])
    one = loaded(files[0])
    assert archive.store(*files) == [0, 0]
    uids = (f"StudyInstanceUID={one.StudyInstanceUID}", f"SeriesInstanceUID={one.SeriesInstanceUID}")
    by_level = {
        "PATIENT": (f"PatientID={patient}",),
        "STUDY": (f"PatientID={patient}", "StudyInstanceUID", "NumberOfStudyRelatedInstances"),
        "SERIES": (f"PatientID={patient}", uids[0], "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"),
        "IMAGE": (f"PatientID={patient}", *uids, "SOPInstanceUID"),
    }
    expected = {"PATIENT": 1, "STUDY": 1, "SERIES": 1, "IMAGE": 2}
    levels = {
        PATIENT_ROOT: ("PATIENT", "STUDY", "SERIES", "IMAGE"),
        STUDY_ROOT: ("STUDY", "SERIES", "IMAGE"),
        PATIENT_STUDY_ONLY: ("PATIENT", "STUDY"),
    }
    for model, served in levels.items():
        for level in served:
            found = find(archive, model, f"QueryRetrieveLevel={level}", *by_level[level])
            assert len(found) == expected[level], (model, level)
            assert {f["00080054"] for f in found} == {"HOUNSFIELD"}, "Retrieve AE Title"
    study_found = find(archive, STUDY_ROOT, "QueryRetrieveLevel=STUDY", *by_level["STUDY"])[0]
    assert study_found["00201208"] == "2", "Number of Study Related Instances"


def test_findscu_in_a_level_that_the_model_does_not_have(archive: Archive) -> None:
    since = archive.mark()
    said = run("findscu", "-v", "-S", "-k", "QueryRetrieveLevel=PATIENT", *here(archive), check=False)
    assert "DataSetDoesNotMatchSOPClass" in said, "DCMTK's word for A900"
    refused = archive.event("message.refused", since, status="A900")
    assert "Query/Retrieve Level" in str(refused.payload["comment"])


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_getscu(archive: Archive, folder: Path, level: str) -> None:
    files = study(3)
    one = loaded(files[1])
    archive.store(*files)
    keys = ["-k", f"QueryRetrieveLevel={level}", "-k", f"StudyInstanceUID={one.StudyInstanceUID}"]
    if level != "STUDY":
        keys += ["-k", f"SeriesInstanceUID={one.SeriesInstanceUID}"]
    if level == "IMAGE":
        keys += ["-k", f"SOPInstanceUID={one.SOPInstanceUID}"]
    since = archive.mark()
    run("getscu", "-v", "-S", "-od", folder, *keys, *here(archive))
    came = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert len(came) == (1 if level == "IMAGE" else 3)
    assert one.SOPInstanceUID in {c.SOPInstanceUID for c in came}
    ended = archive.event("retrieve.ended", since, verb="get")
    assert ended.payload["completed"] == len(came) and ended.payload["failed"] == 0
    assert ended.subjects.study == one.StudyInstanceUID


def test_movescu_to_a_third_party(archive: Archive, folder: Path) -> None:
    files = study(20)
    one = loaded(files[0])
    archive.store(*files)
    port = free_port()
    archive.device("STORESCP", host="127.0.0.1", port=port)
    since = archive.mark()
    with serving("storescp", "-od", folder, "-aet", "STORESCP", port, port=port, folder=folder):
        run(
            "movescu", "-v", "-S", "-aem", "STORESCP", "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={one.StudyInstanceUID}", *here(archive),
        )  # fmt: skip
    assert len([p for p in folder.iterdir() if p.suffix != ".log"]) == 20
    ended = archive.event("retrieve.ended", since, verb="move", destination="STORESCP")
    assert (ended.payload["completed"], ended.payload["failed"]) == (20, 0)


@pytest.mark.parametrize("level", ["PATIENT", "STUDY"])
def test_getscu_and_movescu_of_patient_study_only(archive: Archive, folder: Path, level: str) -> None:
    patient = generate_uid()[-16:]
    files = study(3, patient=patient)
    archive.store(*files)
    keys = ["-k", f"QueryRetrieveLevel={level}", "-k", f"PatientID={patient}"]
    if level == "STUDY":
        keys += ["-k", f"StudyInstanceUID={loaded(files[0]).StudyInstanceUID}"]
    since = archive.mark()
    out = folder / "got"
    out.mkdir()
    run("getscu", "-v", PATIENT_STUDY_ONLY, "-od", out, *keys, *here(archive))
    assert {pydicom.dcmread(path).SOPInstanceUID for path in out.iterdir()} == {
        loaded(f).SOPInstanceUID for f in files
    }
    assert archive.event("retrieve.ended", since, verb="get").payload["completed"] == 3
    port = free_port()
    archive.device("PSOSCP", host="127.0.0.1", port=port)
    with serving("storescp", "--ignore", "-aet", "PSOSCP", port, port=port, folder=folder):
        run("movescu", PATIENT_STUDY_ONLY, "-aem", "PSOSCP", *keys, *here(archive))
    ended = archive.event("retrieve.ended", since, verb="move", destination="PSOSCP")
    assert (ended.payload["completed"], ended.payload["failed"]) == (3, 0)


def test_retrieve_below_the_levels_of_patient_study_only(archive: Archive) -> None:
    since = archive.mark()
    keys = ["-k", "QueryRetrieveLevel=SERIES", "-k", "PatientID=1", "-k", "StudyInstanceUID=1.2"]
    run("getscu", PATIENT_STUDY_ONLY, *keys, "-k", "SeriesInstanceUID=1.3", *here(archive), check=False)
    assert "Level" in str(archive.event("message.refused", since, status="A900").payload["comment"])


def test_our_command_line_with_patient_study_only(archive: Archive) -> None:
    patient = generate_uid()[-16:]
    files = study(2, patient=patient)
    archive.store(*files)
    uid = loaded(files[0]).StudyInstanceUID
    here_too = f"HOUNSFIELD@127.0.0.1:{archive.port}"
    model = ("--model", "patient-study-only")
    told = archive.cli("get", here_too, "--patient", patient, "--study", uid, *model)
    assert (told["completed"], told["failed"]) == (2, 0)
    told = archive.cli("get", here_too, "--patient", patient, *model)
    assert told["completed"] == 2
    port = free_port()
    archive.device("PSOCLI", host="127.0.0.1", port=port)
    with storage_scp(title="PSOCLI", port=port) as scp:
        told = archive.cli("move", here_too, "--to", "PSOCLI", "--patient", patient, "--study", uid, *model)
    assert told["completed"] == 2 and len(scp.came) == 2
    for words in (("--study", uid), ("--patient", patient, "--study", uid, "--series", "1.2")):
        wrong = archive.cli("get", here_too, *words, *model, check=False)
        assert wrong.returncode == 2 and "patient-study-only" in wrong.stderr.replace("\n", "")


def test_movescu_with_itself_as_destination(archive: Archive, folder: Path) -> None:
    files = study(2)
    archive.store(*files)
    port = free_port()
    archive.device("MOVESCU", host="127.0.0.1", port=port)
    run(
        "movescu", "-S", "+P", port, "-od", folder, "-aet", "MOVESCU", "-aem", "MOVESCU",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={loaded(files[0]).StudyInstanceUID}",
        *here(archive),
    )  # fmt: skip
    assert len(list(folder.iterdir())) == 2


def test_movescu_to_nobody(archive: Archive) -> None:
    archive.device("KNOWNPACS", host="127.0.0.1", port=free_port())
    since = archive.mark()
    said = run(
        "movescu", "-v", "-S", "-aem", "KNOWNPAC", "-k", "QueryRetrieveLevel=STUDY",
        "-k", "StudyInstanceUID=1.2", *here(archive), check=False,
    )  # fmt: skip
    assert "MoveDestinationUnknown" in said
    refused = archive.event("message.refused", since, status="A801")
    assert "nearest known: KNOWNPACS" in str(refused.payload["comment"])


def there(secured: Secured) -> list[object]:
    return ["+cf", secured.certificates.authority, "127.0.0.1", secured.archive.tls_port]


def test_echo_over_tls_with_a_certificate(secured: Secured) -> None:
    files = secured.certificates
    since = secured.archive.mark()
    run(
        "echoscu",
        "+tls",
        files.client_key,
        files.client,
        *there(secured),
    )
    accepted = secured.archive.event("association.accepted", since)
    assert str(accepted.payload["tls"]).startswith("TLSv1.")
    assert "Test client" in str(accepted.payload["tls"])


def test_store_over_tls(secured: Secured, folder: Path) -> None:
    files = secured.certificates
    objects = study(5, pixels=bytes(300_000))
    run(
        "storescu", "+tls", files.client_key, files.client, *there(secured), *write(folder, objects),
    )  # fmt: skip
    assert len(secured.archive.instances(study=loaded(objects[0]).StudyInstanceUID)) == 5


def test_echo_over_tls_without_a_certificate(secured: Secured) -> None:
    """Taken where client certificates are not required, turned away where they are."""
    required = secured.archive.environment["HOUNSFIELD_TLS_REQUIRE_CLIENT"] == "True"
    said = run("echoscu", "-v", "+tla", *there(secured), check=False)
    assert ("Received Echo Response (Success)" in said) is not required


def test_a_certificate_of_a_stranger_is_turned_away(secured: Secured) -> None:
    files = secured.certificates
    words = [
        "+tls",
        files.stranger_key,
        files.stranger,
        *there(secured),
    ]
    assert "Received Echo Response" not in run("echoscu", "-v", *words, check=False)


def test_tls_against_the_plain_port(secured: Secured) -> None:
    since = secured.archive.mark()
    said = run("echoscu", "-v", "+tla", *there(secured)[:-1], secured.archive.port, check=False)
    assert "Received Echo Response" not in said
    refused = secured.archive.event("connection.refused", since)
    assert str(refused.payload["first"]).startswith("1603"), "a TLS handshake, as the ledger shows"
