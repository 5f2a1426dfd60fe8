"""Which objects a retrieve identifier asks for, and which it may not."""

import pytest

from hounsfield.domain.stored import Arrival, Origin
from hounsfield.domain.study import Instance, Location, ObjectKeys, Patient, Series, Study
from hounsfield.services.retrieve import RetrieveRefusedError, plan
from support_services import CT, build

#: (patient, study, series, sop)
OBJECTS = [
    ("P1", "1.1", "1.1.1", "1.1.1.1"),
    ("P1", "1.1", "1.1.1", "1.1.1.2"),
    ("P1", "1.1", "1.1.2", "1.1.2.1"),
    ("P1", "1.2", "1.2.1", "1.2.1.1"),
    ("P2", "2.1", "2.1.1", "2.1.1.1"),
]


def arrival(n, patient, study, series, sop):
    keys = ObjectKeys(
        Patient(patient, "", "Doe^Jane", "", ""),
        Study(study, "", "", "", "", "", "", "", ""),
        Series(series, "CT", "1", *[""] * 13),
        Instance(sop, CT, str(n), 1, 1, 8, 0, "", ""),
    )
    location = Location("log/w/1", n * 1000, 900, 300)
    return Arrival(
        keys, "1.2.840.10008.1.2", bytes([n]) * 32, location, Origin("dimse", "D", "a", "h"), n + 1
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    house = build(tmp_path_factory.mktemp("retrieve"))
    with house.database.write() as tx:
        tx.index.enter([arrival(n, *each) for n, each in enumerate(OBJECTS)])
    yield house.database
    house.close()


def uids(database, level, model="study", relational=False, **keys):
    found = plan(database, {"QueryRetrieveLevel": level} | keys, model=model, relational=relational)
    return [instance.sop_instance_uid for instance in found.instances]


def test_each_level_names_what_is_below_it(database):
    study, series = "1.1", "1.1.1"
    assert uids(database, "STUDY", StudyInstanceUID=study) == ["1.1.1.1", "1.1.1.2", "1.1.2.1"]
    assert uids(database, "SERIES", StudyInstanceUID=study, SeriesInstanceUID=series) == [
        "1.1.1.1",
        "1.1.1.2",
    ]
    image = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": "1.1.1.2"}
    assert uids(database, "IMAGE", **image) == ["1.1.1.2"]
    assert uids(database, "PATIENT", model="patient", PatientID="P1") == [o[3] for o in OBJECTS[:4]]
    assert uids(database, "STUDY", model="patient-study-only", PatientID="P2", StudyInstanceUID="2.1") == [
        "2.1.1.1"
    ]


def test_lists_of_uids_are_taken_at_the_level_itself(database):
    both = plan(database, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2\\2.1\\9.9\\1.2"})
    assert sorted(i.sop_instance_uid for i in both.instances) == ["1.2.1.1", "2.1.1.1"]
    assert both.unknown == ("9.9",)


def test_keys_above_bind_the_objects(database):
    assert uids(database, "SERIES", StudyInstanceUID="1.2", SeriesInstanceUID="1.1.1") == []
    assert uids(database, "STUDY", model="patient", PatientID="P2", StudyInstanceUID="1.1") == []


def test_relational_retrieve_leaves_out_the_keys_above(database):
    assert uids(database, "IMAGE", relational=True, SOPInstanceUID="2.1.1.1\\1.2.1.1") == [
        "1.2.1.1",
        "2.1.1.1",
    ]
    assert uids(database, "SERIES", model="patient", relational=True, SeriesInstanceUID="1.1.2") == [
        "1.1.2.1"
    ]


def test_padding_and_other_keys_do_not_matter(database):
    keys = {"StudyInstanceUID": "2.1\0", "PatientName": "X", "SeriesInstanceUID": "9"}
    assert uids(database, "STUDY", **keys) == ["2.1.1.1"]


@pytest.mark.parametrize(
    ("model", "keys", "comment"),
    [
        ("study", {}, "Level (0008,0052) is missing"),
        ("study", {"QueryRetrieveLevel": "FRAME", "StudyInstanceUID": "1.1"}, "unknown"),
        ("study", {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, "not in this model"),
        (
            "patient-study-only",
            {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1"},
            "not in this model",
        ),
        ("study", {"QueryRetrieveLevel": "STUDY"}, "StudyInstanceUID is missing or empty"),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "*"}, "no UID"),
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "../../x"}, "no UID"),
        ("study", {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "1.1.1"}, "relational"),
        ("patient", {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1"}, "PatientID is missing"),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "PatientID": "P*"}, "wild cards"),
        ("patient", {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1\\P2"}, "one value"),
        (
            "study",
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1\\1.2", "SeriesInstanceUID": "1.1.1"},
            "one value",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_comment(database, model, keys, comment):
    with pytest.raises(RetrieveRefusedError) as refused:
        plan(database, keys, model=model)
    assert refused.value.status == 0xA900
    assert comment in refused.value.comment
    assert len(refused.value.comment) <= 64
