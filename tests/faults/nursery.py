"""A process that has imported everything and forks roles from itself, so that a start takes milliseconds.

A role is the program as it is, `hounsfield.main` with its command line, but that chosen calls in it may be
made to end the process by SIGKILL, or to fail as on a faulty machine. One JSON line asks, one answers.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import importlib
import json
import os
import re
import resource
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


class Fault:
    """What happens at the n-th call of `call`, an importable function or method, or "COMMIT".

    when    "before", "after" or "half" (a vectored write of its first part); SIGKILL then
    error   instead of SIGKILL: the name of an errno to fail with, at each call while it is armed
    path    counts only calls whose file (an argument, or the path behind a descriptor) matches
    having  for COMMIT: counts only transactions with a statement that matches
    flag    counts only while this file exists
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.left = spec.get("n", 1)
        self.when = spec.get("when", "before")
        self.share = spec.get("share", 0.5)
        self.error = spec.get("error", "")
        self.path = re.compile(spec.get("path", ""))
        self.having = re.compile(spec.get("having", ""))
        self.flag = spec.get("flag", "")

    def strikes(self, where: str) -> bool:
        if (self.flag and not os.path.lexists(self.flag)) or not self.path.search(where):
            return False
        self.left -= 1
        return self.left == 0 or bool(self.error)

    def fail(self) -> None:
        if self.error:
            raise OSError(getattr(errno, self.error), os.strerror(getattr(errno, self.error)))
        os.kill(os.getpid(), signal.SIGKILL)


def place(arguments: tuple[Any, ...]) -> str:
    """The files that a call is about."""
    found = []
    for argument in arguments[:2]:
        if isinstance(argument, int) and not isinstance(argument, bool) and argument >= 0:
            try:
                found.append(str(Path(f"/proc/self/fd/{argument}").readlink()))
            except OSError:
                continue
        elif isinstance(argument, str | Path):
            found.append(str(argument))
    return "\n".join(found)


def faulty(real: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    @functools.wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        if not fault.strikes(place(arguments)):
            return real(*arguments, **named)
        if fault.when == "half":
            fd, data, *position = arguments
            whole = b"".join(data) if isinstance(data, list) else bytes(data)
            part = whole[: int(len(whole) * fault.share)]
            os.pwrite(fd, part, position[0]) if position else os.write(fd, part)
            fault.fail()
        if fault.when == "after":
            real(*arguments, **named)
        return fault.fail()

    return call


def faulty_commits(fault: Fault) -> None:
    """Every COMMIT of a transaction with a matching statement."""
    from hounsfield.adapters.sql.connection import SqliteConnection

    begin = SqliteConnection.__init__

    def init(self: Any, raw: sqlite3.Connection) -> None:
        begin(self, raw)
        execute, executemany = self.execute, self.executemany
        seen = False

        def watched(sql: str, *more: Any) -> Any:
            nonlocal seen
            if sql.startswith("BEGIN"):
                seen = False
            seen = seen or bool(fault.having.search(sql))
            if sql != "COMMIT" or not seen or not fault.strikes(""):
                return execute(sql, *more)
            if fault.when == "after":
                execute(sql, *more)
            return fault.fail()

        def watched_many(sql: str, *more: Any) -> Any:
            nonlocal seen
            seen = seen or bool(fault.having.search(sql))
            return executemany(sql, *more)

        self.execute, self.executemany = watched, watched_many

    SqliteConnection.__init__ = init  # type: ignore[method-assign]


def owner_of(name: str) -> tuple[Any, str]:
    """The module or class that has what is named, and its name there."""
    path, _, last = name.rpartition(".")
    try:
        return importlib.import_module(path), last
    except ModuleNotFoundError:
        module, _, cls = path.rpartition(".")
        return getattr(importlib.import_module(module), cls), last


def with_defaults(real: Callable[..., None], defaults: dict[str, Any]) -> Callable[..., None]:
    @functools.wraps(real)
    def init(*arguments: Any, **named: Any) -> None:
        real(*arguments, **(defaults | named))

    return init


def arrange(order: dict[str, Any]) -> None:
    """In the child: the faults, and constants that would make a test wait."""
    for name, value in order["constants"].items():
        owner, last = owner_of(name)
        if last == "__init__":  # defaults of a constructor
            setattr(owner, last, with_defaults(getattr(owner, last), value))
        else:
            setattr(owner, last, value)
    for spec in order["faults"]:
        fault = Fault(spec)
        if spec["call"] == "COMMIT":
            faulty_commits(fault)
        else:
            owner, last = owner_of(spec["call"])
            setattr(owner, last, faulty(getattr(owner, last), fault))
    for name, value in order["limits"].items():
        kind = getattr(resource, name)
        resource.setrlimit(kind, (value, value))  # both: a role raises what it may


def become(order: dict[str, Any]) -> None:
    """In the child: the role, until it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 64)
    os.environ.update(order["environment"])
    arrange(order)
    sys.argv = ["hounsfield", *order["arguments"]]
    importlib.import_module("hounsfield.main").main()


def serve() -> None:
    import hounsfield.main  # noqa: F401  (what every role needs, once)

    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            live(order)
        print(pid, flush=True)


def live(order: dict[str, Any]) -> None:
    """In the child: never returns."""
    code = 70
    try:
        become(order)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
