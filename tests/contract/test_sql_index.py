"""`ports.index` on both databases: what becomes of arrivals, and what the index says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.ports.index import Entered
from support_sql import CT, EXPLICIT_LE, NOW, SEGMENT, SR, arrival, digest, rows

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
CONFLICT, QUARANTINED = Outcome.CONFLICT, Outcome.QUARANTINED


def enter(database: SqlDatabase, *arrivals: Arrival, synced: bool = False) -> list[Entered]:
    with database.write(synced=synced) as tx:
        return tx.index.enter(arrivals)


def outcomes(database: SqlDatabase, *arrivals: Arrival) -> list[Outcome]:
    return [entered.outcome for entered in enter(database, *arrivals)]


def blobs(database: SqlDatabase) -> dict[str, tuple[int, int]]:
    return {key: (live, size) for key, live, size in rows(database, "SELECT key, live, bytes FROM blob")}


def test_the_first_object_of_a_study_and_series_is_told(database: SqlDatabase) -> None:
    entered = enter(database, arrival("1.1"), arrival("1.2"), arrival("1.3", series="1.2.3.5"))
    assert [(e.outcome, e.new_study, e.new_series) for e in entered] == [
        (STORED, True, True),
        (STORED, False, False),
        (STORED, False, True),
    ]
    assert enter(database, arrival("1.4"))[0] == Entered(STORED)
    assert enter(database, arrival("1.5", series="1.2.3.6"))[0] == Entered(STORED, new_series=True)


def test_every_key_arrives_in_its_column(database: SqlDatabase) -> None:
    one = arrival("1.1", issuer="HOSP", name="Müller^Jörg=山田^太郎")
    enter(database, one)
    patient = "SELECT key, patient_id, issuer, name, name_key, birth_date, sex FROM patient"
    assert rows(database, patient) == [
        ("P1\\HOSP", "P1", "HOSP", "Müller^Jörg=山田^太郎", "muller^jorg", "19700101", "F")
    ]
    columns = "uid study_date study_time accession study_id description referring referring_key"
    assert rows(database, f"SELECT {columns.replace(' ', ', ')} FROM study") == [
        ("1.2.3", "20240102", "101112", "A1", "7", "Thorax", "Ref^Doc", "ref^doc")
    ]
    rest = "SELECT institution, timezone, modalities, sop_classes, created_at, changed_at FROM study"
    assert rows(database, rest) == [("Hospital", "+0100", "CT", CT, NOW, NOW)]
    columns = "uid modality number description series_date series_time body_part laterality station"
    assert rows(database, f"SELECT {columns.replace(' ', ', ')} FROM series") == [
        ("1.2.3.4", "CT", "1", "Lung", "20240102", "101113", "CHEST", "L", "ST1")
    ]
    assert rows(
        database,
        "SELECT manufacturer, model, protocol, performed_date, performed_time, sps_id, rp_id FROM series",
    ) == [("Maker", "Model", "Protocol", "20240102", "101100", "SPS1", "RP1")]
    columns = "uid number rows columns bits frames content_date content_time meta_length stored_at"
    assert rows(database, f"SELECT {columns.replace(' ', ', ')} FROM instance") == [
        ("1.1", "1", 512, 256, 16, 3, "20240102", "101114", 300, NOW)
    ]


def test_counts_are_kept_with_what_is_entered(database: SqlDatabase) -> None:
    enter(
        database, arrival("1.1"), arrival("1.2", at=NOW + 5), arrival("1.3", series="1.2.3.5", modality="SR")
    )
    enter(
        database,
        arrival("1.4", sop_class=SR, at=NOW + 9),
        arrival("1.1"),
        arrival("1.5", study="1.9", series="1.9.1"),
    )
    counted = "SELECT uid, n_series, n_instances, modalities, sop_classes, changed_at FROM study ORDER BY uid"
    assert rows(database, counted) == [
        ("1.2.3", 2, 4, "CT\\SR", f"{CT}\\{SR}", NOW + 9),
        ("1.9", 1, 1, "CT", CT, NOW),
    ]
    assert rows(database, "SELECT uid, n_instances, changed_at FROM series ORDER BY uid") == [
        ("1.2.3.4", 3, NOW + 9),
        ("1.2.3.5", 1, NOW),
        ("1.9.1", 1, NOW),
    ]
    assert blobs(database) == {SEGMENT: (5, 5 * 900)}
    with database.read() as tx:
        assert tx.index.counts() == {
            "patients": 1,
            "studies": 2,
            "series": 3,
            "instances": 5,
            "quarantine": 0,
            "bytes": 4500,
        }


def test_the_same_content_again_is_a_duplicate(database: SqlDatabase) -> None:
    assert outcomes(database, arrival("1.1"), arrival("1.1")) == [STORED, DUPLICATE]
    assert outcomes(database, arrival("1.1"), arrival("1.2"), arrival("1.1")) == [
        DUPLICATE,
        STORED,
        DUPLICATE,
    ]
    assert rows(database, "SELECT count(*) FROM instance") == [(2,)]
    assert blobs(database) == {SEGMENT: (2, 1800)}


def test_a_segment_of_nothing_but_repeats_can_be_swept(database: SqlDatabase) -> None:
    first = arrival("1.1")
    repeat = replace(first, location=replace(first.location, key="log/w/00000002.seg"))
    assert outcomes(database, first) == [STORED]
    assert outcomes(database, repeat) == [DUPLICATE]
    with database.read() as tx:
        assert tx.index.unused_blobs("log/") == ["log/w/00000002.seg"]
        assert SEGMENT not in tx.index.unused_blobs("")


def test_other_content_under_the_same_uid_is_held_and_the_first_stays(database: SqlDatabase) -> None:
    enter(database, arrival("1.1", "first"))
    (second,) = enter(database, arrival("1.1", "second"))
    assert (second.outcome, second.reason) == (CONFLICT, "conflict")
    assert second.current_hash == digest("1.1", "first")
    assert second.quarantine_id > 0
    assert outcomes(database, arrival("1.1", "second"), arrival("1.1", "third")) == [DUPLICATE, CONFLICT]
    assert outcomes(database, arrival("1.7", "a"), arrival("1.7", "b"), arrival("1.7", "b")) == [
        STORED,
        CONFLICT,
        DUPLICATE,
    ]
    with database.read() as tx:
        found = tx.index.locate("1.1")
        assert found is not None
        assert found.content_hash == digest("1.1", "first")
        assert set(tx.index.known_hashes(["1.1", "9.9"])) == {"1.1"}
        assert set(tx.index.known_hashes(["1.1"])["1.1"]) == {
            digest("1.1", c) for c in ("first", "second", "third")
        }
    assert blobs(database) == {SEGMENT: (5, 4500)}
    assert rows(database, "SELECT n_instances FROM study") == [(2,)]


def test_what_policy_holds_stays_out_of_the_index(database: SqlDatabase) -> None:
    unknown = QuarantineReason.UNKNOWN_DEVICE
    (held,) = enter(database, arrival("1.1", quarantine=unknown))
    assert (held.outcome, held.reason, held.current_hash) == (QUARANTINED, "unknown-device", b"")
    assert rows(database, "SELECT count(*) FROM study") == [(0,)]
    assert outcomes(database, arrival("1.1", quarantine=unknown), arrival("1.1")) == [DUPLICATE, DUPLICATE]
    # What waits for a person does not stand in the way of what comes from a known device.
    assert outcomes(database, arrival("1.1", "good")) == [STORED]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("warm", [True, False])
def test_a_series_or_patient_that_contradicts_is_held(
    database: SqlDatabase, open_another: object, at_once: bool, warm: bool
) -> None:
    first = arrival("1.1", patient="P1", issuer="H1")
    others = [
        arrival("1.2", study="1.99", series="1.2.3.4", patient="P1", issuer="H1"),
        arrival("1.3", patient="P2", issuer="H1"),
        arrival("1.4", series="1.2.3.5", patient="P2", issuer="H1"),
        arrival("1.5", patient="P1", issuer="H2"),
    ]
    agreeing = [
        arrival("1.6", patient="P1"),
        arrival("1.7", patient=""),
        arrival("1.8", patient="P1", issuer="H1"),
    ]
    if at_once:
        entered = enter(database, first, *others, *agreeing)[1:]
    else:
        enter(database, first)
        if not warm:
            database = open_another("cold")  # type: ignore[operator]
        entered = enter(database, *others, *agreeing)
    assert [(e.outcome, e.reason) for e in entered[:4]] == [(QUARANTINED, "other-study")] * 4
    assert [e.outcome for e in entered[4:]] == [STORED] * 3
    assert rows(database, "SELECT uid, n_series, n_instances FROM study") == [("1.2.3", 1, 4)]
    with database.read() as tx:
        assert len(list(tx.index.quarantine(reason="other-study"))) == 4


def test_studies_without_patient_id_have_a_patient_each(database: SqlDatabase) -> None:
    enter(database, arrival("1.1", patient=""), arrival("2.1", patient="", study="2", series="2.1"))
    enter(database, arrival("3.1", study="3", series="3.1"), arrival("4.1", study="4", series="4.1"))
    assert sorted(rows(database, "SELECT key FROM patient")) == [("P1\\",), ("study:1.2.3",), ("study:2",)]


def test_rollback_leaves_nothing_and_remembers_nothing(database: SqlDatabase) -> None:
    with pytest.raises(ZeroDivisionError), database.write(synced=False) as tx:
        tx.index.enter([arrival("1.1"), arrival("1.1", "other")])
        raise ZeroDivisionError
    for table in ("patient", "study", "series", "instance", "quarantine", "blob"):
        assert rows(database, f"SELECT count(*) FROM {table}") == [(0,)], table
    assert enter(database, arrival("1.1"))[0] == Entered(STORED, new_study=True, new_series=True)


def test_what_another_process_removed_is_made_again(database: SqlDatabase, open_another: object) -> None:
    enter(database, arrival("1.1"), arrival("2.1", study="2", series="2.1"))
    other = open_another("other")  # type: ignore[operator]
    with other.write() as tx:
        for table in ("instance", "series", "study", "blob"):
            tx.connection.execute(f"DELETE FROM {table}")
    entered = enter(database, arrival("1.2"), arrival("2.2", study="2", series="2.1"))
    assert [(e.outcome, e.new_study) for e in entered] == [(STORED, True), (STORED, True)]
    assert rows(database, "SELECT uid, n_series, n_instances FROM study ORDER BY uid") == [
        ("1.2.3", 1, 1),
        ("2", 1, 1),
    ]
    assert blobs(database) == {SEGMENT: (2, 1800)}


def test_a_study_that_another_process_gave_to_another_patient(
    database: SqlDatabase, open_another: object
) -> None:
    enter(database, arrival("0.1", study="0.5", series="0.5.1"), arrival("1.1"))
    with open_another("other").write() as tx:  # type: ignore[operator]
        tx.connection.execute("INSERT INTO patient (key, patient_id) VALUES ('P9', 'P9')")
        tx.connection.execute(
            "UPDATE study SET patient_id = (SELECT id FROM patient WHERE key = 'P9') WHERE uid = '1.2.3'"
        )
    same_round = [arrival("0.2", study="0.5", series="0.5.1"), arrival("1.2"), arrival("1.3", patient="P9")]
    assert outcomes(database, *same_round) == [STORED, QUARANTINED, STORED]
    counted = "SELECT uid, n_series, n_instances FROM study ORDER BY uid"
    assert rows(database, counted) == [("0.5", 1, 2), ("1.2.3", 1, 2)]


def test_text_that_databases_refuse_is_made_harmless(database: SqlDatabase) -> None:
    bad = "a\0b\ud800c"
    one = arrival(bad, patient=bad, name=bad, study=bad, series=bad, modality=bad, accession=bad, number=bad)
    one = replace(one, origin=replace(one.origin, device=bad), transfer_syntax_uid=bad)
    assert outcomes(database, one, one) == [STORED, DUPLICATE]
    assert outcomes(database, replace(one, content_hash=bytes(32))) == [CONFLICT]
    kept = "SELECT p.name, t.accession FROM patient p, study t"
    assert rows(database, kept) == [("a\ufffdb\ufffdc", "a\ufffdb\ufffdc")]
    with database.read() as tx:
        (held,) = tx.index.quarantine()
        assert held.arrival.keys == one.keys
        found = tx.index.locate(bad)
        assert found is not None
        assert found.transfer_syntax_uid == "a\ufffdb\ufffdc"


def test_values_that_are_far_too_long_or_large(database: SqlDatabase) -> None:
    long, longer = "山" * 100_000, "山" * 100_000 + "x"
    one = arrival(
        long, patient=long, name=long, study=long, series=long, accession=long, number=long, rows=2**70
    )
    other = arrival(longer, patient=longer, study=longer, series=longer, name=long, rows=-(2**70))
    assert outcomes(database, one, other, one) == [STORED, STORED, DUPLICATE]
    assert outcomes(database, replace(one, content_hash=bytes(32), quarantine=None)) == [CONFLICT]
    with database.read() as tx:
        assert [e.content_hash for e in tx.index.instances(study=longer)] == [other.content_hash]
        assert tx.index.known_hashes([longer]) == {longer: (other.content_hash,)}


def test_rounds_of_many_objects(database: SqlDatabase) -> None:
    many = [arrival(f"1.{n}", series=f"1.2.3.{n % 7}", number=str(n)) for n in range(1500)]
    assert outcomes(database, *many) == [STORED] * 1500
    assert outcomes(database, *many) == [DUPLICATE] * 1500
    with database.read() as tx:
        assert len(tx.index.known_hashes([a.keys.instance.sop_instance_uid for a in many])) == 1500
        assert set(tx.index.kept([(CT, f"1.{n}") for n in range(1500)])) == {""}
        assert len(list(tx.index.instances(sop=[f"1.{n}" for n in range(1500)]))) == 1500


def test_an_empty_round_is_none(database: SqlDatabase) -> None:
    assert enter(database) == []


def test_instances_are_given_in_order(database: SqlDatabase) -> None:
    enter(
        database,
        arrival("1.1", number="10", series="1.9", series_number="2"),
        arrival("1.2", number="9", series="1.9", series_number="2"),
        arrival("1.3", number="", series="1.9", series_number="2"),
        arrival("1.4", number="1", series="1.10", series_number="10"),
        arrival("1.5", number="7", series="1.11", series_number=""),
        arrival("2.1", study="2", series="2.1", patient="P2"),
    )
    with database.read() as tx:
        index = tx.index
        found = [one.sop_instance_uid for one in index.instances(study="1.2.3")]
        assert found == ["1.2", "1.1", "1.3", "1.4", "1.5"]
        assert [i.sop_instance_uid for i in index.instances(study="1.2.3", after=1, limit=2)] == [
            "1.1",
            "1.3",
        ]
        assert [i.sop_instance_uid for i in index.instances(study="1.2.3", after=4)] == ["1.5"]
        assert [i.sop_instance_uid for i in index.instances(patient="P2")] == ["2.1"]
        assert list(index.instances(patient="")) == []
        assert [i.sop_instance_uid for i in index.instances(series=["1.10", "2.1"])] == ["2.1", "1.4"]
        assert [i.sop_instance_uid for i in index.instances(sop=["1.1", "1.3", "8"])] == ["1.1", "1.3"]
        assert list(index.instances(study="2", series=["1.10"])) == []
        assert len(list(index.instances())) == 6


def test_an_instance_is_located_with_all_that_is_known(database: SqlDatabase) -> None:
    one = arrival("1.1", number="4")
    enter(database, one)
    with database.read() as tx:
        found = tx.index.locate("1.1")
        assert found is not None
        assert (found.study_instance_uid, found.series_instance_uid, found.sop_instance_uid) == (
            "1.2.3",
            "1.2.3.4",
            "1.1",
        )
        assert (found.sop_class_uid, found.transfer_syntax_uid) == (CT, EXPLICIT_LE)
        assert (found.content_hash, found.location) == (one.content_hash, one.location)
        assert (found.instance_number, found.frames) == ("4", 3)
        assert type(found.content_hash) is bytes
        assert tx.index.locate("1.2") is None


def test_commitment_asks_for_class_and_instance(database: SqlDatabase) -> None:
    enter(database, arrival("1.1"), arrival("1.2", quarantine=QuarantineReason.UNKNOWN_DEVICE))
    with database.read() as tx:
        asked = [(CT, "1.1"), (SR, "1.1"), (CT, "1.2"), (CT, "1.3"), (CT, "1.1")]
        assert tx.index.kept(asked) == ["", "class", "missing", "missing", ""]
        assert tx.index.kept([]) == []
