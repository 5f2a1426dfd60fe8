"""`ports.index` on both databases: quarantine, packs and blobs."""

from __future__ import annotations

from dataclasses import replace

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.stored import Arrival, Outcome, QuarantineReason
from hounsfield.domain.study import Location
from hounsfield.ports.index import Entered, Extent, SeriesState
from support_sql import NOW, SEGMENT, arrival, digest, rows

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE
CONFLICT, QUARANTINED = Outcome.CONFLICT, Outcome.QUARANTINED


def enter(database: SqlDatabase, *arrivals: Arrival, synced: bool = False) -> list[Entered]:
    with database.write(synced=synced) as tx:
        return tx.index.enter(arrivals)


def blobs(database: SqlDatabase) -> dict[str, tuple[int, int]]:
    return {key: (live, size) for key, live, size in rows(database, "SELECT key, live, bytes FROM blob")}


def test_held_objects_are_found_released_and_dropped(database: SqlDatabase) -> None:
    unknown = QuarantineReason.UNKNOWN_DEVICE
    first = arrival("1.1", quarantine=unknown, device="A")
    other = arrival("1.2", quarantine=unknown, device="B", study="2", series="2.1")
    enter(database, arrival("1.3"))
    ids = [
        entered.quarantine_id for entered in enter(database, first, other, arrival("1.3", "x", device="A"))
    ]
    with database.read() as tx:
        held = list(tx.index.quarantine(device="A"))
        assert [(one.id, one.arrival, one.reason) for one in held[:1]] == [(ids[0], first, "unknown-device")]
        assert [one.id for one in held] == [ids[0], ids[2]]
        assert [one.id for one in tx.index.quarantine(reason="unknown-device")] == ids[:2]
        assert [one.id for one in tx.index.quarantine(study="2")] == [ids[1]]
        assert len(list(tx.index.quarantine())) == 3
    with database.write() as tx:
        released = tx.index.release([ids[0], ids[2], 999])
    # What still contradicts is held on, under the id that it had.
    assert released == [Entered(STORED), Entered(CONFLICT, ids[2], digest("1.3"), reason="conflict")]
    assert blobs(database) == {SEGMENT: (4, 3600)}
    with database.write() as tx:
        assert tx.index.drop_held([ids[1], ids[2], 999])[0] == other.location
    assert blobs(database) == {SEGMENT: (2, 1800)}
    assert rows(database, "SELECT count(*) FROM quarantine") == [(0,)]
    with database.read() as tx:
        found = tx.index.locate("1.1")
        assert found is not None
        assert found.location == first.location


def test_a_released_duplicate_goes(database: SqlDatabase) -> None:
    held = arrival("1.1", quarantine=QuarantineReason.UNKNOWN_DEVICE)
    same = replace(arrival("1.1", quarantine=QuarantineReason.UNKNOWN_DEVICE), content_hash=bytes(32))
    ids = [entered.quarantine_id for entered in enter(database, held, same)]
    with database.write() as tx:
        assert [e.outcome for e in tx.index.release(ids)] == [STORED, CONFLICT]
    assert blobs(database) == {SEGMENT: (2, 1800)}


def test_a_series_moves_into_its_pack(database: SqlDatabase) -> None:
    objects = [arrival(f"1.{n}") for n in range(3)]
    enter(database, *objects)
    pack = "packs/2024/01/1.2.3/1.2.3.4.zip"
    metadata = Location(pack, 5000, 100, 0)
    moves = {f"1.{n}": (objects[n].location, Location(pack, n * 1000, 900, 300)) for n in range(2)}
    moves["1.2"] = (
        Location(SEGMENT, 77_777_777, 900, 300),
        Location(pack, 3000, 900, 300),
    )  # is elsewhere now
    moves["1.9"] = moves["1.2"]
    with database.write() as tx:
        assert tx.index.series_state("1.2.3.4") == SeriesState("1.2.3", "1.2.3.4", "CT", 3, NOW, 0, 3)
        assert tx.index.relocate("1.2.3.4", 1, moves, metadata) == 2
        assert tx.index.relocate("9.9", 1, {}, None) == 0
        assert tx.index.series_state("1.2.3.4") == SeriesState("1.2.3", "1.2.3.4", "CT", 3, NOW, 1, 1)
        assert tx.index.metadata("1.2.3.4") is None  # one object is not in it
    assert blobs(database) == {SEGMENT: (1, 900), pack: (3, 1800)}
    with database.read() as tx:
        found = tx.index.locate("1.1")
        assert found is not None
        assert found.location == moves["1.1"][1]
        assert tx.index.series_state("9.9") is None


