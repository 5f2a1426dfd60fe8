"""Transfer syntaxes and SOP classes against the tables of pydicom and pynetdicom."""

from __future__ import annotations

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom.sop_class import _STORAGE_CLASSES

from hounsfield.wire.dicomfile import sop_classes as classes
from hounsfield.wire.dicomfile import transfer_syntaxes as syntaxes
from hounsfield.wire.dicomfile.transfer_syntaxes import TRANSFER_SYNTAXES, transfer_syntax

STANDARD_SYNTAXES = [uid for uid, row in UID_dictionary.items() if row[1] == "Transfer Syntax"]
#: UIDs whose name says storage and which are not stored by C-STORE.
NOT_STORED = {classes.MEDIA_STORAGE_DIRECTORY, classes.STORAGE_COMMITMENT_PUSH, "1.2.840.10008.1.20.2"}


def test_every_transfer_syntax_of_the_standard_is_there() -> None:
    assert set(STANDARD_SYNTAXES) <= TRANSFER_SYNTAXES.keys()
    for newer in ("4.110", "4.111", "4.112", "4.201", "4.202", "4.203", "7.1", "8.1"):
        assert f"1.2.840.10008.1.2.{newer}" in TRANSFER_SYNTAXES


@pytest.mark.parametrize("uid", STANDARD_SYNTAXES)
def test_transfer_syntax_agrees_with_pydicom(uid: str) -> None:
    ours, theirs = TRANSFER_SYNTAXES[uid], UID(uid)
    assert ours.uid == uid
    assert ours.name == theirs.name
    if uid.startswith(("1.2.840.10008.1.2.6.", "1.2.840.10008.1.20")):
        return  # retired before anybody sent them
    assert ours.explicit == (not theirs.is_implicit_VR)
    assert ours.little_endian == theirs.is_little_endian
    if uid.startswith("1.2.840.10008.1.2.7.") or "JPIP" in ours.name:
        assert not ours.encapsulated  # no fragments: the pixels are elsewhere
        assert ours.deflated == ("Deflate" in ours.name)
        return
    assert ours.deflated == theirs.is_deflated
    assert ours.encapsulated == theirs.is_encapsulated


def test_what_is_lossless() -> None:
    for uid, syntax in TRANSFER_SYNTAXES.items():
        if ("ossless" in syntax.name and "Near" not in syntax.name) or uid in syntaxes.RLE_LOSSLESS:
            assert not syntax.lossy, uid
    for uid in (syntaxes.JPEG_BASELINE, syntaxes.JPEG_2000, syntaxes.HTJ2K, syntaxes.JPEG_LS_NEAR_LOSSLESS):
        assert TRANSFER_SYNTAXES[uid].lossy
    for uid in (syntaxes.IMPLICIT_LE, syntaxes.EXPLICIT_LE, syntaxes.EXPLICIT_BE, syntaxes.DEFLATED_LE):
        assert not TRANSFER_SYNTAXES[uid].lossy


def test_constants_are_in_the_table() -> None:
    constants = {
        name: value for name, value in vars(syntaxes).items() if name.isupper() and isinstance(value, str)
    }
    assert len(constants) >= 17
    for name, uid in constants.items():
        if not name.startswith("_"):
            assert uid in TRANSFER_SYNTAXES, name


def test_unknown_transfer_syntax_is_taken_for_encapsulated() -> None:
    unknown = transfer_syntax("1.2.3")
    assert (unknown.uid, unknown.explicit, unknown.little_endian, unknown.encapsulated) == (
        "1.2.3",
        True,
        True,
        True,
    )
    assert not unknown.deflated


def test_every_storage_class_is_there() -> None:
    theirs = {
        uid
        for uid, row in UID_dictionary.items()
        if row[1] == "SOP Class" and "Storage" in row[0] and uid not in NOT_STORED
    }
    assert theirs <= classes.STORAGE_SOP_CLASSES.keys()
    assert {str(uid) for uid in _STORAGE_CLASSES.values()} <= classes.STORAGE_SOP_CLASSES.keys()
    assert not NOT_STORED & classes.STORAGE_SOP_CLASSES.keys()
    for uid, name in classes.STORAGE_SOP_CLASSES.items():
        assert "Storage" in name
        if uid in UID_dictionary:
            assert UID_dictionary[uid][0].replace(" SOP Class", "") == name
            assert (uid in classes.RETIRED_STORAGE_SOP_CLASSES) == bool(UID_dictionary[uid][3]), uid


def test_services() -> None:
    for uid, (model, verb) in classes.QUERY_RETRIEVE_SOP_CLASSES.items():
        name = UID(uid).name
        assert name.endswith(verb.upper())
        first = {
            "patient": "Patient Root",
            "study": "Study Root",
            "patient-study-only": "Patient/Study Only",
        }[model]
        assert name.startswith(first)
    assert UID(classes.VERIFICATION).name == "Verification SOP Class"
    assert UID(classes.MODALITY_WORKLIST_FIND).name == "Modality Worklist Information Model - FIND"
    assert UID(classes.STORAGE_COMMITMENT_PUSH_INSTANCE).name == "Storage Commitment Push Model SOP Instance"
    assert (
        UID(classes.MODALITY_PERFORMED_PROCEDURE_STEP).name == "Modality Performed Procedure Step SOP Class"
    )
