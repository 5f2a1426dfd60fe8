"""What monitoring asks for: counters and histograms of every role, in the exposition format of Prometheus.

A role keeps its numbers in memory and writes them every few seconds into `run/<name>.prom` of the data
folder; the web role's /metrics shows its own and those of all roles beside it, with the label `role`. (The
textfile collector of node_exporter reads the same files, on a machine without a web role.) Labels are words
of ours, never what a client or an object brought.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from hounsfield.domain.events import Event

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
SUFFIX = ".prom"
REGISTRY = CollectorRegistry()

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)

WEB_SECONDS = Histogram(
    "hounsfield_web_request_seconds",
    "From the request's head to the last byte of the answer.",
    ("method", "route", "status"),
    buckets=_FAST,
    registry=REGISTRY,
)
ASSOCIATION_SECONDS = Histogram(
    "hounsfield_dicom_association_seconds",
    "How long associations lasted.",
    ("how",),
    buckets=_LONG,
    registry=REGISTRY,
)
ASSOCIATIONS = Counter(
    "hounsfield_dicom_associations", "Requests for an association.", ("result",), registry=REGISTRY
)
QUERY_SECONDS = Histogram(
    "hounsfield_dicom_query_seconds",
    "From a C-FIND to its last answer.",
    ("level",),
    buckets=_FAST,
    registry=REGISTRY,
)
RETRIEVE_SECONDS = Histogram(
    "hounsfield_dicom_retrieve_seconds",
    "Duration of C-GET, C-MOVE and sends.",
    ("verb",),
    buckets=_LONG,
    registry=REGISTRY,
)
RETRIEVED_BYTES = Counter(
    "hounsfield_dicom_retrieved_bytes", "Bytes sent by them.", ("verb",), registry=REGISTRY
)
REFUSED = Counter("hounsfield_dicom_refused", "DIMSE requests answered with a failure.", registry=REGISTRY)
JOB_SECONDS = Histogram(
    "hounsfield_job_seconds",
    "How long one attempt at a job took.",
    ("kind", "outcome"),
    buckets=_LONG,
    registry=REGISTRY,
)

_LEVELS = frozenset({"PATIENT", "STUDY", "SERIES", "IMAGE"})


class Tally:
    """What a histogram counts, in a tenth of the time: for what happens thousands of times a second, on one
    thread at a time."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def family(self, name: str, documentation: str) -> Metric:
        upto = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = list(zip(upto, accumulate(self.counts), strict=True))
        return HistogramMetricFamily(name, documentation, buckets, self.total)


class _Rounds(Collector):
    """Rounds of the intake log."""

    def __init__(self) -> None:
        self.seconds = Tally(*_FAST)
        self.objects = Tally(1, 2, 4, 8, 16, 32, 64, 128, 256)
        self.bytes = 0

    def collect(self) -> Iterator[Metric]:
        yield self.seconds.family(
            "hounsfield_store_round_seconds", "One round of storing: its write and its sync."
        )
        yield self.objects.family(
            "hounsfield_store_round_objects", "Objects that a round made durable together."
        )
        yield CounterMetricFamily("hounsfield_store_bytes", "Bytes of them.", self.bytes)


_rounds = _Rounds()
REGISTRY.register(_rounds)


def round_ended(seconds: float, objects: int, size: int) -> None:
    """One round of the intake log is durable: `size` in bytes."""
    _rounds.seconds.add(seconds)
    _rounds.objects.add(objects)
    _rounds.bytes += size


def happened(events: Iterable[Event]) -> None:
    """Count what the recorder writes down: so the DIMSE roles need no counting of their own."""
    for event in events:
        payload = event.payload
        match event.type:
            case "association.accepted":
                ASSOCIATIONS.labels("accepted").inc()
            case "association.rejected":
                ASSOCIATIONS.labels("rejected").inc()
            case "association.ended":
                ASSOCIATION_SECONDS.labels(str(payload.get("how", ""))).observe(_number(payload, "seconds"))
            case "query.answered":
                level = str(payload.get("level", "")).upper()
                known = level if level in _LEVELS else "other"
                QUERY_SECONDS.labels(known).observe(_number(payload, "milliseconds") / 1000)
            case "retrieve.ended":
                verb = str(payload.get("verb", ""))
                RETRIEVE_SECONDS.labels(verb).observe(_number(payload, "seconds"))
                RETRIEVED_BYTES.labels(verb).inc(_number(payload, "bytes"))
            case "message.refused":
                REFUSED.inc()


def _number(payload: Mapping[str, object], name: str) -> float:
    value = payload.get(name, 0)
    return max(0.0, float(value)) if isinstance(value, int | float) else 0.0


class Writing:
    """While it is open, a thread writes the role's numbers into the folder every few seconds."""

    def __init__(self, data: Path, name: str) -> None:
        self.path = data / "run" / f"{name}{SUFFIX}"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def __enter__(self) -> None:
        _with_process_numbers()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                draft = self.path.with_suffix(".draft")
                draft.write_bytes(generate_latest(REGISTRY))
                draft.replace(self.path)
            except OSError as error:
                log.warning("the numbers for monitoring cannot be written", extra={"why": str(error)})
            if self._end.wait(WRITE_SECONDS):
                return


def exposition(data: Path, name: str, more: Iterable[Metric] = ()) -> bytes:
    """Own numbers, as role `name`, those of the roles that run beside us, and `more` as it is."""
    families: dict[str, Metric] = {}
    _merge(families, REGISTRY.collect(), name)
    for path in sorted((data / "run").glob(f"*{SUFFIX}")):
        if path.stem == name:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue  # that role has just stopped
        _merge(families, text_string_to_metric_families(text), path.stem)
    return generate_latest(_Families([*families.values(), *more]))


def _merge(into: dict[str, Metric], families: Iterable[Metric], role: str) -> None:
    for family in families:
        merged = into.get(family.name)
        if merged is None:
            merged = into[family.name] = Metric(family.name, family.documentation, family.type)
        for sample in family.samples:
            merged.samples.append(sample._replace(labels={**sample.labels, "role": role}))


class _Families(CollectorRegistry, Collector):
    """What was merged, as `generate_latest` wants it."""

    def __init__(self, families: list[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


_process: list[ProcessCollector] = []


def _with_process_numbers() -> None:
    """CPU, memory and descriptors of this process, once."""
    if not _process:
        _process.append(ProcessCollector(registry=REGISTRY))
