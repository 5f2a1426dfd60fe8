"""Listening sockets that several processes can share."""

from __future__ import annotations

import errno
import socket

from hounsfield.domain.errors import ConfigurationError


def bind(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Bound sockets for every address of `host`; `shared` with other processes that say so too (the kernel
    then deals connections out). Raises ConfigurationError."""
    bound: list[socket.socket] = []
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            sock = socket.socket(family, kind, protocol)
            bound.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
    except OSError as error:
        for sock in bound:
            sock.close()
        raise ConfigurationError(
            f"Port {port} of {host} cannot be listened on: {_why(error)}",
            "Stop the program that has it (`hounsfield doctor` looks), or give another port or host",
        ) from error
    return bound


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there"
    return error.strerror or str(error)
