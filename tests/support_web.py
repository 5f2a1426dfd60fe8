"""The web role as a real server on a free port, in a thread of the test, with a real archive in a folder."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvloop

from hounsfield.domain.access import ROLE_PERMISSIONS, Permission, Role
from hounsfield.domain.events import Event
from hounsfield.domain.stored import Origin
from hounsfield.main import Program
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.servers.sockets import bind
from hounsfield.servers.web.app import make_app
from hounsfield.servers.web.server import WebServer
from hounsfield.servers.web.web import Web
from hounsfield.services import accounts, tokens
from hounsfield.settings import Settings
from hounsfield.wire.dicomfile.part10 import read_meta

ADMIN, PASSWORD = "admin", "correct horse battery"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """What `condition` gives, once it is true."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        assert time.monotonic() < end, f"in {seconds} seconds: {what}"
        time.sleep(0.01)
    return got


class WebArchive:
    """`with WebArchive(tmp_path) as archive:`; `settings` are those of `Settings`.

    An administrator `admin` with the password `PASSWORD` is there, and a token of it that all clients of
    `client()` use.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        values: dict[str, Any] = {
            "data": folder / "data",
            "http_port": free_port(),
            "min_free": 0,
            "segment_size": 1,
            "spare_segments": 0,
            "settle_seconds": 0,
            "shutdown_seconds": 5,
            "log_level": "error",
            **settings,
        }
        self.settings = Settings(**values)
        self.web: Web
        self._program = Program()
        self._opened: Any = None
        self._server: WebServer | None = None
        self._thread: threading.Thread | None = None

    # Life ----------------------------------------------------------------------------------------------

    def __enter__(self) -> WebArchive:
        self._opened = self._program.web(self.settings, "web-1")
        self.web = self._opened.__enter__()
        accounts.first_admin(self.web.database, self.web.clock, PASSWORD)
        _, self.admin_token = tokens.create(
            self.web.database, self.web.clock, "system", ADMIN, [str(p) for p in Permission], label="tests"
        )
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), name="web-server")
        self._thread.start()
        wait_for(lambda: self._server is not None and self._server.started, "the server listens")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._opened.__exit__(None, None, None)
        self._program.transcoder.close()

    def stop(self) -> None:
        """As SIGTERM does."""
        if self._server is not None:
            self._server.stop()
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive(), "the server did not stop"
            self._thread = None

    async def _serve(self) -> None:
        sockets = bind(self.settings.web_host, self.settings.http_port, shared=False)
        server = WebServer(make_app(self.web), self.settings)
        serving = await server.until_listening(sockets)
        self._server = server
        await serving
        self.web.audit.flush()

    # Asking it -----------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        return self.settings.http_port

    @property
    def url(self) -> str:
        return f"{'https' if self.settings.https else 'http'}://127.0.0.1:{self.port}"

    def anonymous(self, **more: Any) -> httpx.Client:
        """Without credentials. `more`: of httpx.Client."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **more)

    def client(self, token: str = "", **more: Any) -> httpx.Client:
        """With a token; the administrator's unless another is given."""
        headers = {"Authorization": f"Bearer {token or self.admin_token}"} | more.pop("headers", {})
        return self.anonymous(headers=headers, **more)

    def signed_in(self, name: str = ADMIN, password: str = PASSWORD) -> httpx.Client:
        """With a session, and its CSRF token as a default header."""
        with self.anonymous() as client:
            answer = client.post("/login", data={"name": name, "password": password})
            assert answer.status_code == 303, answer.text
            token = client.get("/api/session").json()["csrf_token"]
            return self.anonymous(headers={"X-CSRF-Token": token}, cookies=client.cookies)

    # What is in it -------------------------------------------------------------------------------------

    def account(
        self,
        name: str,
        role: Role | str,
        password: str = PASSWORD,
        *,
        sites: tuple[str, ...] = (),
        studies: tuple[str, ...] = (),
    ) -> str:
        """A new account; a token of it with all that the account may."""
        web = self.web
        accounts.add(
            web.database,
            web.clock,
            "system",
            name,
            str(role),
            "" if role == Role.SERVICE else password,
            sites=sites,
            studies=studies,
        )
        permissions = [str(p) for p in ROLE_PERMISSIONS[Role(role)]]
        return tokens.create(web.database, web.clock, "system", name, permissions)[1]

    def store(self, *files: bytes, device: str = "TEST", site: str = "") -> None:
        """Store Part 10 files through the one way in; returns when they are in the index."""
        uids = []
        for data in files:
            meta = read_meta(data)
            origin = Origin("dimse", device, "test", "127.0.0.1", site)
            receiver = self.web.store.begin(
                meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, origin
            )
            receiver.write(data[meta.meta_length :])
            receiver.finish().result(30)
            uids.append(meta.sop_instance_uid)
        for uid in uids:
            wait_for(lambda uid=uid: self._located(uid), f"{uid} is in the index")

    def _located(self, sop: str) -> Any:
        with self.web.database.read() as tx:
            return tx.index.locate(sop)

    def events(self, *types: str, **where: str) -> list[Event]:
        """Of the ledger."""
        with self.web.database.read() as tx:
            return [r.event for r in tx.ledger.read(LedgerFilter(types=types, **where))]

    def event(self, kind: str, **payload: object) -> Event:
        """The first event of a kind whose payload holds these values, once it is there."""

        def found() -> Event | None:
            for event in self.events(kind):
                if all(event.payload.get(key) == value for key, value in payload.items()):
                    return event
            return None

        return wait_for(found, f"no {kind} with {payload} in the ledger")
