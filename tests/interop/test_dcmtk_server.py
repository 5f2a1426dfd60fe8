"""DCMTK's servers, with our own client."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless

from hounsfield.domain.errors import PeerError
from hounsfield.domain.query import Level
from support_ours import Ours, ours, peer, statuses
from support_peers import Certificates, serving
from support_server import free_port, loaded, study

pytestmark = pytest.mark.peer("dcmtk")


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Ours]:
    with ours(tmp_path) as made:
        yield made


def test_echo_and_send_to_storescp(mine: Ours, tmp_path: Path) -> None:
    files = study(20, pixels=bytes(70_000))
    mine.keep(*files)
    port = free_port()
    out = tmp_path / "out"
    out.mkdir()
    with serving("storescp", "--fork", "-od", out, "-aet", "SCP", port, port=port, folder=tmp_path):
        assert mine.echo(peer(port))["implementation_version"].startswith("OFFIS_DCMTK")
        results = mine.send(peer(port))
    assert statuses(results) == [0] * 20
    came = {pydicom.dcmread(path).SOPInstanceUID for path in out.iterdir()}
    assert came == {loaded(f).SOPInstanceUID for f in files}


def test_one_association_after_the_other_is_enough(mine: Ours, tmp_path: Path) -> None:
    """storescp without --fork serves one association at a time; ours are opened side by side."""
    mine.keep(*study(30))
    port = free_port()
    with serving("storescp", "--ignore", "-aet", "SCP", port, port=port, folder=tmp_path):
        assert statuses(mine.send(peer(port))) == [0] * 30


def test_a_peer_that_takes_few_syntaxes(mine: Ours, tmp_path: Path) -> None:
    """What it takes goes, the rest fails with the reason."""
    compressed = Path(get_testdata_file("693_J2KR.dcm")).read_bytes()
    plain = study(2)
    mine.keep(*plain, compressed)
    port = free_port()
    with serving("storescp", "+xe", "--ignore", "-aet", "SCP", port, port=port, folder=tmp_path):
        by_uid = {r.sop_instance_uid: r for r in mine.send(peer(port))}
    assert [by_uid[loaded(f).SOPInstanceUID].status for f in plain] == [0, 0]
    refused = by_uid[loaded(compressed).SOPInstanceUID]
    assert refused.status == 0xC000
    assert JPEG2000Lossless in refused.reason and "takes only" in refused.reason


def test_tls(mine: Ours, tmp_path: Path, certificates: Certificates) -> None:
    mine.keep(*study(3))
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.check_hostname = False
    context.load_cert_chain(certificates.client, certificates.client_key)
    port = free_port()
    secure = ("+tls", certificates.server_key, certificates.server, "+cf", certificates.authority)
    with serving("storescp", *secure, "--ignore", "-aet", "SCP", port, port=port, folder=tmp_path):
        with ours(tmp_path / "other", tls=context) as with_certificate:
            assert with_certificate.echo(peer(port, tls=True))
        stranger = ssl.create_default_context(cafile=str(certificates.authority))
        stranger.check_hostname = False
        with ours(tmp_path / "third", tls=stranger) as without, pytest.raises(PeerError, match=r"TLS|broke"):
            without.echo(peer(port, tls=True))
        with pytest.raises(PeerError):
            mine.echo(peer(port))


@pytest.fixture
def qrscp(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """A dcmqrscp that knows us, and where to send what it moves to DEST; its port. Options by parameter."""
    options: tuple[str, ...] = getattr(request, "param", ())
    port, destination = free_port(), free_port()
    storage = tmp_path / "storage"
    storage.mkdir()
    config = tmp_path / "dcmqrscp.cfg"
    config.write_text(
        f"""NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
