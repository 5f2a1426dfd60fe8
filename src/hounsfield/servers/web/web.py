"""What the handlers of the web role share, and how they reach it."""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from starlette.requests import HTTPConnection

from hounsfield.domain.access import Principal, Scope
from hounsfield.ports.blobs import Blobs
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database
from hounsfield.ports.peers import Peers
from hounsfield.ports.pixels import Transcoder
from hounsfield.ports.rendering import Renderer
from hounsfield.servers.web.located import Located
from hounsfield.servers.web.passwords import Passwords
from hounsfield.services import tracing
from hounsfield.services.datasets import DataSets
from hounsfield.services.reading import Reader
from hounsfield.services.recorder import Recorder
from hounsfield.services.scratch import Scratch
from hounsfield.services.sign_in import SignIn
from hounsfield.services.store import Store
from hounsfield.settings import Settings

if TYPE_CHECKING:
    from hounsfield.servers.web.audit import Audit

T = TypeVar("T")
P = ParamSpec("P")

#: A Host header that may become part of an address: a name, an IPv4 or a bracketed IPv6 address, and a port.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")


@dataclass(slots=True)
class Web:
    """What the role needs; `main` puts it together. One for each process."""

    name: str  # of this process among the roles: "web-1"
    settings: Settings
    clock: Clock
    database: Database
    blobs: Blobs
    peers: Peers
    store: Store
    reader: Reader
    data_sets: DataSets
    transcoder: Transcoder
    renderer: Renderer
    recorder: Recorder
    access: SignIn
    audit: Audit
    threads: ThreadPoolExecutor
    passwords: Passwords
    #: Requests whose objects are being received now.
    uploads: int = 0
    #: Studies seen a moment ago, until when (`seeing`).
    seen: dict[tuple[Scope, str], float] = field(default_factory=dict)
    #: Objects asked for a moment ago.
    located: Located = field(default_factory=Located)

    @property
    def scratch(self) -> Scratch:
        """Where what is made for one answer waits. (STOW's bulk data are in the same folder.)"""
        return Scratch(self.settings.data / "uploads", self.room_left)

    def room_left(self) -> int:
        """Bytes that the disk has left for what is not kept."""
        return self.blobs.free_bytes() - (self.settings.min_free << 20)

    async def beside_loop(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what waits for a database or a disk on a thread: never on the event loop."""
        loop = asyncio.get_running_loop()
        if not tracing.on():
            return await loop.run_in_executor(self.threads, lambda: call(*args, **kwargs))
        name = getattr(call, "__qualname__", type(call).__name__)
        with tracing.span(name):
            context = contextvars.copy_context()  # spans within the call are children of this one
            return await loop.run_in_executor(self.threads, lambda: context.run(call, *args, **kwargs))


def of(request: HTTPConnection) -> Web:
    """The role that serves this request."""
    web: Web = request.app.state.web
    return web


def principal(request: HTTPConnection) -> Principal:
    """Who asks, as the guard has found out."""
    found: Principal = request.state.principal
    return found


def address(request: HTTPConnection) -> str:
    """Where the request comes from: behind a trusted proxy, the address that the proxy tells."""
    return request.client.host if request.client is not None else ""


def base_url(request: HTTPConnection) -> str:
    """Scheme, host and port by which the client reaches us, without a slash at the end: what addresses in
    answers (RetrieveURL, Location) begin with. `public_url` where that is set."""
    if public := of(request).settings.public_url:
        return public
    host = request.headers.get("host", "")
    if not _HOST.match(host):
        host = "localhost"
    return f"{request.scope.get('scheme', 'http')}://{host}"
