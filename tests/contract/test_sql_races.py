"""Several threads and processes at one database."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

import pytest

from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.errors import (
    DatabaseUnavailableError,
)
from hounsfield.domain.stored import Outcome, QuarantineReason
from hounsfield.ports.ledger import ChainReport
from support_sql import NOW, SEGMENT, arrival, rows, stored

Opener = Callable[[str], SqlDatabase]


def _enter_all(url: str, writer: str, start: object, answers: object) -> None:
    """In a process of its own: the same objects as the other, in another order, in small rounds."""
    database = open_database(url, writer)
    objects = [arrival(f"1.{n}", series=f"1.2.3.{n % 3}", key=f"log/{writer}", at=NOW) for n in range(60)]
    objects += [arrival(f"1.{n}", writer, series=f"1.2.3.{n % 3}", key=f"log/{writer}") for n in range(5)]
    if writer == "b":
        objects.reverse()
    start.wait()  # type: ignore[attr-defined]
    outcomes: list[str] = []
    for at in range(0, len(objects), 4):
        while True:
            try:
                with database.write(synced=False) as tx:
                    entered = tx.index.enter(objects[at : at + 4])
                    tx.ledger.append([stored(a.keys.instance.sop_instance_uid) for a in objects[at : at + 4]])
            except DatabaseUnavailableError:
                continue
            break
        outcomes += [one.outcome.value for one in entered]
    database.close()
    answers.put((writer, outcomes))  # type: ignore[attr-defined]


def test_two_processes_enter_the_same_objects(database: SqlDatabase, database_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_enter_all, args=(database_url, name, start, answers)) for name in "ab"
    ]
    for process in processes:
        process.start()
    outcomes = dict(answers.get(timeout=90) for _ in processes)
    for process in processes:
        process.join(30)
    together = outcomes["a"] + outcomes["b"]
    # Each UID is stored once; of the versions with other content, each is held once.
    assert together.count("stored") == 60
    assert together.count("stored") + together.count("duplicate") + together.count("conflict") == 130
    kept = "SELECT (SELECT count(*) FROM instance), (SELECT count(*) FROM quarantine)"
    assert rows(database, kept) == [(60, together.count("conflict"))]
    assert rows(database, "SELECT n_series, n_instances FROM study") == [(3, 60)]
    assert rows(database, "SELECT n_instances FROM series") == [(20,)] * 3
    live = rows(database, "SELECT sum(live), sum(bytes) FROM blob")
    assert [int(n) for n in live[0]] == [
        60 + together.count("conflict"),
        900 * (60 + together.count("conflict")),
    ]
    with database.read() as tx:
        assert sorted(tx.ledger.verify(), key=lambda r: r.writer) == [
            ChainReport("a", 65, 0),
            ChainReport("b", 65, 0),
        ]


def test_losing_the_race_for_an_instance(database: SqlDatabase, open_another: Opener) -> None:
    """Another process commits the same UIDs after we asked what is kept and before we insert."""
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite's write lock admits nobody in between")
    other = open_another("other")
    with database.write() as tx:
        tx.index.enter([arrival("1.0")])
    with other.write() as tx:
        tx.index.enter([arrival("1.9", key="log/other")])  # now it knows the series too
    mine = [arrival("1.1"), arrival("1.2"), arrival("1.3")]
    theirs = [arrival("1.1", key="log/other"), arrival("1.2", "x", key="log/other")]
    ours: list[object] = []
    with other.write() as held:
        held.index.enter(theirs)

        def enter() -> None:
            with database.write() as tx:
                ours.extend(entered.outcome for entered in tx.index.enter(mine))

        thread = threading.Thread(target=enter)
        thread.start()
        _wait_for_a_blocked_session(database)
    thread.join(30)
    assert ours == [Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.STORED]
    assert rows(database, "SELECT n_instances FROM study") == [(5,)]
    assert rows(database, "SELECT key, live FROM blob ORDER BY key") == [("log/other", 3), (SEGMENT, 3)]


@pytest.mark.parametrize("same_patient", [True, False])
def test_losing_the_race_for_a_study(database: SqlDatabase, open_another: Opener, same_patient: bool) -> None:
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite's write lock admits nobody in between")
    other = open_another("other")
    ours: list[object] = []
    with other.write() as held:
        held.index.enter([arrival("1.1", patient="P1", key="log/other")])

        def enter() -> None:
            with database.write() as tx:
                patient = "P1" if same_patient else "P2"
                ours.extend(entered.outcome for entered in tx.index.enter([arrival("1.2", patient=patient)]))

        thread = threading.Thread(target=enter)
        thread.start()
        _wait_for_a_blocked_session(database)
    thread.join(30)
    assert ours == [Outcome.STORED if same_patient else Outcome.QUARANTINED]
    assert rows(database, "SELECT n_series, n_instances FROM study") == [(1, 2 if same_patient else 1)]


def _wait_for_a_blocked_session(database: SqlDatabase) -> None:
    """Until PostgreSQL says that somebody waits for a lock in this database."""
    for _ in range(2000):
        with database.read() as tx:
            waiting = tx.connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()[0]
        if waiting:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits for a lock")


def test_threads_take_turns(database: SqlDatabase) -> None:
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for n in range(15):
                with database.write(synced=n % 2 == 0) as tx:
                    tx.index.enter([arrival(f"1.{name}.{n}"), arrival(f"1.0.{n}")])
                    tx.ledger.append([stored(f"1.{name}.{n}", device=f"D{name}")])
                with database.read() as tx:
                    assert tx.index.locate(f"1.{name}.{n}") is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert rows(database, "SELECT n_instances FROM study") == [(75,)]
    with database.read() as tx:
        assert list(tx.ledger.verify()) == [ChainReport("test", 60, 0)]


def test_losing_the_race_for_a_place_in_quarantine(database: SqlDatabase, open_another: Opener) -> None:
    if database.describe()["kind"] == "SQLite":
        pytest.skip("SQLite's write lock admits nobody in between")
    other = open_another("other")
    ours: list[object] = []
    unknown = QuarantineReason.UNKNOWN_DEVICE
    with other.write() as held:
        held.index.enter([arrival("1.1", quarantine=unknown, key="log/other")])

        def enter() -> None:
            with database.write() as tx:
                ours.extend(
                    entered.outcome for entered in tx.index.enter([arrival("1.1", quarantine=unknown)])
                )

        thread = threading.Thread(target=enter)
        thread.start()
        _wait_for_a_blocked_session(database)
    thread.join(30)
    assert ours == [Outcome.DUPLICATE]
    assert rows(database, "SELECT key, live FROM blob ORDER BY key") == [("log/other", 1), (SEGMENT, 0)]
