"""The load generator: a process of its own that sends C-STOREs as fast as the server answers them.

`python -m bench.load SPEC` with SPEC a JSON object {host, port, called, associations, objects, rows, columns,
key, series}; `series` is how many objects a series has, 0 for all of an association. Each series is a study
of its own, whose UID is `study_uid(key, association, series)`.

It makes every byte first and prints `ready`; a line on standard input starts the clock; the result is one
JSON line. Each association waits for its C-STORE-RSP before the next object, as asynchronous operations are
1/1. Only what passes on the sockets happens while the clock runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bench import pdus
from hounsfield.hospital.synthetic import bulk_study_uid, ct_series

_CONTEXTS = (pdus.Context(1, pdus.CT_IMAGE_STORAGE, (pdus.EXPLICIT_LE,)),)
_STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"  # Status (0000,0900), length 2


def _key(key: str, association: int, series: int) -> str:
    return f"{key}/{association}/{series}"


def study_uid(key: str, association: int = 0, series: int = 0) -> str:
    """Study Instance UID of what a load with this key sends."""
    return bulk_study_uid(_key(key, association, series))


def streams(spec: dict[str, Any], association: int, count: int, maximum: int) -> list[bytes]:
    """Each object as the whole sequence of PDUs that stores it."""
    out = []
    each = spec["series"] or count
    objects = (
        part10
        for series in range(-(-count // each))
        for part10 in ct_series(
            min(each, count - series * each),
            spec["rows"],
            spec["columns"],
            key=_key(spec["key"], association, series),
        )
    )
    for index, part10 in enumerate(objects):
        data, sop_class, sop_instance = pdus.data_set_of(part10)
        request = pdus.c_store_request(index % 0xFFFF + 1, sop_class, sop_instance)
        parts = [*pdus.fragments(1, True, request, maximum), *pdus.fragments(1, False, data, maximum)]
        out.append(b"".join(parts))
    return out


def _send(
    association: pdus.Association, objects: list[bytes], seconds: list[float], problems: list[str]
) -> None:
    sock = association.sock
    sendall, receive, clock = sock.sendall, sock.recv, time.perf_counter
    for stream in objects:
        begun = clock()
        sendall(stream)
        answer = receive(4096)
        while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
            more = receive(4096)
            if not more:
                problems.append("the server closed the connection")
                return
            answer += more
        seconds.append(clock() - begun)
        at = answer.rfind(_STATUS)  # the last: a message id may look like it
        if answer[0] != 4 or at < 0 or answer[at + 8 : at + 10] != b"\0\0":
            problems.append(f"answer is not a success: {answer.hex()}")
            return


class Heartbeat:
    """Finds the time for which the whole machine stood still, as a virtual machine does that its host pauses:
    a thread that wakes every 20 ms and for a second could not."""

    def __init__(self) -> None:
        self.stopped = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._done.wait(0.02):
            now = time.perf_counter()
            if now - last > 1:
                self.stopped += now - last
            last = now

    def end(self) -> float:
        self._done.set()
        self._thread.join()
        return self.stopped


def run(spec: dict[str, Any]) -> dict[str, Any]:
    address = (spec["host"], spec["port"])
    probe = pdus.Association(address, spec["called"], _CONTEXTS)
    maximum = probe.maximum
    if 1 not in probe.contexts:
        raise pdus.PeerError("CT Image Storage in Explicit VR Little Endian was not accepted")
    probe.release()
    each = spec["objects"] // spec["associations"]
    work = [streams(spec, number, each, maximum) for number in range(spec["associations"])]
    associations = [pdus.Association(address, spec["called"], _CONTEXTS) for _ in work]
    seconds: list[float] = []
    problems: list[str] = []
    threads = [
        threading.Thread(target=_send, args=(association, objects, seconds, problems))
        for association, objects in zip(associations, work, strict=True)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    heart = Heartbeat()
    cpu, begun = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
    stopped = heart.end()
    if stopped:
        print(f"the machine stood still for {stopped:.1f} s, which are left out", file=sys.stderr)
        elapsed -= stopped
    if len(seconds) != each * len(work):
        problems.append(f"{len(seconds)} of {each * len(work)} objects were answered")
    if problems:
        raise pdus.PeerError("; ".join(problems[:3]))
    for association in associations:
        association.release()
    seconds.sort()
    return {
        "objects": len(seconds),
        "seconds": elapsed,
        "rate": len(seconds) / elapsed,
        "bytes": sum(map(len, work[0])) // each,
        "maximum_pdu": maximum,
        "p50_ms": seconds[len(seconds) // 2] * 1000,
        "p99_ms": seconds[int(len(seconds) * 0.99)] * 1000,
        "client_cpu": cpu,
    }


class Load:
    """The generator as its caller sees it: made ready, then started, then asked for its result."""

    def __init__(self, spec: dict[str, Any]) -> None:
        root = Path(__file__).resolve().parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load", json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin"},
        )
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            self._process.wait()
            raise pdus.PeerError("the load generator did not get ready; what it said stands above")

    def go(self) -> dict[str, Any]:
        out, _ = self._process.communicate("go\n")
        if self._process.returncode:
            raise pdus.PeerError("the load generator failed; what it said stands above")
        result: dict[str, Any] = json.loads(out)
        return result


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
