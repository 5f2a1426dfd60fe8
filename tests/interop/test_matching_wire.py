"""PS3.4 C.2.2.2 through the wire: each kind of matching, and names in the character sets of the world."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find

from support_server import Archive, keys, loaded, study, written

PREFIX = "MATCH7"
OBJECTS: dict[str, dict[str, Any]] = {
    "one": {"PatientName": "Müller^Jürgen", "StudyDate": "20240101", "StudyTime": "080000", "Modality": "CT"},
    "two": {
        "PatientName": "Mueller^Anna",
        "StudyDate": "20240215",
        "StudyTime": "120000.5",
        "Modality": "MR",
    },
    "three": {"PatientName": "O'Neil^Sean", "StudyDate": "20240229", "StudyTime": "235959", "Modality": "CT"},
    "four": {"PatientName": "NEIL^SEAN", "StudyDate": "20230630", "StudyTime": "0000", "Modality": "US"},
}


@pytest.fixture(scope="module")
def world(archive: Archive) -> dict[str, str]:
    """Study Instance UID -> key of OBJECTS."""
    names = {}
    for key, values in OBJECTS.items():
        data_set = loaded(study(1)[0])
        data_set.SpecificCharacterSet = "ISO_IR 100"
        data_set.PatientID = f"{PREFIX}-{key}"
        data_set.AccessionNumber = f"A{PREFIX[:6]}{key}"
        for keyword, value in values.items():
            setattr(data_set, keyword, value)
        assert archive.store(written(data_set)) == [0]
        names[data_set.StudyInstanceUID] = key
    return names


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"PatientID": f"{PREFIX}-one"}, "one"),
        ({"PatientID": f"{PREFIX}-*"}, "one two three four"),
        ({"PatientID": f"{PREFIX}-??o"}, "two"),
        ({"PatientID": f"{PREFIX}-?o"}, ""),
        ({"PatientID": f"{PREFIX}-ONE"}, ""),  # identifiers keep their case
        ({"PatientName": "müller^jürgen"}, "one"),  # without regard to case
        ({"PatientName": "MULLER*"}, "one"),  # and accents
        ({"PatientName": "m*l?er^*"}, "one two"),
        ({"PatientName": "neil^sean"}, "four"),
        ({"StudyDate": "20240101"}, "one"),
        ({"StudyDate": "20240101-20240229"}, "one two three"),
        ({"StudyDate": "-20231231"}, "four"),
        ({"StudyDate": "20240216-"}, "three"),
        ({"StudyTime": "120000-"}, "two three"),
        ({"StudyTime": "-080000"}, "one four"),
        ({"StudyDate": "20240101-20240229", "StudyTime": "100000-130000"}, "two"),
        ({"ModalitiesInStudy": "CT"}, "one three"),
        ({"ModalitiesInStudy": ["MR", "US"]}, "two four"),
        ({"AccessionNumber": f"A{PREFIX[:6]}three"}, "three"),
        ({"StudyInstanceUID": ""}, "one two three four"),
    ],
    ids=str,
)
def test_kinds_of_matching(
    archive: Archive, world: dict[str, str], asked: dict[str, Any], expected: str
) -> None:
    identifier = {"PatientID": f"{PREFIX}-*", "StudyInstanceUID": ""} | asked
    found = archive.find("STUDY", SpecificCharacterSet="ISO_IR 192", **identifier)
    assert {world[f.StudyInstanceUID] for f in found} == set(expected.split())


def test_list_of_uids(archive: Archive, world: dict[str, str]) -> None:
    uids = list(world)
    found = archive.find("STUDY", StudyInstanceUID=[uids[0], uids[2], "1.2.3.4.5"])
    assert {f.StudyInstanceUID for f in found} == {uids[0], uids[2]}


def test_a_key_that_cannot_be_read(archive: Archive) -> None:
    with archive.associate(Find) as association:
        answers = list(association.send_c_find(keys("STUDY", StudyDate="2024013X"), Find))
    assert [status.Status for status, _ in answers] == [0xC000]
    assert answers[0][0].ErrorComment and answers[0][0].OffendingElement == pydicom.tag.Tag("StudyDate")


def test_keys_that_we_do_not_have_are_returned_empty(archive: Archive, world: dict[str, str]) -> None:
    identifier = keys("STUDY", StudyInstanceUID=next(iter(world)), PatientComments="x", PatientAge="")
    with archive.associate(Find) as association:
        (status, found), _ = association.send_c_find(identifier, Find)
    assert status.Status == 0xFF01, "matches, with optional keys that are not supported"
    assert found.PatientComments in ("", None) and "PatientAge" in found


NAMES = {
    "Japanese": ("ISO 2022 IR 87", ["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "山田*"),
    "Korean": ("ISO 2022 IR 149", ["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "홍^길동"),
    "German": ("ISO_IR 100", "ISO_IR 100", "Äneas^Rüdiger", "äneas^rüdiger"),
    "Greek": ("ISO_IR 126", "ISO_IR 126", "Διονυσιος", "διονυσιος"),
    "Chinese": ("GB18030", "GB18030", "Wang^XiaoDong=王^小东=", "王^小东"),
    "UTF-8": ("ISO_IR 192", "ISO_IR 192", "Łukasz^Żółw", "łukasz*"),
}


@pytest.mark.parametrize("language", NAMES)
def test_names_of_the_world(archive: Archive, language: str) -> None:
    """Stored in their set, asked for in the same, answered in the same; also asked for in UTF-8."""
    _, character_set, name, asked = NAMES[language]
    data_set = loaded(study(1)[0])
    data_set.SpecificCharacterSet = character_set
    data_set.PatientID = f"{PREFIX}+{language}"
    data_set.PatientName = name
    assert archive.store(written(data_set)) == [0]
    for question in (character_set, "ISO_IR 192"):
        identifier = keys("STUDY")
        identifier.SpecificCharacterSet = question
        identifier.StudyInstanceUID = data_set.StudyInstanceUID
        identifier.PatientName = asked if "=" in asked or language != "Japanese" else f"={asked}"
        with archive.associate(Find) as association:
            answers = list(association.send_c_find(identifier, Find))
        found = [answer for _, answer in answers if answer is not None]
        assert [str(f.PatientName) for f in found] == [name.rstrip("=")], question
        answered = found[0].SpecificCharacterSet
        expected = question if isinstance(question, str) else "\\".join(question)
        got = answered if isinstance(answered, str) else "\\".join(answered)
        assert got == expected, "the set of the question, since it can say the name"


def test_default_character_set_of_a_device(archive: Archive) -> None:
    """A scanner that sends Latin-1 and does not say so; and a workstation that knows nothing else."""
    data_set = loaded(study(1)[0])
    data_set.SpecificCharacterSet = "ISO_IR 100"
    data_set.PatientID = f"{PREFIX}+latin"
    data_set.PatientName = "Jørgensen^Åse"
    raw = written(data_set).replace(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100", b"")
    assert b"ISO_IR" not in raw
    archive.device("LATIN", character_set="ISO_IR 100")
    assert archive.store(raw, title="LATIN") == [0]
    identifier = keys("STUDY", StudyInstanceUID=data_set.StudyInstanceUID, PatientName="")
    with archive.associate(Find, title="LATIN") as association:
        (_, found), _ = association.send_c_find(identifier, Find)
    assert found.SpecificCharacterSet == "ISO_IR 100"
    assert str(found.PatientName) == "Jørgensen^Åse"
    # asked for in Latin-1 without saying so
    identifier.PatientName = ""
    identifier.add_new("PatientName", "PN", "Jørgensen*".encode("latin-1"))
    with archive.associate(Find, title="LATIN") as association:
        assert len(list(association.send_c_find(identifier, Find))) == 2
    (answer,) = archive.find("STUDY", StudyInstanceUID=data_set.StudyInstanceUID, PatientName="")
    assert answer.SpecificCharacterSet == "ISO_IR 192", "to others, UTF-8"
    assert str(answer.PatientName) == "Jørgensen^Åse"


def test_levels_below_the_study(archive: Archive) -> None:
    files = study(3)
    one = loaded(files[1])
    archive.store(*files)
    uids = {"StudyInstanceUID": one.StudyInstanceUID}
    (series,) = archive.find(
        "SERIES", **uids, SeriesInstanceUID="", Modality="CT", NumberOfSeriesRelatedInstances=""
    )
    assert series.NumberOfSeriesRelatedInstances == 3
    uids["SeriesInstanceUID"] = series.SeriesInstanceUID
    (image,) = archive.find("IMAGE", **uids, SOPInstanceUID="", InstanceNumber="2", Rows="")
    assert (image.SOPInstanceUID, image.Rows) == (one.SOPInstanceUID, 2)
    assert archive.find("SERIES", StudyInstanceUID=one.StudyInstanceUID, Modality="MR") == []
