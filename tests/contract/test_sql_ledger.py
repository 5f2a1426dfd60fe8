"""`ports.ledger` on both databases: numbering, chaining, finding, following and proving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.adapters.sql import chain
from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.events import Event, Recorded, Subjects
from hounsfield.ports.ledger import ChainReport, LedgerFilter
from support_sql import NOW, arrival, rows, stored

Opener = Callable[[str], SqlDatabase]


def append(database: SqlDatabase, *events: Event) -> list[Recorded]:
    with database.write() as tx:
        return tx.ledger.append(events)


def read(database: SqlDatabase, **where: object) -> list[Recorded]:
    with database.read() as tx:
        return list(tx.ledger.read(LedgerFilter(**where)))


def verify(database: SqlDatabase) -> list[ChainReport]:
    with database.read() as tx:
        return list(tx.ledger.verify())


FULL = Event(
    "association.ended",
    NOW,
    Subjects("A1", "P1", "1.2.3", "1.2.3.4", "CT01", "assoc-1"),
    "user:éva",
    "test:1",
    {"how": "lost", "objects": 3, "seconds": 1.25, "why": 'a "quoted"\0 reason \ud800 ☃', "bytes": None},
)


def test_what_is_appended_is_read(database: SqlDatabase) -> None:
    recorded = append(database, FULL, stored("1.1", NOW + 1), Event("study.created", NOW + 2))
    assert [(one.writer, one.n, one.version) for one in recorded] == [
        ("test", 1, 1),
        ("test", 2, 1),
        ("test", 3, 1),
    ]
    assert read(database) == recorded
    assert append(database) == []
    assert append(database, FULL)[0].n == 4


def test_the_chain_is_that_of_the_documentation(database: SqlDatabase) -> None:
    first, second = append(database, FULL, stored("1.1", study="1.2.3"))
    canonical = (
        '{"actor":"user:\\u00e9va","at":1700000000000000,"cause":"test:1","n":1,"payload":{"bytes":null,"how":"lost",'
        '"objects":3,"seconds":1.25,"why":"a \\"quoted\\"\\u0000 reason \\ud800 \\u2603"},'
        '"subjects":{"accession":"A1",'
        '"association":"assoc-1","device":"CT01","patient":"P1","series":"1.2.3.4","study":"1.2.3"},'
        '"type":"association.ended","version":1,"writer":"test"}'
    )
    assert first.hash == blake3(bytes(32) + canonical.encode()).digest()
    payload = chain.encode(second.event.payload)
    canonical = (
        f'{{"actor":"device:CT01","at":{NOW},"cause":"","n":2,"payload":{payload},"subjects":{{"study":"1.2.3"}},'
        '"type":"instance.stored","version":1,"writer":"test"}'
    )
    assert second.hash == blake3(first.hash + canonical.encode()).digest()


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Event("no.such", NOW), "no event type 'no.such'"),
        (
            Event("study.created", NOW, payload={"modality": "CT"}),
            "study.created has no payload field modality",
        ),
        (Event("series.created", NOW, payload={"modality": float("nan")}), "not JSON compliant"),
    ],
)
def test_what_the_catalogue_does_not_know_is_not_recorded(
    database: SqlDatabase, event: Event, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        append(database, stored("1.1"), event)
    assert read(database) == []


def test_rollback_leaves_the_chain_as_it_was(database: SqlDatabase) -> None:
    append(database, stored("1.1"))
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        tx.ledger.append([stored("1.2", device="D9")])
        raise ZeroDivisionError
    append(database, stored("1.3", device="D9"))
    assert [one.n for one in read(database)] == [1, 2]
    assert verify(database) == [ChainReport("test", 2, 0)]
    assert len(read(database, device="D9")) == 1


def test_events_are_found_by_subject_type_and_time(database: SqlDatabase) -> None:
    append(
        database,
        stored("1", NOW + 3, study="1.2.3", series="1.2.3.4", device="CT01", association="a1"),
        stored("2", NOW + 1, study="1.9", accession="A9", patient="P9"),
        Event("study.created", NOW + 2, Subjects(study="1.2.3")),
    )

    def sops(**where: object) -> list[object]:
        found = read(database, **where)
        return [one.event.payload["objects"][0][0] if one.event.payload else one.event.type for one in found]  # type: ignore[index]

    assert sops() == ["2", "study.created", "1"]
    assert sops(study="1.2.3") == ["study.created", "1"]
    assert sops(series="1.2.3.4") == sops(device="CT01") == sops(association="a1") == ["1"]
    assert sops(accession="A9") == sops(patient="P9") == ["2"]
    assert sops(study="1.2.3", types=("study.created", "series.created")) == ["study.created"]
    assert sops(since=NOW + 2) == ["study.created", "1"]
    assert sops(until=NOW + 2) == ["2", "study.created"]
    assert sops(limit=1) == ["2"]
    assert sops(device="CT02") == sops(study="1") == sops(device="CT01", study="1.9") == []


def test_an_accession_or_patient_finds_the_events_of_its_studies(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.index.enter(
            [arrival("1", accession="A1", patient="P1"), arrival("2", study="2", series="2.1", patient="P2")]
        )
        tx.ledger.append(
            [stored("1", study="1.2.3"), stored("2", NOW + 1, study="2"), stored("3", NOW + 2, study="3")]
        )
        # The ledger alone knows that study 3 carries A3: it is no longer, or not yet, in the index.
        tx.ledger.append([Event("study.created", NOW + 3, Subjects("A3", "P3", "3"))])
    assert [one.n for one in read(database, accession="A1")] == [1, 2]  # both studies carry it
    assert [one.n for one in read(database, patient="P1")] == [1]
    assert [one.n for one in read(database, patient="P2")] == [2]
    assert [one.n for one in read(database, accession="A3")] == [3, 4]
    assert [one.n for one in read(database, patient="P3")] == [3, 4]
    assert [one.n for one in read(database, patient="P3", types=("study.created",))] == [4]


def test_followers_get_each_event_once(database: SqlDatabase, open_another: Opener) -> None:
    other = open_another("other")
    append(database, *(stored(str(n)) for n in range(5)))
    append(other, *(stored(str(n)) for n in range(3)))
    seen: list[tuple[str, int]] = []
    cursor: dict[str, int] = {}
    for _ in range(10):
        with database.write() as tx:
            cursor = tx.ledger.load_cursor("follower")
            for one in tx.ledger.after(cursor, 2):
                seen.append((one.writer, one.n))
                cursor[one.writer] = one.n
            tx.ledger.save_cursor("follower", cursor)
    assert sorted(seen) == sorted([("test", n) for n in range(1, 6)] + [("other", n) for n in range(1, 4)])
    assert [n for writer, n in seen if writer == "test"] == [1, 2, 3, 4, 5]
    assert cursor == {"test": 5, "other": 3}
    with database.read() as tx:
        assert tx.ledger.load_cursor("another") == {}


def test_a_follower_does_not_miss_what_becomes_visible_late(
    database: SqlDatabase, open_another: Opener
) -> None:
    """A transaction of another writer is open while ours commits: its events come afterwards."""
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite has one writing transaction at a time")
    other = open_another("other")
    with other.write() as late:
        late.ledger.append([stored("late")])
        append(database, stored("early"))
        with database.read() as tx:
            assert [one.writer for one in tx.ledger.after({}, 10)] == ["test"]
    with database.read() as tx:
        assert [one.writer for one in tx.ledger.after({"test": 1}, 10)] == ["other"]


def test_two_that_share_a_writer_name_make_one_chain(database: SqlDatabase, open_another: Opener) -> None:
    same = open_another("test")
    append(database, stored("1"))
    append(same, stored("2"), stored("3"))
    append(database, stored("4"), stored("5"))
    append(same, stored("6"))
    assert [one.n for one in read(database)] == [1, 2, 3, 4, 5, 6]
    assert verify(database) == [ChainReport("test", 6, 0)]


@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("UPDATE ledger SET at = at + 1 WHERE n = 2", 2),
        ("UPDATE ledger SET cause = 'x' WHERE n = 3", 3),
        ("UPDATE ledger SET version = 2 WHERE n = 3", 3),
        ("UPDATE ledger SET study = NULL WHERE n = 1", 1),
        ("UPDATE ledger SET device = study WHERE n = 2", 2),
        ("UPDATE ledger SET actor = study WHERE n = 2", 2),
        ("UPDATE ledger SET actor = 999 WHERE n = 2", 2),
        ("UPDATE ledger SET type = 999 WHERE n = 2", 2),
        ("UPDATE ledger SET payload = (SELECT payload FROM ledger WHERE n = 4) WHERE n = 3", 3),
        ("UPDATE ledger SET hash = (SELECT hash FROM ledger WHERE n = 4) WHERE n = 3", 3),
        ("DELETE FROM ledger WHERE n = 2", 2),
        ("DELETE FROM ledger WHERE n = 1", 1),
        ("UPDATE ledger SET n = n + 10 WHERE n = 4", 4),
        ("UPDATE subject SET value = '1.2.4' WHERE value = '1.2.3'", 1),
    ],
)
def test_tampering_is_found(
    database: SqlDatabase, open_another: Opener, tampering: str, broken_at: int
) -> None:
    append(database, *(stored(str(n), NOW + n, study="1.2.3") for n in range(4)))
    append(open_another("whole"), stored("9"))
    assert verify(database) == [ChainReport("test", 4, 0), ChainReport("whole", 1, 0)]
    with database.write() as tx:
        tx.connection.execute(
            tampering + (" AND writer = 1" if "ledger SET" in tampering or "DELETE" in tampering else "")
        )
    report, whole = verify(database)
    assert (report.writer, report.broken_at) == ("test", broken_at)
    assert report.why
    assert whole == ChainReport("whole", 1, 0)


def test_subjects_that_databases_refuse_or_that_are_long(database: SqlDatabase) -> None:
    bad = "p\0\ud800" * 5000
    append(database, replace(stored("1", patient=bad, device="d\0"), actor=bad, cause=bad))
    assert verify(database) == [ChainReport("test", 1, 0)]
    assert len(read(database, patient=bad)) == len(read(database, device="d\0")) == 1
    assert read(database, patient=bad + "x") == []


def test_events_of_all_sizes_come_back(database: SqlDatabase) -> None:
    objects = [[f"1.2.{n}", "1.2.840.10008.5.1.4.1.1.2", chain.FIRST.hex(), n] for n in range(2000)]
    events = [
        Event("instance.stored", NOW, payload={"objects": objects[:n], "source": "dimse"})
        for n in (0, 1, 2, 64, 2000)
    ]
    append(database, *events)
    assert [one.event for one in read(database)] == events
    packed = rows(database, "SELECT length(payload) FROM ledger ORDER BY n")
    assert packed[1][0] < len(chain.encode(events[1].payload)) * 0.7
    assert verify(database) == [ChainReport("test", 5, 0)]


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=200), max_size=5))
def test_packing_gives_back_what_was_packed(payload: dict[str, str]) -> None:
    encoded = chain.encode(payload)
    assert chain.unpack(chain.pack(encoded)) == encoded


@given(st.binary(max_size=200))
def test_unpacking_refuses_anything_else_clearly(kept: bytes) -> None:
    for one in (kept, b"\x01" + kept, b"{" + kept):
        try:
            chain.unpack(one)
        except ValueError:
            pass
