"""Places: slow, idle and silent connections never keep a real device out, nor do peers that do not read."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from pynetdicom import AE

from support_hostile import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_FIND,
    CT,
    EXPLICIT,
    FIND,
    GET,
    RQ,
    VERIFICATION,
    Raw,
    associate_rq,
    c_store,
    context,
    data_set,
    element,
    identifier,
    item,
    one_by_one,
    p_data,
    padded,
    request,
)
from support_peers import make_certificates
from support_server import Archive, free_port, loaded, study, wait_for
from support_services import part10


@contextmanager
def connections(target: Archive, count: int, request: bytes = b"") -> Iterator[list[Raw]]:
    made: list[Raw] = []
    try:
        for number in range(count):
            made.append(Raw(target.port))
            made[-1].send(request.replace(b"HOSTILE", b"HOST%03d" % number))
        yield made
    finally:
        for raw in made:
            raw.socket.close()


def test_hundreds_of_connections_that_say_nothing(target: Archive) -> None:
    since = target.mark()
    with connections(target, 300):
        for _ in range(3):
            assert target.store(*study(1), title="SCANNER") == [0]
        assert target.connections() < 100, "the oldest gave way"
    refused = target.event("connection.refused", since)
    assert "too many connections" in str(refused.payload["why"])


def test_hundreds_of_connections_that_say_half_a_request(target: Archive) -> None:
    with connections(target, 200, RQ[:40]):
        assert target.store(*study(1), title="SCANNER") == [0]


def sockets(target: Archive) -> int:
    """Open descriptors of sockets."""
    found = 0
    for path in Path(f"/proc/{target.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += path.readlink().name.startswith("socket:")
    return found


def test_a_connection_takes_one_descriptor(target: Archive) -> None:
    wait_for(lambda: not target.connections(), "others are still there")
    before = sockets(target)
    with connections(target, 15, RQ):
        wait_for(lambda: target.connections() >= 15, "they are not all there")
        assert sockets(target) - before == 15
    wait_for(lambda: sockets(target) == before, "they stay open")


def test_processes_share_the_places(tmp_path: Path) -> None:
    """Two that listen on one port have as many places together as one has alone."""
    house = Archive(
        tmp_path / "house", dicom_workers=2, max_associations=8, reserved_percent=0, max_pending=90
    )
    made: list[Raw] = []
    try:
        house.start(name="dicom-1").start(name="dicom-2")
        for number in range(60):
            made.append(Raw(house.port))
            made[-1].send(RQ.replace(b"HOSTILE", b"HOST%03d" % number))
        kinds = [raw.read()[0] for raw in made]
        assert (kinds.count(ASSOCIATE_AC), kinds.count(ASSOCIATE_RJ)) == (8, 52)
    finally:
        for raw in made:
            raw.socket.close()
        house.stop()


@contextmanager
def all_places(target: Archive) -> Iterator[list[Raw]]:
    """Associations of many titles, as many as there are places for those that nobody admitted."""
    made: list[Raw] = []
    try:
        for number in range(18):
            made.append(Raw(target.port).associate(RQ.replace(b"HOSTILE", b"HOST%03d" % number)))
        yield made
    finally:
        for raw in made:
            raw.socket.close()


def test_all_places_taken_by_associations_that_are_idle(target: Archive) -> None:
    """After a while of silence one gives way to a device that has something to say; until then the device is
    told to come again."""
    since = target.mark()
    with all_places(target):
        assert not target.echoes("SCANNER")
        assert target.event("association.rejected", since).payload["reason"] == 2, "a local limit, for now"
        wait_for(lambda: target.echoes("SCANNER"), "the scanner does not get in", 10)
        assert target.store(*study(2), title="SCANNER") == [0, 0]
        target.event("association.ended", since, why="silent, and its place was needed")


def test_hundreds_of_associations_that_are_idle(target: Archive) -> None:
    with connections(target, 200, RQ):
        wait_for(lambda: target.echoes("SCANNER"), "the scanner does not get in", 10)
        assert target.store(*study(2), title="SCANNER") == [0, 0]


@pytest.fixture
def admitted(target: Archive) -> str:
    """The title of a device that a person wrote down."""
    return target.device("ADMITTED").ae_title


def test_hundreds_of_associations_keep_no_admitted_device_out(target: Archive, admitted: str) -> None:
    """It gets in at its first call, while those who came before are neither silent for long nor gone."""
    since = target.mark()
    with connections(target, 300, RQ):
        assert target.store(*study(2), title=admitted) == [0, 0]
        assert target.echoes(admitted)
    rejected = target.event("association.rejected", since)
    assert "nobody admitted" in str(rejected.payload["why"])


def test_all_places_taken_by_strangers(target: Archive, admitted: str) -> None:
    with all_places(target):
        assert not target.echoes("SCANNER")
        with ExitStack() as stack:
            for _ in range(6):
                association = stack.enter_context(target.associate(VERIFICATION, title=admitted))
                assert association.is_established
            assert not target.echoes(admitted), "there are no more"


def test_associations_stuck_within_an_object_give_way(target: Archive) -> None:
    """Each has sent half an object: it is they who owe, and no place is kept for them."""
    half = p_data(3, 3, c_store("1.2.3.9")) + p_data(3, 0, data_set("1.2.3.9")[:150])
    with all_places(target) as made:
        for raw in made:
            raw.send(half)
        since = target.mark()
        wait_for(lambda: target.echoes("SCANNER"), "the scanner does not get in", 10)
        assert target.store(*study(2), title="SCANNER") == [0, 0]
        target.event("association.ended", since, why="silent, and its place was needed")


@pytest.mark.parametrize("where", ["association request", "command", "data set"])
def test_slow_loris(target: Archive, where: str) -> None:
    """A byte now and then: before an association ARTIM ends it, after that its silence counts."""
    since = target.mark()
    with Raw(target.port) as raw:
        if where == "association request":
            drops = RQ
        else:
            raw.associate()
            sent = p_data(3, 3, c_store("1.2.3.9"))
            drops = sent if where == "command" else p_data(3, 2, data_set("1.2.3.9"))
            if where == "data set":
                raw.send(sent)
        ended = "connection.refused" if where == "association request" else "association.ended"
        raw.socket.settimeout(0.2)
        with connections(target, 40, RQ):  # there is no room left for it
            for drop in one_by_one(drops):
                if target.events(ended, since=since):
                    break
                raw.send(drop)
                try:
                    if not raw.socket.recv(10):
                        break
                except TimeoutError:
                    target.echoes("SCANNER")
                except ConnectionError:
                    break
            else:
                pytest.fail("nobody ended it")
    target.event(ended, since)


def test_idle_associations_end(target: Archive) -> None:
    since = target.mark()
    with Raw(target.port) as raw:
        raw.associate()
        assert raw.end() == [ABORT]
    assert target.event("association.ended", since).payload["why"] == "silent for too long"


@pytest.fixture(scope="module")
def heavy(target: Archive) -> dict[str, str]:
    """A study of 24 MiB, and a study of 800 series."""
    files = study(12, pixels=bytes(2 << 20))
    assert set(target.store(*files)) == {0}
    patient = generate_uid()[-12:]
    uid = generate_uid()
    many = [
        part10(generate_uid(), study=uid, series=generate_uid(), patient=patient, SeriesDescription="x" * 60)
        for _ in range(800)
    ]
    assert set(target.store(*many)) == {0}
    return {"large": loaded(files[0]).StudyInstanceUID, "many": uid}


def find_all(heavy: dict[str, str]) -> bytes:
    keys = [element(0x0008103E, b"LO", b""), element(0x0020000D, b"UI", padded(heavy["many"]))]
    keys += [element(0x00200000 + n, b"LO", b"") for n in range(0x4000, 0x4600)]
    return p_data(5, 3, C_FIND) + p_data(5, 2, identifier("SERIES", *keys))


def get_all(heavy: dict[str, str]) -> bytes:
    key = element(0x0020000D, b"UI", padded(heavy["large"]))
    return p_data(7, 3, request(0x0010, GET, 9)) + p_data(7, 2, identifier("STUDY", key))


def role(sop_class: str) -> bytes:
    name = sop_class.encode()
    return item(0x54, len(name).to_bytes(2, "big") + name + b"\0\1")


def associated(*, window: int, port: int) -> Raw:
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3") + role(CT)
    contexts = [context(3, CT, EXPLICIT), context(5, FIND, EXPLICIT), context(7, GET, EXPLICIT)]
    return Raw(port, window=window).associate(associate_rq(contexts, user=user))


@pytest.mark.parametrize("what", ["find", "get"])
def test_peers_that_never_read_their_answers(target: Archive, heavy: dict[str, str], what: str) -> None:
    """Ten at a time: others are served meanwhile, memory stays bounded, and they are ended for it."""
    since = target.mark()
    asked = find_all(heavy) if what == "find" else get_all(heavy)
    made = [associated(window=4096, port=target.port) for _ in range(10)]
    try:
        for raw in made:
            raw.send(asked)
        for _ in range(5):
            assert target.find("STUDY", StudyInstanceUID=heavy["large"])
        wait_for(lambda: len(target.events("association.ended", since=since)) >= 10 + 5, "they hold on", 25)
        whys = [e.payload["why"] for e in target.events("association.ended", since=since)]
        reasons = ("the peer takes no data", "no answer to C-STORE within 3 s")
        assert sum(why in reasons for why in whys) == 10, whys
        wait_for(lambda: target.connections() < 5, "their connections stay", 10)
    finally:
        for raw in made:
            raw.socket.close()
    kind = "query.answered" if what == "find" else "retrieve.ended"
    wait_for(lambda: len(target.events(kind, since=since)) >= 10, "the ledger does not tell", 10)


@pytest.mark.parametrize("after", [1, 5])
def test_a_get_aborted_on_the_way(target: Archive, heavy: dict[str, str], after: int) -> None:
    since = target.mark()
    with associated(window=0, port=target.port) as raw:
        raw.send(get_all(heavy))
        for _ in range(after * 50):
            raw.read()
        raw.socket.close()
    ended = target.event("retrieve.ended", since)
    assert ended.payload["status"] == "FE00" and ended.payload["remaining"] > 0
    target.event("association.ended", since)


def test_hundreds_of_tls_connections_that_shake_no_hands(tmp_path: Path) -> None:
    """They have their places from their first moment, and the ledger tells of them."""
    certificates = make_certificates(tmp_path)
    secured = Archive(
        tmp_path / "house",
        dicom_tls_port=free_port(),
        tls_certificate=certificates.server,
        tls_key=certificates.server_key,
        max_pending=10,
        artim_seconds=1,
    ).start()
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.check_hostname = False
    idle = [Raw(secured.tls_port) for _ in range(150)]
    try:
        assert secured.connections() < 60
        ae = AE("SCANNER")
        ae.add_requested_context(VERIFICATION)
        for _ in range(3):
            association = ae.associate("127.0.0.1", secured.tls_port, tls_args=(context, None))
            assert association.is_established and association.send_c_echo().Status == 0
            association.release()
        wait_for(lambda: secured.connections() == 0, "ARTIM does not end them", 10)
        refused = secured.event("connection.refused")
        assert refused.payload["why"]
        assert "Traceback" not in secured.log()
    finally:
        for raw in idle:
            raw.socket.close()
        secured.stop()
