"""What comes back is what went in: every file that pydicom carries, byte for byte, by C-GET and C-MOVE; and
`dciodvfy` has nothing to say about it that it did not say before."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from pydicom.data import get_testdata_files
from pynetdicom import register_uid
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.wire.dicomfile.part10 import build_meta, read_meta
from support_peers import find_program, storage_scp
from support_server import Archive, keys

#: Truncated on purpose: refused, for what the reason says.
CUT_SHORT = {"MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "rtplan_truncated.dcm"}
Sent = dict[str, tuple[Path, str, str, bytes]]  # SOP Instance UID -> file, class, syntax, data set


@pytest.fixture(scope="module")
def sent(archive: Archive) -> tuple[Sent, dict[str, str]]:
    """What was accepted, and the files that were refused with the reason: one version of each object."""
    accepted: Sent = {}
    refused: dict[str, str] = {}
    candidates = []
    taken: set[str] = set()
    for name in sorted(get_testdata_files()):
        path = Path(name)
        if not path.is_file() or path.suffix not in (".dcm", ""):
            continue
        data = path.read_bytes()
        try:
            meta = read_meta(data)
        except ValueError:
            continue
        if not all(map(is_tolerated_uid, (meta.sop_class_uid, meta.sop_instance_uid))):
            continue
        if meta.sop_instance_uid in taken or meta.sop_class_uid == "1.2.840.10008.1.3.10":
            continue
        taken.add(meta.sop_instance_uid)
        candidates.append((path, meta, data))
    for (path, meta, data), (status, comment) in zip(
        candidates, archive.stored(*(data for _, _, data in candidates)), strict=True
    ):
        if status == 0:
            body = data[meta.meta_length :]
            accepted[meta.sop_instance_uid] = (path, meta.sop_class_uid, meta.transfer_syntax_uid, body)
        else:
            assert comment, f"{path.name}: {status:04X} without an Error Comment"
            refused[path.name] = comment
    return accepted, refused


def test_what_is_refused_is_broken(sent: tuple[Sent, dict[str, str]]) -> None:
    accepted, refused = sent
    assert len(accepted) > 60
    for name in CUT_SHORT & refused.keys():
        assert "cut short" in refused[name]
    assert CUT_SHORT & {path.name for path, *_ in accepted.values()} == set()
    # beside those: files whose data set says another UID than their meta group, or that lack one
    for name in refused.keys() - CUT_SHORT:
        assert re.search(r"differ|is missing|is not a UID", refused[name]), (name, refused[name])


def by_study(archive: Archive, sent: Sent) -> dict[str, list[str]]:
    studies: dict[str, list[str]] = defaultdict(list)
    for instance in archive.instances(sop=list(sent)):
        studies[instance.study_instance_uid].append(instance.sop_instance_uid)
    assert sum(map(len, studies.values())) == len(sent)
    return studies


def test_bytes_come_back_by_get(archive: Archive, sent: tuple[Sent, dict[str, str]]) -> None:
    accepted, _ = sent
    came: dict[str, tuple[str, bytes]] = {}
    for study, uids in by_study(archive, accepted).items():
        classes = sorted({accepted[uid][1] for uid in uids})
        syntaxes = sorted({accepted[uid][2] for uid in uids})
        answers, got = archive.get(classes, syntaxes, keys("STUDY", StudyInstanceUID=study))
        assert answers[-1][0].Status == 0, answers[-1]
        came |= got
    for uid, (path, _, syntax, body) in accepted.items():
        assert came[uid] == (syntax, body), path.name


def test_bytes_come_back_by_move(archive: Archive, sent: tuple[Sent, dict[str, str]]) -> None:
    accepted, _ = sent
    classes = sorted({sop_class for _, sop_class, _, _ in accepted.values()})
    syntaxes = sorted({syntax for _, _, syntax, _ in accepted.values()})
    # of the retired ones pynetdicom does not know this one
    register_uid("1.2.840.10008.5.1.4.1.1.6", "RetiredUltrasoundImageStorage", StorageServiceClass)
    with storage_scp(title="BYTES", classes=classes, syntaxes=syntaxes) as scp:
        archive.device("BYTES", host="127.0.0.1", port=scp.port)
        for study in by_study(archive, accepted):
            with archive.associate(Move) as association:
                answers = list(association.send_c_move(keys("STUDY", StudyInstanceUID=study), "BYTES", Move))
            assert answers[-1][0].Status == 0, answers[-1]
        came = {uid: (syntax, data) for uid, syntax, data in scp.came}
    for uid, (path, _, syntax, body) in accepted.items():
        if uid in came:
            assert came[uid] == (syntax, body), path.name
    assert came.keys() >= accepted.keys()


def complaints(path: Path) -> set[str]:
    program = find_program("dciodvfy")
    assert program
    done = subprocess.run([program, path], capture_output=True, check=False, timeout=60)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    return {line for line in lines if line.startswith(("Error", "Warning"))}


@pytest.mark.peer("dicom3tools")
def test_no_new_complaint(archive: Archive, sent: tuple[Sent, dict[str, str]], tmp_path: Path) -> None:
    """The file meta group that we make is as good as the sender's."""
    accepted, _ = sent
    compared = 0
    for uid, (path, sop_class, syntax, _) in accepted.items():
        if len(accepted[uid][3]) > 300_000:
            continue  # slow, and no other meta group
        out = tmp_path / "back.dcm"
        meta = build_meta(
            sop_class, uid, syntax, implementation_class_uid="1.2.3", implementation_version="T"
        )
        out.write_bytes(meta + archive.data_set(uid))
        new = complaints(out) - complaints(path)
        assert new == set(), path.name
        compared += 1
        if compared == 25:
            break
    assert compared == 25
