"""`ports.jobs` on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.ports.jobs import Job, JobState, NewJob

Opener = Callable[[str], SqlDatabase]
DEAD, RUNNING, WAITING = JobState.DEAD, JobState.RUNNING, JobState.WAITING


class SetClock:
    def __init__(self) -> None:
        self.time = 1000

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock(database: SqlDatabase) -> SetClock:
    database.clock = SetClock()
    return database.clock


def enqueue(database: SqlDatabase, *jobs: NewJob) -> None:
    with database.write() as tx:
        tx.jobs.enqueue(jobs)


def claim(
    database: SqlDatabase, now: int, owner: str = "w1", lease: int = 100, kinds: tuple[str, ...] = ("send",)
) -> Job | None:
    with database.write() as tx:
        return tx.jobs.claim(kinds, owner, now, lease)


def all_jobs(database: SqlDatabase) -> list[tuple[str, JobState, int, str]]:
    with database.read() as tx:
        return [(job.key, job.state, job.attempts, job.error) for job in tx.jobs.list()]


def test_jobs_are_claimed_when_due_oldest_first(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(
        database,
        NewJob("send", "late", run_at=3000),
        NewJob("send", "second", {"to": "PACS", "n": 1}, run_at=1500),
        NewJob("send", "first"),
        NewJob("other"),
    )
    job = claim(database, 1000, lease=700)
    assert job is not None
    assert job == Job(job.id, "send", "first", {}, RUNNING, 1000, 1, 12, "", 1000, 1700)
    assert claim(database, 1001) is None
    second = claim(database, 1600, owner="w2", lease=5000)
    assert second is not None
    assert (second.key, second.payload) == ("second", {"to": "PACS", "n": 1})
    assert claim(database, 2000, kinds=()) is None
    either = claim(database, 2000, owner="w3")
    assert either is not None
    assert either.key == "first"  # its lease ran out
    with database.read() as tx:
        assert tx.jobs.counts() == {("send", "waiting"): 1, ("send", "running"): 2, ("other", "waiting"): 1}


def test_a_job_of_the_same_kind_and_key_is_not_made_twice_while_it_waits(
    database: SqlDatabase, clock: SetClock
) -> None:
    enqueue(
        database,
        NewJob("send", "k"),
        NewJob("send", "k"),
        NewJob("pack", "k"),
        NewJob("send"),
        NewJob("send"),
    )
    enqueue(database, NewJob("send", "k"))
    assert [job[0] for job in all_jobs(database)] == ["k", "k", "", ""]
    assert claim(database, 1000) is not None
    enqueue(database, NewJob("send", "k"))  # what came while it ran needs another run
    assert len(all_jobs(database)) == 5


def test_a_job_belongs_to_its_transaction(database: SqlDatabase, clock: SetClock) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        tx.jobs.enqueue([NewJob("send", "k")])
        raise ZeroDivisionError
    assert all_jobs(database) == []


def test_finishing_removes_it(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(database, NewJob("send", "k"))
    job = claim(database, 1000)
    assert job is not None
    with database.write() as tx:
        assert not tx.jobs.finish(job.id, "thief")
        assert tx.jobs.finish(job.id, "w1")
        assert not tx.jobs.finish(job.id, "w1")
    assert all_jobs(database) == []


def test_a_lease_that_ran_out_makes_it_due_again(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(database, NewJob("send", "k"))
    job = claim(database, 1000, lease=100)
    assert job is not None
    assert claim(database, 1099, owner="w2") is None
    with database.write() as tx:
        assert tx.jobs.extend(job.id, "w1", 1500)
        assert not tx.jobs.extend(job.id, "w2", 9000)
    assert claim(database, 1499, owner="w2") is None
    again = claim(database, 1500, owner="w2")
    assert again is not None
    assert (again.id, again.attempts, again.lease_until) == (job.id, 2, 1600)
    with database.write() as tx:  # the first owner has lost it
        assert not tx.jobs.extend(job.id, "w1", 9000)
        assert not tx.jobs.finish(job.id, "w1")
        tx.jobs.postpone(job.id, "w1", 9000)
        assert tx.jobs.fail(job.id, "w1", "late", 9000) is RUNNING
    assert all_jobs(database) == [("k", RUNNING, 2, "")]


def test_leases_that_ran_out_too_often_lead_to_the_dead(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(database, NewJob("send", "k", max_attempts=2), NewJob("send", "next", run_at=5000))
    assert claim(database, 1000) is not None
    assert claim(database, 2000) is not None
    assert claim(database, 3000) is None
    ((key, state, attempts, error), _) = sorted(all_jobs(database))
    assert (key, state, attempts) == ("k", DEAD, 2)
    assert "lease" in error
    following = claim(database, 5000)
    assert following is not None
    assert following.key == "next"


def test_failing_retries_and_then_sets_aside(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(database, NewJob("send", "k", max_attempts=2))
    job = claim(database, 1000)
    assert job is not None
    with database.write() as tx:
        assert tx.jobs.fail(job.id, "w1", "refused\0", 4000) is WAITING
    assert all_jobs(database) == [("k", WAITING, 1, "refused\ufffd")]
    assert claim(database, 3999) is None
    assert claim(database, 4000) is not None
    with database.write() as tx:
        assert tx.jobs.fail(job.id, "w1", "x" * 10_000, 8000) is DEAD
    assert claim(database, 10**15) is None
    with database.read() as tx:
        (dead,) = tx.jobs.list(state=DEAD)
        assert dead.error.startswith("xxx")
        assert tx.jobs.list(state=WAITING) == []
        assert tx.jobs.list(kind="other") == []
        assert tx.jobs.list(kind="send", limit=5) == [dead]
    clock.time = 9000
    with database.write() as tx:
        tx.jobs.revive(dead.id)
    revived = claim(database, 9000)
    assert revived is not None
    assert (revived.id, revived.attempts, revived.run_at) == (dead.id, 1, 9000)
    with database.write() as tx:
        tx.jobs.discard(dead.id)
    assert all_jobs(database) == []


def test_postponing_does_not_count(database: SqlDatabase, clock: SetClock) -> None:
    enqueue(database, NewJob("send", "k"))
    job = claim(database, 1000)
    assert job is not None
    with database.write() as tx:
        tx.jobs.postpone(job.id, "w1", 2000)
    assert claim(database, 1999) is None
    again = claim(database, 2000)
    assert again is not None
    assert again.attempts == 1


@pytest.mark.parametrize("how", ["fail", "postpone", "revive"])
def test_going_back_to_waiting_meets_one_that_waits(database: SqlDatabase, clock: SetClock, how: str) -> None:
    enqueue(database, NewJob("send", "k", max_attempts=5 if how != "revive" else 1))
    job = claim(database, 1000)
    assert job is not None
    if how == "revive":
        with database.write() as tx:
            assert tx.jobs.fail(job.id, "w1", "e", 1000) is DEAD
    enqueue(database, NewJob("send", "k", {"newer": 1}))
    with database.write() as tx:
        if how == "fail":
            assert tx.jobs.fail(job.id, "w1", "e", 1000) is WAITING
        elif how == "postpone":
            tx.jobs.postpone(job.id, "w1", 1000)
        else:
            tx.jobs.revive(job.id)
    with database.read() as tx:
        (left,) = tx.jobs.list()
    assert left.payload == {"newer": 1}
    # Failing again and again comes to its end also when each failure meets a newer job.
    assert (left.attempts, left.error) == {"fail": (1, "e"), "postpone": (0, ""), "revive": (0, "")}[how]


def test_many_claim_each_job_once(database: SqlDatabase, open_another: Opener) -> None:
    enqueue(database, *(NewJob("send", str(n), run_at=1) for n in range(40)))
    workers = [open_another(f"w{n}") for n in range(3)]
    got: list[str] = []
    errors: list[BaseException] = []

    def work(worker: SqlDatabase) -> None:
        try:
            while (job := claim(worker, 10, owner=worker.writer, lease=10**12)) is not None:
                got.append(job.key)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert sorted(got, key=int) == [str(n) for n in range(40)]
