"""Who may associate."""

from __future__ import annotations

import pytest

from hounsfield.domain.admit import UnknownDevices, admit, may, nearest
from hounsfield.domain.device import Admission, Device, DeviceState

ACCEPT, QUARANTINE, REFUSE = Admission.ACCEPT, Admission.QUARANTINE, Admission.REFUSE


@pytest.mark.parametrize(
    ("policy", "loopback", "expected"),
    [
        (UnknownDevices.AUTO, True, ACCEPT),
        (UnknownDevices.AUTO, False, QUARANTINE),
        (UnknownDevices.ACCEPT, False, ACCEPT),
        (UnknownDevices.QUARANTINE, True, QUARANTINE),
        (UnknownDevices.REFUSE, True, REFUSE),
    ],
)
def test_unknown_devices(policy: UnknownDevices, loopback: bool, expected: Admission) -> None:
    verdict = admit("NEW", "10.0.0.1", [], policy, loopback)
    assert (verdict.admission, verdict.device) == (expected, None)
    waiting = Device("NEW", "NEW", state=DeviceState.WAITING)
    assert admit("NEW", "10.0.0.1", [waiting], policy, loopback).admission is expected


@pytest.mark.parametrize("policy", UnknownDevices)
def test_what_a_person_decided_counts_under_every_policy(policy: UnknownDevices) -> None:
    admitted, refused = Device("A", "CT"), Device("R", "CT", state=DeviceState.REFUSED)
    assert admit("CT", "10.0.0.1", [admitted], policy, False).admission is ACCEPT
    verdict = admit("CT", "10.0.0.1", [refused], policy, True)
    assert verdict.admission is REFUSE and "refused by a person" in verdict.reason


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        (("10.1.0.0/16",), "10.1.2.3", ACCEPT),
        (("10.1.0.0/16",), "10.2.2.3", REFUSE),
        (("10.1.2.3",), "10.1.2.3", ACCEPT),
        (("10.9.0.0/16", "10.1.0.0/16"), "10.1.2.3", ACCEPT),
        (("10.1.0.0/16",), "::ffff:10.1.2.3", ACCEPT),
        (("fe80::/10",), "fe80::1%eth0", ACCEPT),
        (("10.1.0.0/16",), "not an address", REFUSE),
        (("no network",), "10.1.2.3", REFUSE),
    ],
)
def test_calling_addresses(networks: tuple[str, ...], address: str, expected: Admission) -> None:
    device = Device("A", "CT", calling_addresses=networks)
    assert admit("CT", address, [device], UnknownDevices.ACCEPT, True).admission is expected


def test_the_record_for_this_address_says_more_than_one_for_any() -> None:
    anywhere = Device("A", "CT", state=DeviceState.REFUSED)
    room = Device("B", "CT", calling_addresses=("10.1.0.0/16",))
    for known in ([anywhere, room], [room, anywhere]):
        verdict = admit("CT", "10.1.2.3", known, UnknownDevices.REFUSE, False)
        assert (verdict.admission, verdict.device) == (ACCEPT, room)
        assert admit("CT", "10.2.2.3", known, UnknownDevices.ACCEPT, True).admission is REFUSE


def test_roles() -> None:
    assert may(None, "store") and may(Device("A", "CT"), "commit")
    assert may(Device("A", "CT", roles=("store",)), "store")
    assert not may(Device("A", "CT", roles=("store",)), "query")


def test_nearest() -> None:
    known = ["HOUNSFIELD", "ORTHANC", "CT1"]
    assert nearest("HOUNSFEILD", known) == "HOUNSFIELD"
    assert nearest("orthanc", known) == "ORTHANC"
    assert nearest("SOMETHING", known) == ""
