"""What the web role tells of itself: numbers, traces, the log; and the ledger, of who read what."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from hounsfield.domain.access import Role
from hounsfield.domain.events import Event
from hounsfield.services import metrics, tracing
from support_accounts import quick_passwords
from support_services import part10
from support_web import WebArchive, wait_for

__all__ = ["quick_passwords"]
pytestmark = pytest.mark.usefixtures("quick_passwords")
SECRET = "1.2.999.888.777"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[WebArchive]:
    with WebArchive(tmp_path, log_level="info") as archive:
        yield archive


def samples(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_numbers_of_every_role_are_shown_without_patient_data(archive: WebArchive, tmp_path: Path) -> None:
    archive.store(part10("1.2.3.4.5", study=SECRET, patient="SECRETPATIENT"))
    run = archive.settings.data / "run"
    run.mkdir(exist_ok=True)
    (run / "dicom-7.prom").write_text(
        "# HELP hounsfield_store_round_seconds a\n# TYPE hounsfield_store_round_seconds histogram\n"
        'hounsfield_store_round_seconds_bucket{le="+Inf"} 41.0\nhounsfield_store_round_seconds_count 41.0\n'
        "hounsfield_store_round_seconds_sum 3.0\n"
    )
    with archive.client() as client:
        for _ in range(3):
            assert client.get(f"/api/studies/{SECRET}").status_code == 200
        client.request("PURGE", "/api/session")
        text = client.get("/metrics").text
    counted = samples(text, "hounsfield_web_request_seconds_count")
    route = (("method", "GET"), ("role", "web-1"), ("route", "/api/studies/{study}"), ("status", "200"))
    assert counted[route] >= 3
    assert not any("PURGE" in str(labels) for labels in counted)
    assert samples(text, "hounsfield_store_round_seconds_count")[(("role", "dicom-7"),)] == 41
    assert samples(text, "hounsfield_kept")[(("what", "studies"),)] == 1
    assert SECRET not in text and "SECRETPATIENT" not in text


def test_a_role_leaves_its_numbers_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "run" / "dicom-1.prom"
    before = metrics.REGISTRY.get_sample_value("hounsfield_store_round_objects_sum") or 0
    metrics.round_ended(0.01, 5, 1000)
    metrics.happened(
        [
            Event("association.ended", 1, payload={"how": "released", "seconds": 2}),
            Event("query.answered", 1, payload={"level": "<script>", "milliseconds": 20}),
        ]
    )
    with metrics.Writing(tmp_path, "dicom-1"):
        text = wait_for(lambda: path.exists() and path.read_text(), "the numbers are written")
    assert not path.exists(), "a role that has ended leaves none"
    assert samples(text, "hounsfield_store_round_objects_sum")[()] == before + 5
    assert samples(text, "hounsfield_dicom_association_seconds_count")[(("how", "released"),)] >= 1
    assert samples(text, "process_resident_memory_bytes")
    assert "<script>" not in text


def test_each_request_is_a_line_of_the_log_without_what_it_named(
    archive: WebArchive, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hounsfield.web")
    with archive.client() as client:
        client.get(f"/api/studies/{SECRET}", params={"patient": "SECRETPATIENT"})
    line = wait_for(lambda: [r for r in caplog.records if r.name == "hounsfield.web"], "it is told")[-1]
    told = line.__dict__
    assert (told["method"], told["route"], told["status"]) == ("GET", "/api/studies/{study}", 404)
    assert told["ms"] >= 0
    whole = json.dumps([str(record.__dict__) for record in caplog.records if "hounsfield" in record.name])
    assert SECRET not in whole and "SECRETPATIENT" not in whole and archive.admin_token not in whole


def test_many_requests_for_a_study_are_told_once(archive: WebArchive) -> None:
    archive.store(part10("1.2.3.4.5", study=SECRET))
    reader = archive.account("reader", Role.RADIOLOGIST)
    with archive.client(reader) as client:
        for _ in range(20):
            client.get(f"/api/studies/{SECRET}")
    events = wait_for(lambda: archive.events("study.accessed", study=SECRET), "it is in the ledger")
    assert sum(e.payload["requests"] for e in events) == 20 or len(events) <= 3
    archive.web.audit.flush()
    wait_for(
        lambda: sum(e.payload["requests"] for e in archive.events("study.accessed", study=SECRET)) == 20,
        "all are counted",
    )
    assert {(e.actor, e.payload["address"]) for e in events} == {("user:reader", "127.0.0.1")}


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    came: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.came.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_traces_go_from_the_request_to_the_database(archive: WebArchive) -> None:
    came: list[ExportTraceServiceRequest] = []
    handler = type("Handler", (Collector,), {"came": came})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    archive.store(part10("1.2.3.4.5", study=SECRET))
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    try:
        end = tracing.configure(f"http://127.0.0.1:{server.server_port}/v1/traces", "web-1", "0")
        with archive.client() as client:
            client.get(f"/api/studies/{SECRET}", headers={"traceparent": caller})
            stored = client.post(
                "/dicom-web/studies",
                content=part10("1.2.3.4.6", study=SECRET),
                headers={"Content-Type": "application/dicom", "Accept": "application/dicom+json"},
            )
            assert stored.status_code == 200
        end()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    spans = [s for one in came for r in one.resource_spans for scope in r.scope_spans for s in scope.spans]
    request = next(s for s in spans if s.name == "GET /api/studies/{study}")
    assert request.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    below = [s for s in spans if s.parent_span_id == request.span_id]
    assert below and all(s.trace_id == request.trace_id for s in below)
    store, upload, round_ = (
        next(s for s in spans if s.name == name) for name in ("POST /dicom-web/studies", "upload", "round")
    )
    assert (upload.parent_span_id, round_.parent_span_id) == (store.span_id, upload.span_id)
    assert SECRET not in str(came)


def test_without_a_collector_a_span_is_nothing() -> None:
    assert not tracing.on()
    assert tracing.span("a") is tracing.span("b")
