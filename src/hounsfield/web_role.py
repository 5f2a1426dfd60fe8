"""The composition of the web role: beside `main`, the only file that knows everyone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import hounsfield
from hounsfield.ports.database import Database
from hounsfield.ports.pixels import Transcoder
from hounsfield.ports.rendering import Renderer
from hounsfield.servers.sockets import bind
from hounsfield.servers.supervisor import Supervised
from hounsfield.servers.web.app import make_app
from hounsfield.servers.web.audit import Audit
from hounsfield.servers.web.passwords import Passwords
from hounsfield.servers.web.server import WebServer
from hounsfield.servers.web.web import Web
from hounsfield.services import metrics, tracing
from hounsfield.services.archive import Archive
from hounsfield.services.datasets import DataSets
from hounsfield.services.reading import Reader
from hounsfield.services.recorder import Recorder
from hounsfield.services.running import noted
from hounsfield.services.sign_in import SignIn
from hounsfield.services.store import Store
from hounsfield.settings import Settings

#: Threads for the database and for reading pixels.
THREADS = 16


@contextmanager
def make_web(
    archive: Archive, beside: Database, store: Store, transcoder: Transcoder, renderer: Renderer, name: str
) -> Iterator[Web]:
    """`beside`: the database of everything but the store's rounds, with a chain of the ledger of its own."""
    settings = archive.settings
    with ExitStack() as stack:
        recorder = Recorder(beside)
        stack.callback(recorder.close)
        access = SignIn(beside, archive.clock, settings)
        stack.callback(access.flush)
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="web")
        stack.callback(threads.shutdown, wait=True, cancel_futures=True)
        passwords = Passwords()
        stack.callback(passwords.close)
        reader = Reader(beside, archive.blobs)
        yield Web(
            name=name,
            settings=settings,
            clock=archive.clock,
            database=beside,
            blobs=archive.blobs,
            peers=archive.peers,
            store=store,
            reader=reader,
            data_sets=DataSets(reader, threads),
            transcoder=transcoder,
            renderer=renderer,
            recorder=recorder,
            access=access,
            audit=Audit(recorder, archive.clock),
            threads=threads,
            passwords=passwords,
        )


@contextmanager
def observed(settings: Settings, name: str) -> Iterator[None]:
    """While it is open, the process of a role tells monitoring of itself: numbers, and traces."""
    end_of_traces = tracing.configure(settings.otlp_endpoint, name, hounsfield.__version__)
    try:
        with metrics.Writing(settings.data, name):
            yield
    finally:
        end_of_traces()


async def serve_web(web: Web, supervised: Supervised, stop_converting: Callable[[], None]) -> None:
    """Listen until SIGTERM or SIGINT, then stop in good order."""
    settings = web.settings
    sockets = bind(settings.web_host, settings.http_port, shared=settings.web_workers > 1)
    server = WebServer(make_app(web), settings)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    if not supervised.attached:
        loop.add_signal_handler(signal.SIGINT, server.stop)
    serving = await server.until_listening(sockets)
    with (
        noted(settings.data, web.name, settings.web_host, [settings.http_port]),
        observed(settings, web.name),
    ):
        supervised.ready()
        await serving
        web.audit.flush()
        stop_converting()
