"""The index in trouble while the log goes on: commits fail, are lost, or nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from hounsfield.adapters.sql import database as sql_database
from hounsfield.adapters.sql.database import UNSYNCED
from hounsfield.adapters.sql.index import SqlIndex
from hounsfield.domain.errors import DatabaseSetBackError, DatabaseUnavailableError, StorageFullError
from hounsfield.domain.stored import Arrival, Origin, Outcome, QuarantineReason
from hounsfield.domain.study import ObjectKeys
from hounsfield.ports.index import Entered
from hounsfield.services import indexing
from hounsfield.services import rounds as rounds_module
from hounsfield.services.indexing import NOWHERE, PACK_SERIES, Durable, GivenUpError, Result
from hounsfield.services.reading import Reader
from hounsfield.services.recovery import recover
from hounsfield.services.rounds import Rounds
from hounsfield.services.scanning import scan
from hounsfield.services.store import Receiver, Store
from support_faults import CT, EXPLICIT_LE, data_set
from support_services import House, build, wait_for

LARGE = 400_000


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(indexing, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(rounds_module, "CHECKPOINT_SECONDS", 0.01)
    made = build(tmp_path / "data")
    yield made
    made.close()


def open_store(house: House, settle: float = 60.0) -> Store:
    log = house.blobs.open_log("dicom-1")
    rounds = Rounds(log, house.database, house.clock, writer="test", settle=settle, remove=house.blobs.remove)
    return Store(rounds, house.clock, large=256 << 10, budget=8 << 20)


def close(store: Store) -> None:
    store.close()
    store.log.close()


def begin(store: Store, number: int, size: int, series: int = 1) -> Receiver:
    sop = f"1.2.3.{series}.{number}"
    data = data_set(sop, f"1.2.3.{series}", "1.2.3", number, bytes(size))
    receiver = store.begin(CT, sop, EXPLICIT_LE, Origin("dimse", "CT", "a1", "192.0.2.1"))
    receiver.write(data)
    return receiver


def put(store: Store, number: int, size: int = 1000, series: int = 1) -> Result:
    return begin(store, number, size, series).finish().result(20)


def all_whole(house: House, count: int) -> None:
    instances = house.instances()
    assert len(instances) == count
    reader = Reader(house.database, house.blobs)
    assert all(reader.matches_hash(one) for one in instances)


class Commits:
    """Fails unsynced commits, `after` or before they happen."""

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception, *, times: int, after: bool) -> None:
        self.left = times
        real = sql_database._Writing._commit

        def commit(writing: object) -> None:
            strikes = writing.use == UNSYNCED and self.left > 0  # type: ignore[attr-defined]
            if not strikes or after:
                real(writing)  # type: ignore[arg-type]
            if strikes:
                self.left -= 1
                raise error

        patch.setattr(sql_database._Writing, "_commit", commit)


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [DatabaseUnavailableError("gone"), StorageFullError("full")])
def test_a_commit_that_fails_or_seems_to(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception, after: bool, size: int
) -> None:
    """Where the connection broke at COMMIT, the object comes again, its own duplicate: its file stays."""
    store = open_store(house)
    assert put(store, 1).outcome is Outcome.STORED
    commits = Commits(monkeypatch, error, times=3, after=after)
    assert put(store, 2, size).status == 0
    assert commits.left < 3
    commits.left = 0
    assert put(store, 3, size).outcome is Outcome.STORED
    assert put(store, 2, size).outcome is Outcome.DUPLICATE
    close(store)
    all_whole(house, 3)
    assert recover(house.database, house.blobs, house.clock, settle=60) == [], "all is behind the checkpoint"


def test_a_file_of_no_use_that_cannot_be_removed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same large object twice at once: one file is of no use. That it stays must not cost the other."""
    removed: list[str] = []

    def remove(key: str) -> None:
        removed.append(key)
        if len(removed) == 1:
            raise OSError("the disk is read-only")
        house.blobs.remove(key)

    store = open_store(house)
    store.rounds.indexer.remove = remove
    commits = Commits(monkeypatch, DatabaseUnavailableError("gone"), times=1_000_000, after=False)
    futures = [begin(store, 1, LARGE).finish() for _ in range(2)]
    wait_for(lambda: store.rounds.indexer.behind == 2)
    commits.left = 0
    outcomes = {future.result(20).outcome for future in futures}
    assert outcomes == {Outcome.STORED, Outcome.DUPLICATE}
    wait_for(lambda: removed)
    assert put(store, 2, LARGE).outcome is Outcome.STORED
    close(store)
    all_whole(house, 2)


