"""Passwords are slow to check on purpose: they wait among themselves, and keep nobody else waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from hounsfield.services.lockout import WaitError
from hounsfield.services.sign_in import AT_ONCE

T = TypeVar("T")
P = ParamSpec("P")

#: Checks that wait or run at one time, in one process: of one address, and of all.
MOST_OF_ADDRESS, MOST = 16, 64


class Passwords:
    """One for each process; for its event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._waiting: Counter[str] = Counter()

    async def check(self, address: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` gives, on a thread. Raises WaitError where too many are asked for at one time."""
        if self._waiting[address] >= MOST_OF_ADDRESS or self._waiting.total() >= MOST:
            raise WaitError("Too many sign-ins at one time", "Try again in a moment", 2)
        self._waiting[address] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
