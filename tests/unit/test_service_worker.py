"""The worker: leases, back-off, dead letters, stopping; on a real queue."""

import signal
import subprocess
import sys
import threading
from unittest import mock

import pytest

from hounsfield.domain.errors import DatabaseUnavailableError, PeerError
from hounsfield.ports.jobs import JobState, NewJob
from hounsfield.servers.worker import Lane, Periodic, Worker, tell_of_dead
from hounsfield.servers.worker.loop import LONGEST_RETRY, back_off
from hounsfield.services.leases import PostponedError, StoppedError
from support_services import build, wait_for


@pytest.fixture
def house(tmp_path):
    house = build(tmp_path / "data")
    yield house
    house.close()


@pytest.fixture
def start(house):
    workers = []

    def start(handlers, **options):
        options.setdefault("lanes", [Lane("all", tuple(handlers))])
        worker = Worker(house.database, house.clock, handlers, owner="w", poll=0.01, **options)
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.stop()
        assert worker.join(20)


def enqueue(house, *jobs):
    with house.database.write() as tx:
        tx.jobs.enqueue(jobs)


def queue(house):
    with house.database.read() as tx:
        return tx.jobs.list()


def test_a_job_runs_once_and_is_gone(house, start):
    seen = []
    enqueue(house, NewJob("a", "x", {"n": 1}), NewJob("a", "y"))
    start({"a": lambda job, lease: seen.append((job.key, dict(job.payload)))})
    wait_for(lambda: not queue(house))
    assert seen == [("x", {"n": 1}), ("y", {})]


def test_a_failing_job_does_not_block_the_next_and_ends_with_the_dead(house, start):
    tries, good = [], []

    def bad(job, lease):
        tries.append(job.attempts)
        raise PeerError("nobody answered", "look at the cable")

    enqueue(house, NewJob("bad", "x", max_attempts=3), NewJob("good", "y"))
    start({"bad": bad, "good": lambda job, lease: good.append(job.key)})
    wait_for(lambda: good == ["y"] and tries == [1])
    wait_for(lambda: [job.state for job in queue(house)] == [JobState.WAITING])
    (waiting,) = queue(house)
    assert waiting.run_at > house.clock.time
    assert waiting.error == "nobody answered. look at the cable"
    for attempt in (2, 3):
        house.clock.pass_seconds(LONGEST_RETRY)
        wait_for(lambda attempt=attempt: len(tries) == attempt)
    wait_for(lambda: queue(house)[0].state is JobState.DEAD)
    (event,) = house.events("job.dead")
    assert event.payload["kind"] == "bad" and event.payload["attempts"] == 3
    assert tell_of_dead(house.database, house.clock) == 0


def test_a_bug_in_a_handler_is_a_failure_of_the_job_alone(house, start):
    enqueue(house, NewJob("a", "x", max_attempts=1))
    worker = start({"a": lambda job, lease: 1 / 0})
    wait_for(lambda: [job.state for job in queue(house)] == [JobState.DEAD])
    assert "ZeroDivisionError" in queue(house)[0].error
    assert not worker._stopping.is_set()


def test_a_postponed_job_counts_no_attempt(house, start):
    attempts = []

    def later(job, lease):
        attempts.append(job.attempts)
        if len(attempts) < 3:
            raise PostponedError(house.clock.time + 60_000_000)

    enqueue(house, NewJob("a", "x", max_attempts=1))
    start({"a": later})
    for count in (1, 2):
        wait_for(lambda count=count: len(attempts) == count)
        wait_for(lambda: queue(house)[0].state is JobState.WAITING)
        house.clock.pass_seconds(61)
    wait_for(lambda: not queue(house))
    assert attempts == [1, 1, 1]


def test_stopping_puts_the_running_job_back(house, start):
    running = threading.Event()

    def long(job, lease):
        running.set()
        while True:
            lease.rest(60)

    enqueue(house, NewJob("a", "x"))
    worker = start({"a": long})
    assert running.wait(20)
    worker.stop()
    assert worker.join(20)
    (job,) = queue(house)
    assert (job.state, job.attempts) == (JobState.WAITING, 0)