def test_a_failed_commit_does_not_forget_the_pack_job(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    Commits(monkeypatch, DatabaseUnavailableError("gone"), times=2, after=False)
    store = open_store(house)
    assert put(store, 1).outcome is Outcome.STORED
    close(store)
    with house.database.read() as tx:
        assert [job.key for job in tx.jobs.list(kind=PACK_SERIES)] == ["1.2.3.1"]


def test_what_was_given_up_while_it_came_again_is_not_entered(house: House) -> None:
    """It was not written a second time, and a person dropped the first: there is no place to point to."""
    store = open_store(house)
    assert put(store, 1).outcome is Outcome.STORED
    (kept,) = house.instances()
    keys = scan(data_set("1.2.3.1.9", "1.2.3.1", "1.2.3", 9, b"x"), EXPLICIT_LE, "")
    assert isinstance(keys, ObjectKeys)
    gone = Arrival(keys, EXPLICIT_LE, kept.content_hash, NOWHERE, Origin("dimse", "CT", "a1", ""), 1)
    results: list[Future[Result]] = [Future(), Future()]
    again = replace(gone, keys=replace(keys, instance=replace(keys.instance, sop_instance_uid="1.2.3.1.1")))
    store.rounds.indexer.put([Durable(gone, results[0]), Durable(again, results[1])])
    with pytest.raises(GivenUpError):
        results[0].result(20)
    assert results[1].result(20).outcome is Outcome.DUPLICATE
    assert put(store, 2).outcome is Outcome.STORED
    close(store)
    all_whole(house, 2)
    assert recover(house.database, house.blobs, house.clock, settle=60) == [], "nothing is stuck"


def lose(house: House, events: int) -> None:
    """What a PostgreSQL that crashed forgets: the last commits, all of them or none."""
    with house.database.write() as tx:
        run = tx.connection.execute
        run("DELETE FROM ledger WHERE n > (SELECT max(n) FROM ledger) - ?", (events,))
        run("DELETE FROM instance WHERE uid = '1.2.3.2.2'")
        run("DELETE FROM series WHERE uid = '1.2.3.2'")
        run("UPDATE blob SET live = live - 1, bytes = bytes - 1 WHERE key LIKE 'log/%'")
        run("UPDATE study SET n_instances = 1, n_series = 1")
    house.database.known.forget()


@pytest.mark.parametrize("stores_on", [True, False])
def test_lost_commits_are_noticed_and_replayed(
    house: House, monkeypatch: pytest.MonkeyPatch, stores_on: bool
) -> None:
    store = open_store(house)
    assert put(store, 1).outcome is Outcome.STORED
    wait_for(lambda: not store.rounds._dirty)  # the checkpoint is behind the first
    monkeypatch.setattr(rounds_module, "CHECKPOINT_SECONDS", 3600)
    put(store, 3)  # takes the thread past its wait
    calls: list[None] = []
    store.rounds.indexer.on_set_back = lambda: calls.append(None)
    assert put(store, 2, series=2).outcome is Outcome.STORED
    with house.database.read() as tx:
        before = tx.ledger.head()
    lose(house, before - store_head(house, "1.2.3.2"))
    if stores_on:
        with pytest.raises(DatabaseSetBackError):
            put(store, 4)
    close(store)
    assert len(calls) == 1
    (done,) = recover(house.database, house.blobs, house.clock, settle=60)
    assert done.entered == (2 if stores_on else 1)
    all_whole(house, 4 if stores_on else 3)


def store_head(house: House, series: str) -> int:
    """Number of the last event before the first one of a series."""
    with house.database.read() as tx:
        row = tx.connection.execute(
            "SELECT min(n) FROM ledger WHERE series ="
            " (SELECT id FROM subject WHERE kind = 'series' AND value = ?)",
            (series,),
        ).fetchone()
    return int(row[0]) - 1


def test_a_clock_that_jumps(house: House) -> None:
    """Back and forth by years: objects come in, and their series are packed one day."""
    store = open_store(house)
    years = 365 * 86_400
    for number, jump in enumerate((0, 20 * years, -30 * years, 15 * years, -86_400, 86_400), 1):
        house.clock.pass_seconds(jump)
        assert put(store, number, LARGE if number % 2 else 1000).outcome is Outcome.STORED
        with house.database.write() as tx:
            jobs = tx.jobs.list(kind=PACK_SERIES)
            assert any(job.key == "1.2.3.1" for job in jobs), "after this jump, nothing would pack it"
            for job in jobs:  # as if it was done
                tx.connection.execute("DELETE FROM job WHERE id = ?", (job.id,))
    close(store)
    all_whole(house, 6)
    with house.database.read() as tx:
        assert [report.broken_at for report in tx.ledger.verify()] == [0]


class Failing:
    """An index that fails at one object; `held`: also when it is only to be held."""

    def __init__(self, patch: pytest.MonkeyPatch, uid: str, *, held: bool, times: int = 1000) -> None:
        self.left = times
        real = SqlIndex.enter

        def enter(index: SqlIndex, arrivals: Sequence[Arrival]) -> list[Entered]:
            for one in arrivals:
                to_hold = one.quarantine is QuarantineReason.NOT_ENTERED
                if one.keys.instance.sop_instance_uid == uid and (held or not to_hold) and self.left:
                    self.left -= 1
                    raise ValueError("a fault of ours")
            return real(index, arrivals)

        patch.setattr(SqlIndex, "enter", enter)


def test_what_the_index_fails_at_is_held_and_the_log_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(house)
    with monkeypatch.context() as patch:
        Failing(patch, "1.2.3.1.2", held=False)
        futures = [begin(store, number, 1000).finish() for number in (1, 2, 3)]
        outcomes = [future.result(20).outcome for future in futures]
    assert outcomes == [Outcome.STORED, Outcome.QUARANTINED, Outcome.STORED]
    assert not store.rounds.indexer.stuck
    close(store)
    all_whole(house, 2)
    (event,) = house.events("instance.quarantined")
    assert (event.payload["reason"], event.payload["why"]) == ("not-entered", "ValueError: a fault of ours")
    assert recover(house.database, house.blobs, house.clock, settle=60) == [], "all is behind the checkpoint"


def test_a_trouble_that_passes_holds_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(house)
    Failing(monkeypatch, "1.2.3.1.1", held=True, times=1)
    assert put(store, 1).outcome is Outcome.STORED
    close(store)
    all_whole(house, 1)


def test_what_cannot_be_held_either_is_set_aside_by_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(house)
    Failing(monkeypatch, "1.2.3.1.2", held=True)
    assert put(store, 1).outcome is Outcome.STORED
    with pytest.raises(ValueError, match="a fault of ours"):
        put(store, 2)
    assert store.rounds.indexer.stuck
    assert put(store, 3).outcome is Outcome.STORED
    close(store)
    (done,) = recover(house.database, house.blobs, house.clock, settle=60)
    assert (done.set_aside, len(house.blobs.aside())) == (1, 1)
    all_whole(house, 2)
    close(open_store(house))
    assert recover(house.database, house.blobs, house.clock, settle=60) == []
