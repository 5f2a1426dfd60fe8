"""Who may associate, and what becomes of its objects: decided from the device records and the policy."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable, Sequence
from enum import StrEnum

from hounsfield.domain.device import Admission, Device, DeviceState, Verdict


class UnknownDevices(StrEnum):
    """What happens to a calling AE title that no device record knows."""

    AUTO = "auto"  # accepted while the server listens on loopback alone, else quarantine
    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


def admit(
    calling: str,
    address: str,
    known: Sequence[Device],
    policy: UnknownDevices,
    loopback_only: bool,
) -> Verdict:
    """Decide about an association request; `known` are the devices with that AE title."""
    fitting = [d for d in known if not d.calling_addresses or _within(address, d.calling_addresses)]
    # a record for this very address says more than one for any
    fitting.sort(key=lambda d: not d.calling_addresses)
    if known and not fitting:
        return Verdict(Admission.REFUSE, f"{calling} may not call from this address", known[0])
    for device in fitting:
        if device.state is DeviceState.REFUSED:
            return Verdict(Admission.REFUSE, f"{calling} was refused by a person", device)
        if device.state is DeviceState.ADMITTED:
            return Verdict(Admission.ACCEPT, "known device", device)
    device_or_none = fitting[0] if fitting else None
    if policy is UnknownDevices.REFUSE:
        return Verdict(Admission.REFUSE, f"{calling} is not a known device", device_or_none)
    if policy is UnknownDevices.ACCEPT or (policy is UnknownDevices.AUTO and loopback_only):
        return Verdict(Admission.ACCEPT, "unknown devices are accepted", device_or_none)
    return Verdict(Admission.QUARANTINE, "the device waits to be admitted", device_or_none)


def may(device: Device | None, role: str) -> bool:
    """Whether a device may use a role ("store", "query", "retrieve", "commit")."""
    return device is None or not device.roles or role in device.roles


def nearest(title: str, known: Iterable[str]) -> str:
    """Another known AE title that looks most like `title`, or '': for the person who mistyped one."""
    by_fold = {name.casefold(): name for name in known if name != title}
    close = difflib.get_close_matches(title.casefold(), by_fold, n=1, cutoff=0.75)
    return by_fold[close[0]] if close else ""


def _within(address: str, networks: Sequence[str]) -> bool:
    try:
        ip = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in network for network in map(_network, networks) if network is not None)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """None for what is no network: nobody calls from there."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
