"""Whether the server's certificate will do, and for how long."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Judged:
    """What is wrong with a certificate ('' for nothing), and for how many days it is valid."""

    fault: str
    days: int


def judge_certificate(certificate: Path, key: Path | None, authorities: Path | None) -> Judged:
    """Load the files as the server does, and shake hands with ourselves to see the dates."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        if authorities is not None:
            server.load_verify_locations(authorities)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself
        client.load_verify_locations(certificate)
        expires = _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        return Judged(f"{certificate}: {error.verify_message}", 0)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        return Judged(f"{certificate}: {error.args[-1] if error.args else error}", 0)
    return Judged("", int((expires - time.time()) // 86400))


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> float:
    """A handshake in memory; when the server's certificate ends (seconds since 1970)."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    waiting = [theirs, ours]
    for _ in range(10):  # TLS 1.3 needs three flights
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            break
    shown = theirs.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(shown.get("notAfter", "Jan  1 00:00:00 1970 GMT")))
