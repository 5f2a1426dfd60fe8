"""Traces (OpenTelemetry): from an association or a request to the disk, where a collector is named.

Without one, `span` costs a look at a global. Attributes are words and counts of ours: no patient data, and
nothing of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Attribute = str | int | float | bool
_NOTHING: AbstractContextManager[None] = nullcontext()
_tracer: Tracer | None = None
#: Spans that bring objects, by the association of the objects' origin: rounds that keep them belong there.
_bringing: dict[str, Span] = {}


def configure(endpoint: str, role: str, version: str) -> Callable[[], None]:
    """Send the spans of this process to an OTLP collector. Returns what to call at the end: it sends what
    still waits."""
    global _tracer
    if not endpoint:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create(
        {"service.name": "hounsfield", "service.version": version, "service.instance.id": role}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = provider.get_tracer("hounsfield", version)

    def end() -> None:
        global _tracer
        _tracer = None
        provider.shutdown()

    return end


def on() -> bool:
    """Whether spans go anywhere: for who would have to compute something for them."""
    return _tracer is not None


def span(
    name: str, attributes: Mapping[str, Attribute] | None = None, carrier: Mapping[str, str] | None = None
) -> AbstractContextManager[Span | None]:
    """A span around a block, child of the one around it. `carrier`: headers of a request that may name the
    caller's (W3C Trace Context)."""
    if _tracer is None:
        return _NOTHING
    return _spanned(_tracer, name, attributes, carrier)


@contextmanager
def _spanned(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, Attribute] | None,
    carrier: Mapping[str, str] | None,
) -> Iterator[Span]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract(carrier) if carrier else None
    with tracer.start_as_current_span(name, context, attributes=attributes) as one:
        yield one


def begin_bringing(association: str, name: str, attributes: Mapping[str, Attribute] | None = None) -> None:
    """A span that lasts until `end_bringing`, for objects whose origin has this association."""
    if _tracer is not None:
        _bringing[association] = _tracer.start_span(name, attributes=attributes)


def end_bringing(association: str, attributes: Mapping[str, Attribute]) -> None:
    """The end of it, with what is known only now."""
    span = _bringing.pop(association, None)
    if span is not None:
        span.set_attributes(attributes)
        span.end()


def round_span(associations: Iterable[str]) -> AbstractContextManager[Span | None]:
    """A span around one round. It is part of the span that brings its objects, or linked to all of them."""
    if _tracer is None:
        return _NOTHING
    spans = [_bringing[one] for one in sorted(set(associations)) if one in _bringing]
    return _round(_tracer, spans)


@contextmanager
def _round(tracer: Tracer, bringing: Sequence[Span]) -> Iterator[Span]:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, set_span_in_context

    context: Context = set_span_in_context(bringing[0]) if len(bringing) == 1 else Context()
    links = [Link(span.get_span_context()) for span in bringing] if len(bringing) > 1 else None
    with tracer.start_as_current_span("round", context, links=links) as one:
        yield one
