"""docs/reference/metrics.md: every metric of /metrics, made from the code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from hounsfield.services import metrics, statistics

TEXT = f"""\
`/metrics` of the web role shows its own numbers and those of all roles on the machine, in the exposition
format of Prometheus, with the label `role` (`dicom-1`, `worker-1`, `web-1`). A role writes its numbers every
{metrics.WRITE_SECONDS:g} seconds. Without a web role, the textfile collector of node_exporter reads the same
files: `run/*{metrics.SUFFIX}` in the data folder. How Prometheus signs in:
[tokens](../howto/tokens.md#send-it).

A histogram is three series: its name with `_bucket` (and the label `le`), `_sum` and `_count`. A counter's
name ends in `_total`; beside both there is `_created`. No label has anything in it that a client or an object
brought."""

#: Label -> what stands in it.
LABELS = {
    "method": "method of HTTP, or `other`",
    "route": "template of the path, such as `/dicom-web/studies/{study}`; `none` where there is no such path",
    "status": "status of HTTP; 0 where the client went away first",
    "how": "`released`, `aborted-by-peer`, `aborted-by-us`, `lost` or `dropped`",
    "result": "`accepted` or `rejected`",
    "level": "query level, or `other`",
    "verb": "`get` or `move`",
    "kind": "kind of job",
    "outcome": "`done`, `failed`, `postponed` or `stopped`",
    "what": "`patients`, `studies`, `series`, `instances`, `quarantine`; `bytes` of objects",
    "state": "state of the job, or of the device",
}


class Described(NamedTuple):
    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def page(note: str) -> str:
    lines = [note, "# Metrics", "", TEXT, "", "## Of every role", "", *_table(of_roles())]
    old = f"Without the label `role`. Counts are at most {statistics.COUNT_SECONDS:g} seconds old."
    lines += ["", "## Of the archive", "", old, "", *_table(of_archive())]
    lines += ["", "## Of each process", "", *_table(of_process())]
    lines += ["", "## Labels", "", "| Label | In it |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in LABELS.items()]
    return "\n".join(lines) + "\n"


def of_roles() -> Iterator[Described]:
    """What `services.metrics` counts."""
    for name, one in vars(metrics).items():
        if isinstance(one, MetricWrapperBase):
            yield _described(name, one)
    yield from (_family(family) for family in metrics._Rounds().collect())


def _described(name: str, one: MetricWrapperBase) -> Described:
    assert name.isupper(), name
    return Described(one._name + _ending(one._type), one._type, one._labelnames, one._documentation)


def of_archive() -> Iterator[Described]:
    """Gauges of `services.statistics`, of an archive with nothing in it."""

    @contextmanager
    def read() -> Iterator[Any]:
        empty = SimpleNamespace(counts=dict)
        yield SimpleNamespace(index=empty, jobs=empty, devices=SimpleNamespace(all=tuple))

    database: Any = SimpleNamespace(read=read)
    blobs: Any = SimpleNamespace(free_bytes=lambda: 0)
    clock: Any = SimpleNamespace(monotonic=lambda: 0.0)
    for family in statistics.gauges(database, blobs, clock):
        yield _family(family)


def of_process() -> Iterator[Described]:
    """What prometheus_client tells of a process."""
    return (_family(family) for family in ProcessCollector(registry=None).collect())


def _family(family: Metric) -> Described:
    labels = tuple(getattr(family, "_labelnames", ()))
    return Described(family.name + _ending(family.type), family.type, labels, family.documentation)


def _ending(kind: str) -> str:
    return "_total" if kind == "counter" else ""


def _table(rows: Iterator[Described]) -> list[str]:
    lines = ["| Metric | Kind | Labels | Meaning |", "| --- | --- | --- | --- |"]
    for one in rows:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.text} |")
    return lines


if __name__ == "__main__":
    sys.stdout.write(page(""))
