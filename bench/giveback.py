"""MB/s at which a CT of 400 images (512 KiB each) comes back by C-GET and by C-MOVE, as ratios to Orthanc.

python -m bench.giveback [--only NAME ...] [--repetitions 5] [--images 400]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from bench import pdus
from bench.load import study_uid
from bench.peers import HOST, Hounsfield, Orthanc, Server, available, sweep, wait_after_sweep
from bench.receive import Size, measure, warm_memory
from bench.receiver import Sink, Stream, Tally, serve_stores
from bench.tables import report, table

_EXPLICIT = (pdus.EXPLICIT_LE,)
_COMPLETED, _FAILED, _WARNING = 0x1021, 0x1022, 0x1023


class Given(NamedTuple):
    rate: float  # MB/s, of data set bytes
    cpu_ms: float  # server CPU for each object
    associations: int
    largest_pdu: int


def _identifier(study: str) -> bytes:
    return pdus.identifier(((0x00080052, "CS", "STUDY"), (0x0020000D, "UI", study)), explicit=True)


def _check(response: dict[int, bytes], tally: Tally, images: int) -> None:
    """The final response says that all went, and all came."""
    status = int.from_bytes(response[0x0900], "little")
    failed = int.from_bytes(response.get(_FAILED, b"\0"), "little")
    if status or failed or tally.objects != images or tally.bytes < images * 512 * 512 * 2:
        raise pdus.PeerError(
            f"status {status:04X}, {failed} failed; {tally.objects} of {images} objects came, "
            f"{tally.bytes} bytes"
        )


def get(server: Server, study: str, images: int) -> Given:
    contexts = (
        pdus.Context(1, pdus.STUDY_ROOT_GET, _EXPLICIT),
        pdus.Context(3, pdus.CT_IMAGE_STORAGE, _EXPLICIT, scp=True),
    )
    association = pdus.Association(server.address, server.called, contexts)
    stream, tally = Stream(association.sock), Tally()
    before, begun = server.cpu(), time.perf_counter()
    association.send(1, pdus.query_request(pdus.C_GET_RQ, 1, pdus.STUDY_ROOT_GET), _identifier(study))
    while True:
        response = serve_stores(stream, association.maximum, tally)
        if response is None:
            raise pdus.PeerError("the server released the association before its final response")
        if int.from_bytes(response[0x0900], "little") not in pdus.PENDING:
            break
    seconds, cpu = time.perf_counter() - begun, server.cpu() - before
    association.release()
    _check(response, tally, images)
    return Given(tally.bytes / seconds / 1e6, cpu / images * 1000, 1, tally.largest_pdu)


def move(server: Server, study: str, images: int, sink: Sink) -> Given:
    context = pdus.Context(1, pdus.STUDY_ROOT_MOVE, _EXPLICIT)
    association = pdus.Association(server.address, server.called, (context,))
    sink.take()
    before, begun = server.cpu(), time.perf_counter()
    request = pdus.query_request(pdus.C_MOVE_RQ, 1, pdus.STUDY_ROOT_MOVE, "SINK")
    association.send(1, request, _identifier(study))
    while True:
        response = association.read_command()
        if int.from_bytes(response[0x0900], "little") not in pdus.PENDING:
            break
    seconds, cpu = time.perf_counter() - begun, server.cpu() - before
    association.release()
    tally, associations = sink.take()
    if sink.errors:
        raise pdus.PeerError(f"the sink: {sink.errors[0]}")
    _check(response, tally, images)
    return Given(tally.bytes / seconds / 1e6, cpu / images * 1000, associations, tally.largest_pdu)


def run(kinds: Sequence[type[Server]], repetitions: int, images: int) -> dict[tuple[str, str], list[Given]]:
    sink = Sink()
    results: dict[tuple[str, str], list[Given]] = defaultdict(list)
    for kind in kinds:
        server = kind()
        if isinstance(server, Orthanc):
            server.sink_port = sink.port
        with server:
            if isinstance(server, Hounsfield):
                server.run("device", "add", "sink", f"SINK@{HOST}:{sink.port}")
            measure(server, Size("512 KiB", 512, 512, images), 1, "giveback")
            study = study_uid("giveback")
            os.sync()
            for _ in range(repetitions):
                for name in ("C-GET", "C-MOVE"):
                    warm_memory(64 << 20)
                    given = (
                        get(server, study, images) if name == "C-GET" else move(server, study, images, sink)
                    )
                    results[name, kind.name].append(given)
                    print(
                        f"{kind.name:10} {name:6} {given.rate:7.0f} MB/s {given.cpu_ms:6.2f} ms", flush=True
                    )
    sink.close()
    return results


def summary(results: dict[tuple[str, str], list[Given]], kinds: Sequence[type[Server]], images: int) -> str:
    rows: list[list[object]] = []
    for name in ("C-GET", "C-MOVE"):
        orthanc = [given.rate for given in results.get((name, Orthanc.name), ())]
        for kind in kinds:
            given = results[name, kind.name]
            rate = statistics.median(one.rate for one in given)
            rows.append(
                [
                    name,
                    kind.name,
                    rate,
                    max(one.rate for one in given),
                    statistics.median(one.cpu_ms for one in given),
                    max(one.associations for one in given),
                    max(one.largest_pdu for one in given),
                    f"{rate / statistics.median(orthanc):.2f}" if orthanc else "",
                ]
            )
    heads = ["", "server", "MB/s", "best", "CPU ms/object", "associations", "largest PDU", "/ orthanc"]
    return (
        f"{table(heads, rows)}\n\n{images} images of 512 KiB; medians; files in the page cache; the receiver "
        f"advertises PDUs of {pdus.LARGEST_PDU} bytes. Goal: at least 2 times Orthanc's MB/s."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench.giveback")
    parser.add_argument("--only", nargs="+", default=[Hounsfield.name, Orthanc.name])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--images", type=int, default=400)
    chosen = parser.parse_args(arguments)
    kinds = available(chosen.only)
    if kinds:
        wait_after_sweep()
        report("Give back", summary(run(kinds, chosen.repetitions, chosen.images), kinds, chosen.images))


if __name__ == "__main__":
    main()
    sweep()
