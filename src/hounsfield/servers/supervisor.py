"""The supervisor: runs the roles as child processes, restarts what died, stops them all in bounded time.

Child and supervisor hold the two ends of a socket pair. The child says "ready" over it; that it closes
tells the child that the supervisor is gone, however it died, so that no orphan keeps ports and locks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

#: Names the child's end of the socket pair.
DESCRIPTOR = "HOUNSFIELD_SUPERVISOR_FD"
READY = b"ready\n"
#: A child that dies is started again after this many seconds, doubling up to the last.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A child that ran so many seconds was well: the pause begins anew.
WELL_AFTER = 60.0
#: Exit code of a child that cannot start as configured: to start it again would change nothing.
MISCONFIGURED = 2
#: Seconds beyond the children's own bound until they are killed.
GRACE = 5.0


@dataclass(slots=True)
class Role:
    """One child process: its name and its command line."""

    name: str
    command: Sequence[str]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Runs `roles` with `environment`. `shutdown`: seconds that a role gets to finish after SIGTERM."""

    def __init__(self, roles: Sequence[Role], environment: Mapping[str, str], *, shutdown: float) -> None:
        self.roles = roles
        self.environment = dict(environment)
        self.shutdown = shutdown
        self.stopping = asyncio.Event()
        self.exit_code = 0

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Until SIGTERM or SIGINT, or until a role cannot start as configured. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        keepers = [asyncio.create_task(self._keep(role)) for role in self.roles]
        announcing = asyncio.create_task(self._announce(on_ready))
        await self.stopping.wait()
        announcing.cancel()
        for role in self.roles:
            _signal(role, signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=self.shutdown + GRACE)
        if late:
            for role in self.roles:
                _signal(role, signal.SIGKILL)
            log.warning("roles were killed, since they did not stop", extra={"count": len(late)})
            await asyncio.wait(late)
        for keeper in keepers:
            keeper.result()
        return self.exit_code

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        for role in self.roles:
            await role.ready.wait()
        on_ready()

    async def _keep(self, role: Role) -> None:
        """Start the role; start it again whenever it ends, until we stop."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            began = loop.time()
            code = await self._once(role)
            if self.stopping.is_set():
                return
            if code == MISCONFIGURED and not role.ready.is_set():
                log.error("a role cannot start as configured", extra={"role": role.name})
                self.exit_code = MISCONFIGURED
                self.stopping.set()
                return
            if loop.time() - began > WELL_AFTER:
                pause = FIRST_PAUSE
            log.error("a role ended", extra={"role": role.name, "code": code, "again_in": pause})
            await _either(self.stopping, pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(self, role: Role) -> int:
        """Run the role once; its exit code, negative for a signal."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                theirs.set_inheritable(True)
                role.process = await asyncio.create_subprocess_exec(
                    *role.command,
                    env=self.environment | {DESCRIPTOR: str(theirs.fileno())},
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            listening = asyncio.create_task(_listen(ours, role.ready))
            if self.stopping.is_set():  # the signals to the roles went out while this one was being made
                _signal(role, signal.SIGTERM)
            code = await role.process.wait()
            listening.cancel()
            return code


async def _listen(channel: socket.socket, ready: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    if await loop.sock_recv(channel, len(READY)) == READY:
        ready.set()


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event, at most so many seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _signal(role: Role, number: signal.Signals) -> None:
    if role.process is not None and role.process.returncode is None:
        role.process.send_signal(number)


class Supervised:
    """A child's side. Does nothing where the role was started by hand."""

    def __init__(self, lost: Callable[[], None]) -> None:
        """`lost` is called, on a thread of its own, when the supervisor is gone."""
        self._lost = lost
        self._channel: socket.socket | None = None
        descriptor = os.environ.pop(DESCRIPTOR, "")
        if not descriptor:
            return
        self._channel = socket.socket(fileno=int(descriptor))
        # Ctrl-C reaches the whole group; the supervisor alone decides what it means
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._watch, name="supervised", daemon=True).start()

    @property
    def attached(self) -> bool:
        """Whether there is a supervisor."""
        return self._channel is not None

    def ready(self) -> None:
        """We take work from now on."""
        if self._channel is not None:
            self._channel.sendall(READY)

    def _watch(self) -> None:
        assert self._channel is not None
        try:
            self._channel.recv(1)
        except OSError as error:
            log.warning("the supervisor's socket failed", extra={"why": str(error)})
        self._lost()
