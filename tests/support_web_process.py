"""`hounsfield web` as a process of its own, and what a test wants to know of it: its memory, its log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from hounsfield.domain.access import Permission
from hounsfield.ports.clock import SystemClock
from hounsfield.services import tokens
from support_server import Archive, free_port

ADMIN, PASSWORD = "admin", "correct horse battery"
#: Between two looks at the memory of the process.
LOOK_SECONDS = 0.05


class WebProcess(Archive):
    """`with WebProcess(folder) as web:`; `settings` as environment names, in lower case."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.web_port = free_port()
        values: dict[str, object] = {"http_port": self.web_port, "http_rate": 0, "admin_password": PASSWORD}
        super().__init__(folder, **(values | settings))
        self.token = ""

    def __enter__(self) -> WebProcess:
        try:
            self.start("web")
        except BaseException:
            self.stop()
            raise
        permissions = [str(permission) for permission in Permission]
        _, self.token = tokens.create(
            self.database, SystemClock(), "system", ADMIN, permissions, label="tests"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def client(self, **more: Any) -> httpx.Client:
        """As administrator. `more`: of httpx.Client."""
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, headers=headers, **more)

    # Memory --------------------------------------------------------------------------------------------

    @property
    def web(self) -> psutil.Process:
        return psutil.Process(self.processes["web-1"].pid)

    def tree(self) -> int:
        """Resident bytes of the process and of those that it started."""
        return self.alone() + sum(map(_resident, self.web.children(recursive=True)))

    def alone(self) -> int:
        """Of the process that answers, without those that decode."""
        return _resident(self.web)

    @contextmanager
    def growth(self, *, alone: bool = False) -> Iterator[Growth]:
        """How much more memory it takes at its peak within the block than before: `tree`, or `alone`."""
        measure = self.alone if alone else self.tree
        before = measure()
        growth = Growth()
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK_SECONDS):
                growth.bytes = max(growth.bytes, measure() - before)
                growth.looks += 1

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield growth
        finally:
            over.set()
            thread.join()


class Growth:
    """Bytes, so far, and how often somebody looked."""

    def __init__(self) -> None:
        self.bytes = 0
        self.looks = 0


def _resident(process: psutil.Process) -> int:
    """Bytes, without what files in the page cache lend to it; none where it has ended."""
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared)
