"""QIDO-RS over a large archive, through HTTP, on SQLite and on PostgreSQL.

    python -m bench.million --database .bench/million.db
    python -m bench.million --database embedded:.bench/million-pg
    python -m bench.qido .bench/million.db embedded:.bench/million-pg

The queries are those of `bench.find`, and what a viewer asks besides: the first page of its list of studies,
and the series of a study. The clock runs from the request to the last byte of the answer, over one kept
connection, then over eight at once. The databases are brought to this release's schema.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from urllib.parse import urlencode

from bench.find import QUERIES, RETURNED, Archive, Keys, Measured, day, look
from bench.million import open_bench_database, study_uid, url_of
from bench.peers import HOST, ROOT, Server
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


class WebRole(Server):
    """`hounsfield web` over a database."""

    name = "web"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "hounsfield.main", "web", "--name", "bench"]

    def environment(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(ROOT / "src"),
            "HOUNSFIELD_DATA": str(self.folder / "data"),
            "HOUNSFIELD_DATABASE": self.url,
            "HOUNSFIELD_HTTP_PORT": str(self.port),
        }

    def echo(self) -> None:
        urllib.request.urlopen(f"http://{HOST}:{self.port}/healthz", timeout=5).close()


def prepare(database: SqlDatabase) -> str:
    """Bring it to this release's schema; a token that may read."""
    database.migrate()
    clock = SystemClock()
    accounts.first_admin(database, clock, "bench-only-password")
    return tokens.create(database, clock, "system", "admin", [str(Permission.STUDIES_READ)])[1]


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
        url = url_of(address)
        database = open_bench_database(url)
        token, archive, kind = prepare(database), look(database), database.describe()["kind"]
        database.close()
        with WebRole(url) as server:
            found = measure(server.port, token, archive, given.runs)
        met = met and all(one.p50 < _TARGET[0] and one.p99 < _TARGET[1] for one in found[:-1])
        rows = [[one.name, *(f"{x:.2f}" for x in (one.rows, one.p50, one.p99, one.longest))] for one in found]
        heads = ["query", "matches", "p50 ms", "p99 ms", "longest ms"]
        parts.append(
            f"{kind}, {archive.studies} studies of {archive.patients} patients\n\n{table(heads, rows)}"
        )
    goal = f"p50 < {_TARGET[0]:.0f} ms and p99 < {_TARGET[1]:.0f} ms over one connection"
    parts.append(f"{goal}: {'met' if met else 'missed'}")
    report("QIDO-RS", "\n\n".join(parts))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
