"""Which roles run on this data folder: each leaves a note while it does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """One process. `ports` are those that it listens on."""

    name: str
    pid: int
    started: str  # as the kernel tells it: a later process with the same id has another
    host: str
    ports: list[int]


@contextmanager
def noted(data: Path, name: str, host: str, ports: Sequence[int]) -> Iterator[None]:
    """Leave the note of this process for as long as the block runs."""
    folder = data / "run"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    pid = os.getpid()
    draft = path.with_suffix(f".{pid}")
    draft.write_text(json.dumps(asdict(Running(name, pid, _started(pid), host, list(ports)))))
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running(data: Path) -> list[Running]:
    """The roles that run now; what a killed one left behind is passed over."""
    found = []
    for path in sorted((data / "run").glob("*.json")):
        try:
            one = Running(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue  # going away, or torn by a crash: then it does not run
        if one.started and _started(one.pid) == one.started:
            found.append(one)
    return found


def _started(pid: int) -> str:
    """Start time of a process in ticks since boot; '' where there is none of that id (proc(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
