"""Ten objects of 1 GiB at the same time: how much the resident memory of all server processes grows.

    python -m bench.large [--objects 10] [--mib 1024] [--settle]

The data set is streamed from one buffer of 4 MiB, so the sender's memory says nothing. With --settle, memory
is watched until the objects are in their series packs, too.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import threading
import time
from collections.abc import Iterator, Sequence

from bench import pdus
from bench.peers import WORK, Hounsfield, Server, sweep
from bench.receive import SIZES, measure
from bench.tables import report, table
from hounsfield.hospital.synthetic import ct_series

_COLUMNS = 16384
_CONTEXT = pdus.Context(1, pdus.CT_IMAGE_STORAGE, (pdus.EXPLICIT_LE,))


class Watch:
    """The most that a server's processes have in memory at one time, sampled 20 times a second."""

    def __init__(self, server: Server) -> None:
        self.before = self.most = server.resident()
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._done.wait(0.05):
            self.most = max(self.most, self._server.resident())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        return (self.most - self.before) / 2**20


def _header(number: int, rows: int) -> tuple[bytes, str]:
    """Data set of a CT image of rows x 16384 pixels up to its pixels, and its SOP Instance UID."""
    part10 = next(ct_series(1, 1, _COLUMNS, key=f"large/{number}"))
    data, _, sop_instance = pdus.data_set_of(part10)
    header = bytearray(data[: -_COLUMNS * 2])
    at = header.index(b"\x28\x00\x10\x00US\x02\x00") + 8
    header[at : at + 2] = struct.pack("<H", rows)
    header[-4:] = struct.pack("<I", rows * _COLUMNS * 2)
    return bytes(header), sop_instance


def _stream(header: bytes, rows: int, maximum: int) -> Iterator[bytes]:
    """PDUs of the data set: the header, then the pixels from one template of PDUs sent over and over."""
    yield b"".join(pdus.fragments(1, False, header, maximum)).replace(b"\x01\x02", b"\x01\x00", 1)
    step = maximum - 6 & ~1
    left = rows * _COLUMNS * 2
    whole = struct.pack(">BxIIBB", 4, step + 6, step + 2, 1, 0) + bytes(step)
    several = max(1, (4 << 20) // len(whole))
    template = whole * several
    while left > step * several:
        yield template
        left -= step * several
    while left > step:
        yield whole
        left -= step
    yield struct.pack(">BxIIBB", 4, left + 6, left + 2, 1, 2) + bytes(left)


def _send(server: Server, number: int, rows: int, problems: list[str]) -> None:
    try:
        association = pdus.Association(server.address, server.called, (_CONTEXT,))
        header, sop_instance = _header(number, rows)
        association.send(1, pdus.c_store_request(1, pdus.CT_IMAGE_STORAGE, sop_instance))
        for piece in _stream(header, rows, association.maximum):
            association.sock.sendall(piece)
        response = association.read_command()
        if response[0x0900] != b"\0\0":
            problems.append(f"status {response[0x0900].hex()} {response.get(0x0902, b'').decode()}")
        association.release()
    except (OSError, pdus.PeerError) as error:
        problems.append(str(error))


def run(objects: int, mib: int, settle: bool) -> str:
    rows = mib * 2**20 // (_COLUMNS * 2)
    with Hounsfield(settle_seconds=5 if settle else 3600) as server:
        measure(server, SIZES[0], 4, "warm", 0.2)
        problems: list[str] = []
        cpu, begun = server.cpu(), time.perf_counter()
        with Watch(server) as watch:
            threads = [
                threading.Thread(target=_send, args=(server, number, rows, problems))
                for number in range(objects)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds, cpu = time.perf_counter() - begun, server.cpu() - cpu
            if problems:
                raise pdus.PeerError("; ".join(problems[:3]))
            if settle:
                server.wait_until_settled(1800)
    row = [objects, mib, watch.before / 2**20, watch.grown_mib, objects * mib / seconds, cpu]
    heads = ["objects", "MiB each", "MiB before", "MiB grown", "MiB/s", "CPU s"]
    until = "until all were in their packs" if settle else "while they came"
    return (
        table(heads, [row])
        + f"\n\nResident memory of all processes, {until}. Goal: grows by less than 256 MiB."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.large")
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--mib", type=int, default=1024, help="size of each, up to 2047")
    parser.add_argument("--settle", action="store_true", help="watch until they are in their series packs")
    chosen = parser.parse_args(arguments)
    if why := Hounsfield.missing():
        print(f"left out: {why}")
        return
    WORK.mkdir(exist_ok=True)
    needed = (chosen.objects * chosen.mib * (2 if chosen.settle else 1) << 20) + (4 << 30)
    if (free := shutil.disk_usage(WORK).free) < needed:
        print(f"left out: needs {needed >> 30} GiB of disk at {WORK}, {free >> 30} GiB are free")
        return
    report("Large objects", run(chosen.objects, chosen.mib, chosen.settle))


if __name__ == "__main__":
    main()
    sweep()
