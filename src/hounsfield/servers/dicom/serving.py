"""The dicom role from its ports to its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from hounsfield.servers.dicom.server import DicomServer, Services
from hounsfield.servers.sockets import bind
from hounsfield.servers.supervisor import Supervised
from hounsfield.services.running import noted


async def serve_dicom(
    services: Services, supervised: Supervised, name: str, stop_converting: Callable[[], None]
) -> None:
    """Listen until SIGTERM or SIGINT, then stop in good order."""
    settings = services.settings
    shared = settings.dicom_workers > 1
    plain = bind(settings.host, settings.dicom_port, shared=shared) if settings.dicom_port else []
    secure = bind(settings.host, settings.dicom_tls_port, shared=shared) if settings.tls else []
    ports = [settings.dicom_port] * bool(plain) + [settings.dicom_tls_port] * bool(secure)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    if not supervised.attached:
        loop.add_signal_handler(signal.SIGINT, stopping.set)
    server = DicomServer(services)
    await server.listen(plain, secure)
    with noted(settings.data, name, settings.host, ports):
        supervised.ready()
        await stopping.wait()
        await server.stop()
        stop_converting()
