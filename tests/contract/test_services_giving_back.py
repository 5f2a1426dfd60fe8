"""Verify, extract, commitment, release: on the real adapters."""

import zipfile

import pytest

from hounsfield.domain.device import Device
from hounsfield.domain.errors import ConflictError, NotFoundError, PeerError, RefusedError
from hounsfield.domain.stored import Origin
from hounsfield.ports.jobs import JobState
from hounsfield.services import commitment
from hounsfield.services.extract import Extraction
from hounsfield.services.leases import NoLease
from hounsfield.services.reading import Reader
from hounsfield.services.releasing import RELEASE_QUARANTINE, Releaser, release_job
from hounsfield.services.verify import Verifier
from hounsfield.wire.dicomfile.part10 import read_meta
from support_services import CT, build, close_store, keep, open_store, part10

STUDY = "1.2.3"


@pytest.fixture
def house(tmp_path):
    house = build(tmp_path / "data")
    yield house
    house.close()


@pytest.fixture
def files(house):
    files = {f"1.2.3.1.{n}": part10(f"1.2.3.1.{n}", number=n) for n in range(1, 5)}
    keep(house, *files.values())
    return files


def damage(house, uid):
    (instance,) = house.instances(sop=[uid])
    path = house.root / instance.location.key
    data = bytearray(path.read_bytes())
    data[instance.location.offset + instance.location.length - 1] ^= 1
    path.write_bytes(data)
    return instance.location


# --- verify ---


def test_a_whole_study_verifies(house, files):
    seen = []
    done = Verifier(
        house.database, house.blobs, house.clock, progress=lambda v: seen.append(v.objects)
    ).study(STUDY)
    assert (done.objects, done.damaged, done.complete) == (4, [], True)
    assert done.bytes == sum(map(len, files.values())) and seen == [1, 2, 3, 4]
    (event,) = house.events("study.verified")
    assert event.payload == {"objects": 4, "damaged": []} and event.subjects.study == STUDY


def test_damage_is_found_and_told(house, files):
    location = damage(house, "1.2.3.1.3")
    verifier = Verifier(house.database, house.blobs, house.clock, actor="user:x")
    done = verifier.study(STUDY)
    assert [d.sop_instance_uid for d in done.damaged] == ["1.2.3.1.3"] and done.objects == 4
    (event,) = house.events("blob.damaged")
    assert (event.payload["key"], event.payload["offset"]) == (location.key, location.offset)
    assert event.actor == "user:x"
    assert verifier.instance("1.2.3.1.3").damaged and not verifier.instance("1.2.3.1.1").damaged
    with pytest.raises(NotFoundError):
        verifier.study("9.9")
    with pytest.raises(NotFoundError):
        verifier.instance("9.9")


def test_everything_is_all_studies_and_the_quarantine(house, files):
    keep(house, part10("7.1", study="7", series="7.0"), part10("1.2.3.1.1", pixels=b"othrbyte"))
    done = Verifier(house.database, house.blobs, house.clock).everything()
    assert (done.studies, done.objects, done.damaged, done.complete) == (2, 6, [], True)
    with house.database.read() as tx:
        (held,) = tx.index.quarantine()
    path = house.root / held.arrival.location.key
    data = bytearray(path.read_bytes())
    data[held.arrival.location.offset + held.arrival.location.length - 1] ^= 1
    path.write_bytes(data)
    done = Verifier(house.database, house.blobs, house.clock).everything()
    assert [d.sop_instance_uid for d in done.damaged] == ["1.2.3.1.1"]
    stopped = Verifier(house.database, house.blobs, house.clock, stop=lambda: True).everything()
    assert not stopped.complete and stopped.objects == 0


# --- extract ---


def test_a_study_goes_into_a_folder_and_goes_on_after_a_stop(house, files, tmp_path):
    out = tmp_path / "out"
    count = []
    extraction = Extraction(
        house.database, house.blobs, progress=lambda e: count.append(1), stop=lambda: len(count) == 2
    )
    chosen = extraction.select(study=STUDY)
    done = extraction.to_folder(chosen, out)
    assert (done.objects, done.total, done.complete) == (2, 4, False)
    broken = out / "1.2.3" / "1.2.3.1" / "1.2.3.1.1.dcm"
    broken.write_bytes(b"x" * broken.stat().st_size)
    done = Extraction(house.database, house.blobs).to_folder(chosen, out)
    assert (done.objects, done.already, done.complete) == (3, 1, True)
    assert {p.stem: p.read_bytes() for p in out.rglob("*.dcm")} == files
    assert sum(p.is_file() for p in out.rglob("*")) == 4


