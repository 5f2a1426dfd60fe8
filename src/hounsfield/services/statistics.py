"""What the archive holds and has to do, as gauges for monitoring: looked up when they are asked for."""

from __future__ import annotations

import threading

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database

#: Counting a large archive takes a while: not more often than this.
COUNT_SECONDS = 60.0
_lock = threading.Lock()
_counted: dict[int, tuple[float, dict[str, int]]] = {}


def counts(database: Database, clock: Clock) -> dict[str, int]:
    """patients, studies, series, instances, quarantine, bytes: at most a minute old."""
    with _lock:
        at, found = _counted.get(id(database), (float("-inf"), {}))
        if clock.monotonic() - at >= COUNT_SECONDS:
            with database.read() as tx:
                found = dict(tx.index.counts())
            _counted.clear()
            _counted[id(database)] = (clock.monotonic(), found)
        return found


def gauges(database: Database, blobs: Blobs, clock: Clock) -> list[Metric]:
    kept = GaugeMetricFamily("hounsfield_kept", "What the archive holds.", labels=["what"])
    for what, count in counts(database, clock).items():
        kept.add_metric([what], count)
    jobs = GaugeMetricFamily("hounsfield_jobs", "Jobs by kind and state.", labels=["kind", "state"])
    devices = GaugeMetricFamily("hounsfield_devices", "Devices by state.", labels=["state"])
    with database.read() as tx:
        for (kind, state), count in tx.jobs.counts().items():
            jobs.add_metric([kind, state], count)
        states = [str(device.state) for device in tx.devices.all()]
    for state in sorted(set(states)):
        devices.add_metric([state], states.count(state))
    free = GaugeMetricFamily("hounsfield_disk_free_bytes", "Free bytes on the disk of the data folder.")
    free.add_metric([], blobs.free_bytes())
    return [kept, jobs, devices, free]