def test_a_lease_is_prolonged_while_the_job_runs_and_its_loss_is_noticed(house, start):
    running, told = threading.Event(), threading.Event()

    def long(job, lease):
        running.set()
        try:
            while True:
                lease.rest(0.01)
        except StoppedError:
            told.set()
            raise

    enqueue(house, NewJob("a", "x"))
    start({"a": long}, lease=0.3)
    assert running.wait(20)
    first = queue(house)[0].lease_until
    house.clock.pass_seconds(0.2)
    wait_for(lambda: queue(house)[0].lease_until > first)
    with house.database.write() as tx:
        tx.jobs.discard(tx.jobs.list()[0].id)
    assert told.wait(20)
    assert queue(house) == []


def test_lanes_do_not_wait_for_each_other(house, start):
    release, done = threading.Event(), threading.Event()
    enqueue(house, NewJob("slow", "x"), NewJob("quick", "y"))
    start(
        {"slow": lambda job, lease: release.wait(20), "quick": lambda job, lease: done.set()},
        lanes=[Lane("slow", ("slow",)), Lane("quick", ("quick",))],
    )
    assert done.wait(20)
    release.set()


def test_periodic_work_goes_on_after_a_failure(house, start):
    times = []

    def work(lease):
        times.append(1)
        if len(times) == 1:
            raise OSError("a bad moment")

    start({}, lanes=[], periodic=[Periodic("sweep", 0.01, work)])
    wait_for(lambda: len(times) >= 3)


def test_a_database_that_is_away_is_waited_for(house, start):
    seen = []
    enqueue(house, NewJob("a", "x"))
    real, calls = house.database.write, []

    def sometimes(**options):
        calls.append(1)
        if len(calls) <= 3:
            raise DatabaseUnavailableError("away")
        return real(**options)

    with mock.patch.object(house.database, "write", sometimes):
        start({"a": lambda job, lease: seen.append(job.key)})
        wait_for(lambda: seen == ["x"])
        wait_for(lambda: not queue(house))


def test_a_job_that_took_its_process_with_it_is_told_of(house):
    enqueue(house, NewJob("a", "x", max_attempts=1))
    with house.database.write() as tx:
        assert tx.jobs.claim(["a"], "gone", house.clock.now(), 1_000_000) is not None
    house.clock.pass_seconds(2)
    with house.database.write() as tx:
        assert tx.jobs.claim(["a"], "w", house.clock.now(), 1_000_000) is None
    assert tell_of_dead(house.database, house.clock) == 1
    assert tell_of_dead(house.database, house.clock) == 0
    assert [event.payload["attempts"] for event in house.events("job.dead")] == [1]


def test_back_off_grows_to_its_limit():
    assert all(2.5 <= back_off(1) <= 5 for _ in range(50))
    assert all(LONGEST_RETRY / 2 <= back_off(n) <= LONGEST_RETRY for n in (12, 1000))
    assert len({back_off(5) for _ in range(5)}) > 1


def test_a_lane_without_a_handler_is_a_mistake(house):
    with pytest.raises(ValueError, match="no handler"):
        Worker(house.database, house.clock, {}, owner="w", lanes=[Lane("x", ("a",))])


RUN = """
import sys
from pathlib import Path
from support_services import build
from hounsfield.servers.worker import Lane, Worker
house = build(Path(sys.argv[1]))
def long(job, lease):
    print("running", flush=True)
    while True:
        lease.rest(60)
worker = Worker(house.database, house.clock, {"a": long}, owner="w", lanes=[Lane("all", ("a",))])
clean = worker.run()
house.close()
print("clean" if clean else "left some", flush=True)
"""


def test_sigterm_ends_the_process_and_gives_its_job_back(house):
    enqueue(house, NewJob("a", "x"))
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{RUN}", str(house.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "clean\n"
        assert process.wait(20) == 0
    (job,) = queue(house)
    assert (job.state, job.attempts) == (JobState.WAITING, 0)
