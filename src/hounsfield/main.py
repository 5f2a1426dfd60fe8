"""The composition root: the only file that knows everyone. `hounsfield` begins here."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import uvloop

import hounsfield
from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.adapters.peers_dimse import DimsePeers, PeerSettings
from hounsfield.adapters.pixel_pool import PixelPool
from hounsfield.adapters.rendering.renderer import Renderer
from hounsfield.adapters.sql.database import open_database
from hounsfield.adapters.transcode import Transcoder
from hounsfield.cli.app import app
from hounsfield.cli.importing import bar
from hounsfield.cli.output import Output
from hounsfield.cli.welcome import welcome
from hounsfield.domain.errors import ConfigurationError, ConflictError, NotFoundError
from hounsfield.domain.events import Event
from hounsfield.ports.blobs import IntakeLog
from hounsfield.ports.clock import SystemClock
from hounsfield.ports.database import Database
from hounsfield.servers import program_log
from hounsfield.servers.descriptors import raise_descriptor_limit
from hounsfield.servers.dicom.server import Services
from hounsfield.servers.dicom.serving import serve_dicom
from hounsfield.servers.process import orphaned, settle_interpreter, stop_this_process
from hounsfield.servers.sockets import bind
from hounsfield.servers.supervisor import Role, Supervised, Supervisor
from hounsfield.servers.web.web import Web
from hounsfield.servers.worker import Lane, Periodic, Worker, tell_of_dead
from hounsfield.services.accounts import ADMIN, first_admin
from hounsfield.services.archive import Archive
from hounsfield.services.commitment import REPORT_COMMITMENT, Reporter
from hounsfield.services.datasets import DataSets
from hounsfield.services.devices import DeviceBook
from hounsfield.services.importing import Import
from hounsfield.services.indexing import PACK_SERIES
from hounsfield.services.packing import Packer
from hounsfield.services.reading import Reader
from hounsfield.services.recorder import Recorder
from hounsfield.services.recovery import recover
from hounsfield.services.releasing import RELEASE_QUARANTINE, Releaser
from hounsfield.services.rounds import Rounds
from hounsfield.services.running import noted
from hounsfield.services.store import Store
from hounsfield.services.sweeping import sweep, sweep_left
from hounsfield.settings import Settings
from hounsfield.web_role import make_web, observed, serve_web

MIB = 1 << 20
#: Seconds that a log may still be held by a process that is going away.
LOG_WAIT = 10.0
#: Seconds between two looks for blobs that nothing names any more.
SWEEP_SECONDS = 30.0
#: Seconds between two looks for files that a crash has left.
SWEEP_LEFT_SECONDS = 6 * 3600.0
#: Seconds between two looks for jobs that killed their process, and so nobody told of.
DEAD_SECONDS = 60.0


class Program:
    """The wiring of `cli.wiring.Wiring`."""

    def __init__(self) -> None:
        self.pixels = PixelPool()
        self.transcoder = Transcoder(pool=self.pixels)

    # Archives ------------------------------------------------------------------------------------------

    @contextmanager
    def open(self, settings: Settings, *, make: bool = False, writer: str = "cli") -> Iterator[Archive]:
        """An archive. Its database is brought to this release's schema."""
        if not make and not settings.database and not (settings.data / "hounsfield.sqlite").exists():
            raise NotFoundError(
                f"There is no archive in {settings.data}",
                "Start one with `hounsfield serve`, or name another folder with --data",
            )
        make_data_folder(settings.data)
        clock = SystemClock()
        with ExitStack() as stack:
            database = open_database(settings.database_url, ledger_writer(settings, writer), clock)
            stack.callback(database.close)
            database.migrate()
            blobs = DiskBlobs(
                settings.data,
                segment_size=settings.segment_size * MIB,
                spare_segments=settings.spare_segments,
                min_free_bytes=settings.min_free * MIB,
            )
            stack.callback(blobs.close)
            peers = make_peers(settings, self.transcoder, Reader(database, blobs))
            yield Archive(settings, database, blobs, clock, peers)

    @contextmanager
    def store(self, archive: Archive, purpose: str) -> Iterator[Store]:
        settings = archive.settings
        log = open_log(archive, purpose)
        try:
            rounds = Rounds(
                log,
                archive.database,
                archive.clock,
                writer=purpose,
                settle=settings.settle_seconds,
                remove=archive.blobs.remove,
            )
            store = Store(
                rounds,
                archive.clock,
                large=settings.large_object * MIB,
                budget=settings.memory_budget * MIB,
            )
            try:
                yield store
            finally:
                store.close()
        finally:
            log.close()

    def peers(
        self, settings: Settings, archive: Archive | None = None, store: Store | None = None
    ) -> DimsePeers:
        reader = Reader(archive.database, archive.blobs) if archive is not None else None
        return make_peers(settings, self.transcoder, reader, store)

    # Roles ---------------------------------------------------------------------------------------------

    def run_dicom(self, settings: Settings, name: str) -> None:
        if not settings.dicom_port and not settings.tls:
            raise ConfigurationError("There is no port to listen on", "Set dicom_port, or a certificate")
        program_log.configure(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        supervised = Supervised(orphaned)
        with ExitStack() as stack:
            archive = stack.enter_context(self.open(settings, make=True, writer=name))
            # its chain of the ledger is another than that of the store rounds: neither waits for the other
            beside = open_database(
                settings.database_url, ledger_writer(settings, f"{name}-steps"), archive.clock
            )
            stack.callback(beside.close)
            recorder = Recorder(beside)
            stack.callback(recorder.close)
            store = stack.enter_context(self.store(archive, name))
            book = DeviceBook(beside, archive.clock, settings.unknown_devices, settings.loopback)
            services = Services(
                settings=settings,
                clock=archive.clock,
                store=store,
                devices=book,
                recorder=recorder,
                database=beside,
                blobs=archive.blobs,
                peers=archive.peers,
                transcoder=self.transcoder,
            )
            store.rounds.indexer.on_set_back = stop_this_process
            stack.enter_context(in_the_ledger(archive, "dicom", name))
            stack.enter_context(observed(settings, name))
            settle_interpreter()
            uvloop.run(serve_dicom(services, supervised, name, self.transcoder.close))
            if store.rounds.indexer.set_back:
                raise SystemExit(1)  # whoever started us starts us again

    def run_web(self, settings: Settings, name: str) -> None:
        if not settings.http_port:
            raise ConfigurationError("There is no port to listen on", "Set http_port")
        program_log.configure(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        supervised = Supervised(orphaned)
        with self.web(settings, name) as web:
            given = settings.admin_password.get_secret_value()
            if not supervised.attached and (password := first_admin(web.database, web.clock, given)):
                Output(as_json=False).say(f"Login      {ADMIN} / {password}   (shown this once)")
            settle_interpreter()
            uvloop.run(serve_web(web, supervised, self.transcoder.close))
            if web.store.rounds.indexer.set_back:
                raise SystemExit(1)  # whoever started us starts us again

    @contextmanager
    def web(self, settings: Settings, name: str) -> Iterator[Web]:
        """Everything that the web role needs, from its start to its end in the ledger."""
        with ExitStack() as stack:
            archive = stack.enter_context(self.open(settings, make=True, writer=name))
            writer = ledger_writer(settings, f"{name}-steps")
            beside = stack.enter_context(closing(open_database(settings.database_url, writer, archive.clock)))
            store = stack.enter_context(self.store(archive, name))
            store.rounds.indexer.on_set_back = stop_this_process
            self.pixels.resize(settings.pixel_processes)
            renderer = Renderer(self.pixels)
            web = make_web(archive, beside, store, self.transcoder, renderer, name)
            stack.enter_context(in_the_ledger(archive, "web", name))
            yield stack.enter_context(web)

    def run_worker(self, settings: Settings, name: str) -> None:
        program_log.configure(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        supervised = Supervised(orphaned)
        with self.open(settings, make=True, writer=name) as archive:
            worker = make_worker(archive, f"{socket.gethostname()}:{name}:{os.getpid()}")
            with (
                in_the_ledger(archive, "worker", name),
                noted(settings.data, name, "", []),
                observed(settings, name),
            ):
                supervised.ready()
                worker.run(settings.shutdown_seconds)

    def serve(self, settings: Settings, config: Path | None, *, demo: bool) -> None:
        """First what only one process may do, then the roles."""
        program_log.configure(settings.log_level, settings.log_format)
        raise_descriptor_limit()
        out = Output(as_json=False)
        check_ports(settings)
        with self.open(settings, make=True, writer="serve") as archive:
            recover(archive.database, archive.blobs, archive.clock, settle=settings.settle_seconds)
            password = first_admin(
                archive.database, archive.clock, settings.admin_password.get_secret_value()
            )
            if demo:
                self._bring_in_demo(archive, out)
        names = [f"dicom-{number + 1}" for number in range(settings.dicom_workers)]
        program = [sys.executable, "-m", "hounsfield.main"]
        roles = [Role(name, [*program, "dicom", "--name", name]) for name in names]
        roles.append(Role("worker-1", [*program, "worker", "--name", "worker-1"]))
        for number in range(settings.web_workers if settings.http_port else 0):
            roles.append(Role(f"web-{number + 1}", [*program, "web", "--name", f"web-{number + 1}"]))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HOUNSFIELD_")}
        supervisor = Supervisor(
            roles, environment | settings.environment(), shutdown=settings.shutdown_seconds
        )
        told = welcome(settings, password, demo=demo)
        code = asyncio.run(supervisor.run(lambda: out.say(told)))
        if code:
            raise SystemExit(code)

    def _bring_in_demo(self, archive: Archive, out: Output) -> None:
        """Once: what is deleted or changed afterwards stays so."""
        from hounsfield.hospital.demo import SOURCE, bring_in_synthetic, real_files  # slow to import

        with archive.database.read() as tx:
            if tx.settings.get("demo") is not None:
                return
        out.say("Bringing in the demo studies; this happens once.")
        folder = real_files()
        with self.store(archive, "import") as store:
            with bar(out.errors, [folder]) as progress:
                run = Import(
                    store,
                    archive.database,
                    archive.clock,
                    state=archive.settings.data / "imports",
                    progress=progress,
                    source=SOURCE,
                )
                report = run.run([folder])
            out.say(f"{report.new} objects of pydicom's test files are in; making the synthetic studies.")
            with out.errors.status("Making a CT chest and an MR head with priors") as status:
                new = bring_in_synthetic(
                    store, report.run, lambda done: status.update(f"{done} synthetic objects are in")
                )
        out.say(f"{new} synthetic objects are in.")
        with archive.database.write() as tx:
            tx.settings.set("demo", {"at": archive.clock.now(), "objects": report.new + new})


def make_worker(archive: Archive, owner: str) -> Worker:
    """Every job that there is, and what is done every so often."""
    database, blobs, clock = archive.database, archive.blobs, archive.clock
    settle = float(archive.settings.settle_seconds)
    handlers = {
        PACK_SERIES: Packer(database, blobs, clock, settle=settle).handle,
        RELEASE_QUARANTINE: Releaser(database, clock, settle=settle).handle,
        REPORT_COMMITMENT: Reporter(database, blobs, clock, archive.peers).handle,
    }
    lanes = [
        Lane("packing", (PACK_SERIES,)),
        Lane("decisions", (RELEASE_QUARANTINE,)),
        Lane("commitment", (REPORT_COMMITMENT,), threads=2),
    ]
    periodic = [
        Periodic("sweep", SWEEP_SECONDS, lambda lease: sweep(database, blobs, lease)),
        Periodic("left", SWEEP_LEFT_SECONDS, lambda lease: sweep_left(database, blobs, clock, lease)),
        Periodic("dead", DEAD_SECONDS, lambda _: tell_of_dead(database, clock)),
    ]
    return Worker(database, clock, handlers, owner=owner, lanes=lanes, periodic=periodic)


def make_peers(
    settings: Settings, transcoder: Transcoder, reader: Reader | None, store: Store | None = None
) -> DimsePeers:
    """`reader` for what we send, `store` for what our own C-GET brings."""
    peer_settings = PeerSettings(settings.ae_title, tls=client_tls(settings))
    data_sets = DataSets(reader) if reader is not None else None
    return DimsePeers(peer_settings, data_sets, transcoder, store)


def client_tls(settings: Settings) -> ssl.SSLContext | None:
    """TLS towards peers. Those of our own authorities are known by them, since devices are called by
    address and their certificates seldom name one; without, the system's authorities and names count."""
    context = ssl.create_default_context(cafile=settings.tls_client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.tls_client_ca is None
    if settings.tls_certificate is not None:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def open_log(archive: Archive, writer: str) -> IntakeLog:
    """The log of `writer`, after what it holds beyond its checkpoint was entered into the index."""
    end = time.monotonic() + LOG_WAIT
    while True:
        recover(archive.database, archive.blobs, archive.clock, settle=archive.settings.settle_seconds)
        try:
            return archive.blobs.open_log(writer)
        except ConflictError:  # held by one that replays it, or is on its way out
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def ledger_writer(settings: Settings, name: str) -> str:
    """Which chain of the ledger: where machines share a database, each has its own."""
    return f"{socket.gethostname()}:{name}" if settings.database.startswith("postgresql") else name


@contextmanager
def in_the_ledger(archive: Archive, role: str, name: str) -> Iterator[None]:
    """server.started and, after a good end, server.stopped."""
    started: dict[str, object] = {
        "role": role,
        "version": hounsfield.__version__,
        "settings": archive.settings.public() | {"name": name},
    }
    write_event(archive.database, Event("server.started", archive.clock.now(), payload=started))
    yield
    write_event(archive.database, Event("server.stopped", archive.clock.now(), payload={"role": role}))


def write_event(database: Database, event: Event) -> None:
    with database.write() as tx:
        tx.ledger.append([event])


def make_data_folder(data: Path) -> None:
    """For us alone: it holds patient data."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {data} cannot be made: {error.strerror}", "Name another one with --data"
        ) from error


def check_ports(settings: Settings) -> None:
    """Fail here, with one sentence, and not in every role. Raises ConfigurationError."""
    dicom = [(settings.host, settings.dicom_port), (settings.host, settings.dicom_tls_port * settings.tls)]
    for host, port in [*dicom, (settings.web_host, settings.http_port)]:
        for sock in bind(host, port, shared=False) if port else []:
            sock.close()


def main() -> None:
    os.umask(0o027)  # what we write is patient data, also where the data folder was made by others
    program_log.keep_values_out()
    program = Program()
    try:
        app(obj=program)
    finally:
        program.transcoder.close()


if __name__ == "__main__":
    main()