ours = (HOUNSFIELD, 127.0.0.1, {destination})
dest = (DEST, 127.0.0.1, {destination})
peers = ours, dest
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QRSCP {storage} RW (500, 1024mb) ANY
AETable END
"""
    )
    (tmp_path / "destination").write_text(str(destination))
    with serving("dcmqrscp", *options, "-c", config, port=port, folder=tmp_path):
        yield port


def test_find_get_and_move_at_dcmqrscp(mine: Ours, tmp_path: Path, qrscp: int) -> None:
    files = study(12, PatientName="Wire^Peer", patient="QR1")
    one = loaded(files[0])
    mine.keep(*files)
    there = peer(qrscp, "QRSCP")
    assert statuses(mine.send(there)) == [0] * 12

    found = mine.find(there, Level.STUDY, PatientID="QR1", StudyInstanceUID="", PatientName="")
    assert [f["StudyInstanceUID"] for f in found] == [one.StudyInstanceUID]
    assert found[0]["PatientName"] == "Wire^Peer"
    keys = {"StudyInstanceUID": one.StudyInstanceUID, "SeriesInstanceUID": one.SeriesInstanceUID}
    assert len(mine.find(there, Level.IMAGE, SOPInstanceUID="", **keys)) == 12
    assert mine.find(there, Level.PATIENT, model="patient", PatientID="QR1")[0]["PatientID"] == "QR1"

    with ours(tmp_path / "fresh") as fresh:
        counts = fresh.get(there, Level.STUDY, StudyInstanceUID=one.StudyInstanceUID)
        assert (counts.completed, counts.failed, counts.remaining) == (12, 0, 0)
        assert fresh.uids == {loaded(f).SOPInstanceUID for f in files}

    destination = int((tmp_path / "destination").read_text())
    out = tmp_path / "moved"
    out.mkdir()
    with serving("storescp", "-od", out, "-aet", "DEST", destination, port=destination, folder=tmp_path):
        counts = mine.move(there, Level.STUDY, "DEST", StudyInstanceUID=one.StudyInstanceUID)
    assert (counts.completed, counts.failed) == (12, 0)
    assert len(list(out.iterdir())) == 12


@pytest.mark.parametrize("qrscp", [("-QP", "-QS")], indirect=True, ids=["of that model alone"])
def test_patient_study_only_at_dcmqrscp(mine: Ours, tmp_path: Path, qrscp: int) -> None:
    """The retired model (PS3.4 C.6.3), at a peer that knows no other."""
    model = "patient-study-only"
    files = study(4, patient="PSO1")
    one = loaded(files[0])
    mine.keep(*files)
    there = peer(qrscp, "QRSCP")
    assert statuses(mine.send(there)) == [0] * 4
    keys = {"PatientID": "PSO1", "StudyInstanceUID": one.StudyInstanceUID}
    assert mine.find(there, Level.PATIENT, model, PatientID="PSO1")[0]["PatientID"] == "PSO1"
    found = mine.find(there, Level.STUDY, model, PatientID="PSO1", StudyInstanceUID="")
    assert [f["StudyInstanceUID"] for f in found] == [one.StudyInstanceUID]
    for level, named in ((Level.STUDY, keys), (Level.PATIENT, {"PatientID": "PSO1"})):
        with ours(tmp_path / level.name) as fresh:
            counts = fresh.get(there, level, model, **named)
            assert (counts.completed, counts.failed, counts.remaining) == (4, 0, 0)
            assert fresh.uids == {loaded(f).SOPInstanceUID for f in files}
    destination = int((tmp_path / "destination").read_text())
    out = tmp_path / "moved"
    out.mkdir()
    with serving("storescp", "-od", out, "-aet", "DEST", destination, port=destination, folder=tmp_path):
        counts = mine.move(there, Level.STUDY, "DEST", model, **keys)
    assert (counts.completed, counts.failed) == (4, 0)
    assert len(list(out.iterdir())) == 4
    with pytest.raises(PeerError, match="no presentation context"):
        mine.move(there, Level.STUDY, "DEST", **keys)


def test_a_move_to_whom_the_peer_does_not_know(mine: Ours, qrscp: int) -> None:
    files = study(1)
    mine.keep(*files)
    mine.send(peer(qrscp, "QRSCP"))
    with pytest.raises(PeerError, match="A801"):
        mine.move(
            peer(qrscp, "QRSCP"), Level.STUDY, "NOBODY", StudyInstanceUID=loaded(files[0]).StudyInstanceUID
        )


def test_a_peer_that_is_not_there(mine: Ours) -> None:
    with pytest.raises(PeerError, match="refuses the connection"):
        mine.echo(peer(free_port()))


def test_a_peer_that_rejects_us(mine: Ours, tmp_path: Path) -> None:
    port = free_port()
    with (
        serving("storescp", "--refuse", port, port=port, folder=tmp_path),
        pytest.raises(PeerError, match="rejected the association"),
    ):
        mine.echo(peer(port))


def test_a_peer_that_aborts_within_a_store(mine: Ours, tmp_path: Path) -> None:
    mine.keep(*study(3))
    port = free_port()
    with (
        serving("storescp", "--abort-during", "--ignore", "-aet", "SCP", port, port=port, folder=tmp_path),
        pytest.raises(PeerError, match="broke off"),
    ):
        mine.send(peer(port))
