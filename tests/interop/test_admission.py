"""Devices that nobody wrote down, where the policy is to wait for a person."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import Verification

from support_server import Archive, keys, loaded, study, wait_for


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(tmp_path_factory.mktemp("guarded"), unknown_devices="quarantine")
    made.start()
    made.start("worker")
    made.device("TEST")
    yield made
    made.stop()


def test_from_unknown_to_admitted(guarded: Archive) -> None:
    files = study(3)
    one = loaded(files[0])
    since = guarded.mark()
    assert guarded.store(*files, title="NEWSCAN") == [0, 0, 0], "accepted, into quarantine"
    held = guarded.held(device="NEWSCAN")
    assert len(held) == 3 and {h.reason for h in held} == {"unknown-device"}
    assert guarded.instances(study=one.StudyInstanceUID) == []
    assert guarded.find("STUDY", StudyInstanceUID=one.StudyInstanceUID) == []
    seen = guarded.event("device.seen", since)
    assert (seen.subjects.device, seen.payload["address"]) == ("NEWSCAN", "127.0.0.1")
    waiting = guarded.cli("device", "list", "--state", "waiting")
    assert [d["name"] for d in waiting] == ["NEWSCAN"]

    with guarded.associate(Verification, Find, title="NEWSCAN") as association:
        assert association.send_c_echo().Status == 0
        (status, _), *_ = association.send_c_find(keys("STUDY", StudyInstanceUID=""), Find)
    assert status.Status == 0x0124 and "waits to be admitted" in status.ErrorComment

    assert guarded.cli("device", "admit", "NEWSCAN")["state"] == "admitted"
    wait_for(lambda: len(guarded.instances(study=one.StudyInstanceUID)) == 3, "they did not come in")
    assert len(guarded.find("STUDY", StudyInstanceUID=one.StudyInstanceUID)) == 1
    assert guarded.held(device="NEWSCAN") == []
    more = study(1)
    assert guarded.store(*more, title="NEWSCAN") == [0]
    assert len(guarded.instances(study=loaded(more[0]).StudyInstanceUID)) == 1, "no detour from now on"


def test_refused(guarded: Archive) -> None:
    guarded.echoes("UNWANTED")
    guarded.event("device.seen", calling="UNWANTED")
    guarded.cli("device", "refuse", "UNWANTED")
    since = guarded.mark()
    with guarded.associate(Verification, title="UNWANTED") as association:
        assert association.is_rejected
    why = str(guarded.event("association.rejected", since).payload["why"])
    assert "refused by a person" in why


def test_seen_once_however_often_it_calls_at_the_same_time(guarded: Archive) -> None:
    with (
        guarded.associate(Verification, title="TWICE") as first,
        guarded.associate(Verification, title="TWICE") as second,
    ):
        assert first.is_established and second.is_established
    guarded.event("device.seen", calling="TWICE")
    named = [d["name"] for d in guarded.cli("device", "list") if d["ae_title"] == "TWICE"]
    assert named == ["TWICE"]


def test_a_known_device_from_another_address(guarded: Archive) -> None:
    guarded.device("ROOM1", calling_addresses=("10.1.2.0/24",))
    since = guarded.mark()
    with guarded.associate(Verification, title="ROOM1") as association:
        assert association.is_rejected
    assert "may not call from this address" in str(
        guarded.event("association.rejected", since).payload["why"]
    )
    guarded.device("ROOM2", calling_addresses=("127.0.0.0/8",))
    assert guarded.echoes("ROOM2")