def test_a_series_goes_into_a_zip(house, files, tmp_path):
    extraction = Extraction(house.database, house.blobs)
    done = extraction.to_zip(extraction.select(series="1.2.3.1"), tmp_path / "x.zip")
    assert done.complete and done.objects == 4
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        assert {n.rpartition("/")[2]: archive.read(n) for n in archive.namelist()} == {
            f"{uid}.dcm": data for uid, data in files.items()
        }
    assert not (tmp_path / "x.zip.part").exists()
    with pytest.raises(NotFoundError):
        extraction.select(study="9.9")
    with pytest.raises(NotFoundError):
        extraction.select()


def test_a_damaged_object_is_not_given_out(house, files, tmp_path):
    damage(house, "1.2.3.1.3")
    extraction = Extraction(house.database, house.blobs)
    chosen = extraction.select(study=STUDY)
    for done in (
        extraction.to_folder(chosen, tmp_path / "out"),
        extraction.to_zip(chosen, tmp_path / "x.zip"),
    ):
        assert [uid for uid, _ in done.failed] == ["1.2.3.1.3"] and not done.complete and done.objects == 3
    assert {p.stem for p in (tmp_path / "out").rglob("*") if p.is_file()} == files.keys() - {"1.2.3.1.3"}
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(archive.namelist()) == 3


def test_a_program_in_the_preamble_is_kept_and_given_out_as_zeros(house, tmp_path):
    program = part10("8.1", study="8", series="8.0", preamble=b"MZ\x90\0evil")
    tiff = part10("8.2", study="8", series="8.0", preamble=b"II*\0\x08\0\0\0")
    keep(house, program, tiff)
    extraction = Extraction(house.database, house.blobs)
    done = extraction.to_folder(extraction.select(study="8"), tmp_path / "out")
    assert done.neutralised == [("8.1", "Windows program")]
    given = {p.stem: p.read_bytes() for p in (tmp_path / "out").rglob("*.dcm")}
    assert given == {"8.1": bytes(128) + program[128:], "8.2": tiff}
    reader = Reader(house.database, house.blobs)
    assert bytes(reader.part10(house.instances(sop=["8.1"])[0])) == program
    assert (
        Extraction(house.database, house.blobs)
        .to_folder(house.instances(study="8"), tmp_path / "out")
        .already
        == 2
    )


def test_a_link_in_the_way_is_not_written_through(house, files, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"keep me")
    place = tmp_path / "out" / "1.2.3" / "1.2.3.1"
    place.mkdir(parents=True)
    (place / "1.2.3.1.1.dcm").symlink_to(target)
    with pytest.raises(ConflictError, match="symbolic link"):
        Extraction(house.database, house.blobs).to_folder(house.instances(study=STUDY), tmp_path / "out")
    assert target.read_bytes() == b"keep me"


# --- commitment ---