def test_metadata_is_out_of_date_when_an_object_comes(database: SqlDatabase) -> None:
    first = arrival("1.1")
    enter(database, first)
    one, two = "packs/1.zip", "packs/2.zip"
    with database.write() as tx:
        tx.index.relocate(
            "1.2.3.4", 1, {"1.1": (first.location, Location(one, 50, 900, 300))}, Location(one, 0, 9, 0)
        )
        assert tx.index.metadata("1.2.3.4") == Location(one, 0, 9, 0)
        assert tx.index.unused_blobs("log/") == [SEGMENT]
        assert tx.index.unused_blobs("packs/") == []
    late = arrival("1.2")
    enter(database, late)
    with database.write() as tx:
        assert tx.index.metadata("1.2.3.4") is None
        moves = {
            "1.1": (Location(one, 50, 900, 300), Location(two, 50, 900, 300)),
            "1.2": (late.location, Location(two, 1050, 900, 300)),
        }
        assert tx.index.relocate("1.2.3.4", 2, moves, Location(two, 0, 9, 0)) == 2
        assert tx.index.metadata("1.2.3.4") == Location(two, 0, 9, 0)
        assert tx.index.unused_blobs("packs/") == [one]
        tx.index.forget_blob(one)
        tx.index.forget_blob(two)  # in use: stays
    assert blobs(database) == {SEGMENT: (0, 0), two: (3, 1800)}


def test_blobs_are_listed_and_places_known(database: SqlDatabase) -> None:
    current, held = arrival("1.1", key="log/a"), arrival("1.1", "x", key="log/b")
    third = arrival("1.2", key="packs/c")
    enter(database, current, held, third)
    with database.read() as tx:
        assert tx.index.blobs_after("", 10) == ["log/a", "log/b", "packs/c"]
        assert tx.index.blobs_after("log/a", 10) == ["log/b", "packs/c"]
        assert tx.index.blobs_after("", 1) == ["log/a"]
        assert tx.index.extents(["log/b", "log/other", "packs/c"]) == {
            "log/b": Extent(1, held.location.offset + held.location.length),
            "packs/c": Extent(1, third.location.offset + third.location.length),
        }
        end = current.location.offset + current.location.length
        assert tx.index.beyond("log/a", end, 9) == (0, [])
        assert tx.index.beyond("log/a", end - 1, 9) == (1, ["1.1"])
        assert tx.index.beyond("log/b", -1, 0) == (1, [])
        assert tx.index.knows_location("log/a", current.location.offset)
        assert tx.index.knows_location("log/b", held.location.offset)
        assert not tx.index.knows_location("log/a", current.location.offset + 1)
        assert not tx.index.knows_location("log/z", 0)


def test_a_forgotten_blob_may_come_again(database: SqlDatabase) -> None:
    (entered,) = enter(database, arrival("1.1", quarantine=QuarantineReason.UNKNOWN_DEVICE))
    with database.write() as tx:
        tx.index.drop_held([entered.quarantine_id])
        tx.index.forget_blob(SEGMENT)
    assert blobs(database) == {}
    enter(database, arrival("1.1"))
    assert blobs(database) == {SEGMENT: (1, 900)}
