"""Where a request really comes from, when proxies stand between: only those that are listed are believed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.types import Scope

#: A longer chain of proxies is an attempt to make us work.
MOST_HOPS = 20
_FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via")


class Proxies:
    """`networks`: addresses or networks of the proxies that are believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in networks]
        self._trusts = lru_cache(maxsize=1024)(self._look)

    def trusts(self, address: str) -> bool:
        return bool(self._networks) and self._trusts(address)

    def settle(self, scope: Scope, headers: Headers) -> None:
        """Put the client's own address and scheme into the scope. X-Forwarded-For is read from its end, as
        far as the proxies are ours: what a client wrote itself stands before that."""
        client = scope.get("client")
        if client is None or not self.trusts(client[0]):
            return
        hops = [hop.strip() for value in headers.getlist("x-forwarded-for") for hop in value.split(",")]
        found = client[0]
        for hop in reversed(hops[-MOST_HOPS:]):
            address = _address(hop)
            if address is None:
                break
            found = address
            if not self.trusts(address):
                break
        scope["client"] = (found, 0)
        proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
        if proto in ("http", "https"):
            scope["scheme"] = proto

    def _look(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks if network.version == ip.version)


def is_nearby(peer: str, headers: Headers) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it."""
    return is_loopback(peer) and not any(name in headers for name in _FORWARDED)


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _address(hop: str) -> str | None:
    """An IP address of one hop, without port and brackets; None where it is none."""
    text = hop
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
