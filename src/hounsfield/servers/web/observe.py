"""One request seen from outside: how long it took and how it ended, for the log, metrics and traces. The
route's template stands for the path, which may name a study."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from hounsfield.services import metrics, tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

log = logging.getLogger("hounsfield.web")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observed:
    """Around one request. `template` and `status` are filled in on the way."""

    __slots__ = ("_began", "_method", "_span", "_spanned", "status", "template")

    def __init__(self, scope: Scope, headers: Headers) -> None:
        self.template = ""
        self.status = 0
        method = scope["method"]
        self._method = method if method in _METHODS else "other"
        self._span: AbstractContextManager[Span | None] = tracing.span(
            "request", {"http.request.method": self._method}, headers if tracing.on() else None
        )

    def __enter__(self) -> Observed:
        self._began = time.perf_counter()
        self._spanned = self._span.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        seconds = time.perf_counter() - self._began
        route = self.template or "none"
        if self._spanned is not None:
            self._spanned.update_name(f"{self._method} {route}")
            self._spanned.set_attribute("http.route", route)
            self._spanned.set_attribute("http.response.status_code", self.status)
        self._span.__exit__(*raised)  # type: ignore[arg-type]  # what __exit__ itself was given
        metrics.WEB_SECONDS.labels(self._method, route, str(self.status)).observe(seconds)
        if log.isEnabledFor(logging.INFO):
            told = {"method": self._method, "route": route, "status": self.status}
            log.info("request", extra=told | {"ms": round(seconds * 1000, 1)})
