"""The worker: claims jobs under a lease and runs their handlers, in lanes that do not wait for each other."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hounsfield.domain.errors import HounsfieldError
from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.jobs import Job, JobState
from hounsfield.services import metrics, tracing
from hounsfield.services.leases import Lease, PostponedError, StoppedError

log = logging.getLogger(__name__)

#: Back-off after a failure: FIRST_RETRY doubling to LONGEST_RETRY seconds, less up to half of it at random
#: so that what failed together does not come back together.
FIRST_RETRY = 5.0
LONGEST_RETRY = 3600.0
#: Receiving goes first; but not so far ahead that a transaction of ours, which locks, waits for a processor.
NICE = 5
#: Longest error text that a job keeps.
MAX_ERROR = 500
#: Seconds between two tries to reach a database that is away.
LONGEST_DATABASE_WAIT = 30.0

Handler = Callable[[Job, Lease], None]


@dataclass(frozen=True, slots=True)
class Lane:
    """Kinds of job that share threads. What waits for peers does not hold up what waits for the disk."""

    name: str
    kinds: tuple[str, ...]
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Periodic:
    """Something to do every so often; runs in a thread of its own, once soon after the start."""

    name: str
    seconds: float
    run: Callable[[Lease], object]


class _Running:
    """A `Lease` on one job."""

    def __init__(self, stopping: threading.Event, job: Job | None) -> None:
        self.job = job
        self.lost = False
        self._stopping = stopping

    def check(self) -> None:
        if self.lost or self._stopping.is_set():
            raise StoppedError

    def rest(self, seconds: float) -> None:
        self._stopping.wait(seconds)
        self.check()


class Worker:
    """`owner` names this process in leases: unique among all that run. Times in seconds."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        handlers: Mapping[str, Handler],
        *,
        owner: str,
        lanes: Sequence[Lane],
        periodic: Sequence[Periodic] = (),
        lease: float = 120.0,
        poll: float = 1.0,
    ) -> None:
        unhandled = {kind for lane in lanes for kind in lane.kinds} - set(handlers)
        if unhandled:
            raise ValueError(f"no handler for {sorted(unhandled)}")
        self.database = database
        self.clock = clock
        self.handlers = handlers
        self.owner = owner
        self.lease = lease
        self.poll = poll
        self._stopping = threading.Event()
        self._running: dict[str, _Running] = {}  # owner of the lease -> what it runs
        self._lock = threading.Lock()
        self._threads = [
            _thread(f"{lane.name}-{n}", self._work, lane, f"{owner}/{lane.name}-{n}")
            for lane in lanes
            for n in range(lane.threads)
        ]
        self._threads += [_thread(each.name, self._repeat, each) for each in periodic]
        self._keeper = _thread("leases", self._keep)

    def start(self) -> None:
        for thread in (*self._threads, self._keeper):
            thread.start()

    def stop(self) -> None:
        """Ask all to leave. Any thread, also a signal handler."""
        self._stopping.set()

    def join(self, timeout: float) -> bool:
        """Wait for those that are leaving. False: some did not in time; their jobs become due again when
        their leases run out."""
        deadline = self.clock.monotonic() + timeout
        for thread in (*self._threads, self._keeper):
            thread.join(max(0.0, deadline - self.clock.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def run(self, shutdown: float = 20.0, nice: int = NICE) -> bool:
        """Work until SIGTERM or SIGINT, then leave within `shutdown` seconds (as `join` says). For the main
        thread of a process of its own, all of which gives way to others by `nice`."""
        os.nice(nice)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        self.start()
        self._stopping.wait()
        return self.join(shutdown)

    # --- lanes ---

    def _work(self, lane: Lane, owner: str) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                job = self._claim(lane, owner)
                if job is not None:
                    self._run(job, owner)
                failures = 0
            except HounsfieldError as error:  # the database is away
                log.warning("the job queue cannot be reached", extra={"why": error.what})
                failures += 1
                job = None
            if job is None:
                self._stopping.wait(min(self.poll * 2**failures, LONGEST_DATABASE_WAIT))

    def _claim(self, lane: Lane, owner: str) -> Job | None:
        with self.database.write() as tx:
            return tx.jobs.claim(lane.kinds, owner, self.clock.now(), int(self.lease * 1_000_000))

    def _run(self, job: Job, owner: str) -> None:
        running = _Running(self._stopping, job)
        with self._lock:
            self._running[owner] = running
        began, outcome = time.monotonic(), "failed"
        try:
            with tracing.span("job", {"job.kind": job.kind}):
                self.handlers[job.kind](job, running)
        except PostponedError as postponed:
            outcome = "postponed"
            self._postpone(job, owner, postponed.run_at)
        except StoppedError:
            outcome = "stopped"
            if not running.lost:
                self._postpone(job, owner, self.clock.now())
        except Exception as error:
            self._fail(job, owner, error)
        else:
            outcome = "done"
            with self.database.write() as tx:
                tx.jobs.finish(job.id, owner)
        finally:
            metrics.JOB_SECONDS.labels(job.kind, outcome).observe(time.monotonic() - began)
            with self._lock:
                del self._running[owner]

    def _postpone(self, job: Job, owner: str, run_at: int) -> None:
        with self.database.write() as tx:
            tx.jobs.postpone(job.id, owner, run_at)

    def _fail(self, job: Job, owner: str, error: Exception) -> None:
        if isinstance(error, HounsfieldError):
            why = str(error)
            log.warning("a job failed", extra={"kind": job.kind, "job": job.id, "why": why})
        else:
            why = f"{type(error).__name__}: {error}"
            log.error("a job failed", extra={"kind": job.kind, "job": job.id}, exc_info=error)
        why = why[:MAX_ERROR]
        now = self.clock.now()
        with self.database.write() as tx:
            retry_at = now + int(back_off(job.attempts) * 1_000_000)
            if tx.jobs.fail(job.id, owner, why, retry_at) is JobState.DEAD:
                payload: dict[str, object] = {
                    "job": job.id,
                    "kind": job.kind,
                    "attempts": job.attempts,
                    "why": why,
                }
                tx.ledger.append([Event("job.dead", now, payload=payload)])

    # --- leases and periodic work ---

    def _keep(self) -> None:
        """Prolong the lease of everything that runs, until nothing does."""
        while True:
            self._stopping.wait(self.lease / 3)
            with self._lock:
                running = dict(self._running)
            if self._stopping.is_set():
                return  # what does not leave before its lease ends is somebody else's then
            for owner, each in running.items():
                self._prolong(owner, each)

    def _prolong(self, owner: str, running: _Running) -> None:
        assert running.job is not None
        until = self.clock.now() + int(self.lease * 1_000_000)
        try:
            with self.database.write() as tx:
                kept = tx.jobs.extend(running.job.id, owner, until)
        except HounsfieldError as error:
            log.warning("a lease could not be prolonged", extra={"why": error.what})
            return
        if not kept:
            running.lost = True

    def _repeat(self, each: Periodic) -> None:
        while not self._stopping.is_set():
            try:
                each.run(_Running(self._stopping, None))
            except StoppedError:
                return
            except Exception as error:  # the next time may go well; until then a person can read why
                log.error("periodic work failed", extra={"work": each.name}, exc_info=error)
            self._stopping.wait(each.seconds)


def _thread(name: str, work: Callable[..., None], *args: object) -> threading.Thread:
    return threading.Thread(target=work, args=args, name=name, daemon=True)


def back_off(attempts: int) -> float:
    """Seconds until the next try after `attempts` failures."""
    longest = min(FIRST_RETRY * 2.0 ** min(attempts - 1, 30), LONGEST_RETRY)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  (no secret)