def test_what_is_kept_is_committed_and_the_rest_has_its_reason(house, files):
    pairs = [(CT, "1.2.3.1.1"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.1.2"), (CT, "9.9"), (CT, "1.2.3.1.1")]
    decision = commitment.decide(house.database, house.blobs, house.clock, pairs)
    assert decision.committed == (pairs[0], pairs[0])
    assert decision.failed == ((*pairs[1], 0x0119), (CT, "9.9", 0x0112))


def test_bytes_that_are_gone_are_not_committed(house, files):
    segment = house.root / house.instances()[0].location.key
    segment.rename(segment.with_name("elsewhere"))
    decision = commitment.decide(house.database, house.blobs, house.clock, [(CT, "1.2.3.1.1")])
    assert decision.committed == () and decision.failed == ((CT, "1.2.3.1.1", 0x0110),)
    assert [e.payload["sop"] for e in house.events("blob.damaged")] == ["1.2.3.1.1"]


class Peer:
    """Takes reports, after failing `failures` times."""

    def __init__(self, failures=0):
        self.failures = failures
        self.reports = []

    async def report_commitment(self, peer, transaction_uid, committed, failed):
        if self.failures:
            self.failures -= 1
            raise PeerError("connection refused")
        self.reports.append((peer.name, transaction_uid, list(committed), list(failed)))


def ask(house, transaction="2.25.1"):
    commitment.request(
        house.database, house.clock, transaction, [(CT, "1.2.3.1.1"), (CT, "9.9")],
        device="CT1", ae_title="CT1_AE", association="a1",
    )  # fmt: skip


def claim(house):
    house.clock.pass_seconds(commitment.GRACE_SECONDS)
    with house.database.write() as tx:
        return tx.jobs.claim([commitment.REPORT_COMMITMENT], "w", house.clock.now(), 60_000_000)


def test_the_report_is_tried_until_it_is_delivered(house, files):
    ask(house)
    peer = Peer(failures=1)
    reporter = commitment.Reporter(house.database, house.blobs, house.clock, peer)
    job = claim(house)
    with pytest.raises(PeerError, match="no address"):
        reporter.handle(job, NoLease())
    with house.database.write() as tx:
        tx.devices.save(Device("CT1", "CT1_AE", "10.0.0.1", 104))
    with pytest.raises(PeerError, match="refused"):
        reporter.handle(job, NoLease())
    reporter.handle(job, NoLease())
    assert peer.reports == [("CT1", "2.25.1", [(CT, "1.2.3.1.1")], [(CT, "9.9", 0x0112)])]
    assert len(house.events("commitment.requested")) == 1
    assert len(house.events("commitment.undelivered")) == 2
    (event,) = house.events("commitment.reported")
    assert (event.payload["committed"], event.payload["failed"]) == (1, [["9.9", "0112"]])
    assert (event.payload["over"], event.subjects.device, event.subjects.association) == ("new", "CT1", "a1")


def test_a_report_delivered_on_the_same_association_is_not_sent_twice(house, files):
    ask(house)
    decision = commitment.decide(house.database, house.blobs, house.clock, [(CT, "1.2.3.1.1")])
    commitment.delivered(house.database, house.clock, "2.25.1", decision, device="CT1", association="a1")
    peer = Peer()
    commitment.Reporter(house.database, house.blobs, house.clock, peer).handle(claim(house), NoLease())
    assert peer.reports == []
    ask(house)  # asked once more: answered once more
    with house.database.write() as tx:
        tx.devices.save(Device("CT1", "CT1_AE", "10.0.0.1", 104))
        for old in tx.jobs.list(state=JobState.RUNNING):
            tx.jobs.discard(old.id)
    commitment.Reporter(house.database, house.blobs, house.clock, peer).handle(claim(house), NoLease())
    assert len(peer.reports) == 1


@pytest.mark.parametrize(("transaction", "pairs"), [("", [(CT, "1")]), ("../x", [(CT, "1")]), ("1.2", [])])
def test_a_request_that_makes_no_sense_is_refused(house, transaction, pairs):
    with pytest.raises(RefusedError):
        commitment.request(house.database, house.clock, transaction, pairs, device="D", ae_title="D")
    assert house.events("commitment.requested") == []


# --- release ---


def test_after_a_device_is_admitted_what_waited_for_it_comes_in(house):
    store = open_store(house)
    for n in range(1, 4):
        data = part10(f"1.2.3.1.{n}", number=n)
        meta = read_meta(data)
        receiver = store.begin(
            CT, f"1.2.3.1.{n}", meta.transfer_syntax_uid, Origin("dimse", "NEW_AE", "a", "h"),
            quarantine="unknown-device", meta=data[: meta.meta_length],
        )  # fmt: skip
        receiver.write(data[meta.meta_length :])
        receiver.finish().result(20)
    close_store(store)
    assert house.instances() == []
    with house.database.write() as tx:
        tx.jobs.enqueue([release_job("ct-2", "NEW_AE", "user:x")])
        job = tx.jobs.claim([RELEASE_QUARANTINE], "w", house.clock.now(), 1_000_000)
    Releaser(house.database, house.clock, settle=60).handle(job, NoLease())
    assert len(house.instances()) == 3
    assert {e.actor for e in house.events("instance.released")} == {"user:x"}
    with house.database.read() as tx:
        assert list(tx.index.quarantine()) == []
        assert [j.kind for j in tx.jobs.list(state=JobState.WAITING)] == ["pack-series"]
