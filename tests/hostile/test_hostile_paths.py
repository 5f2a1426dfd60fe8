"""Paths: UIDs, AE titles, file names and DICOMDIR references that would lead out of the data folder."""

from __future__ import annotations

import asyncio
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid

from hounsfield.domain.query import Level
from hounsfield.net.association import Association, Context, SmallSink
from hounsfield.net.link import Link
from hounsfield.net.storing import AssociationChannel
from hounsfield.servers.dicom.negotiation import AcceptPolicy, answer_request, contexts_of
from hounsfield.services.importing import Import, Report
from hounsfield.wire.dimse import messages
from hounsfield.wire.dimse.command import Command
from hounsfield.wire.ul import events as ul
from hounsfield.wire.ul.connection import Connection, Role
from support_hostile import CT, Raw, data_set
from support_ours import Ours, ours, peer
from support_server import Archive, free_port, loaded, study
from support_services import close_store, open_store

UIDS = {
    "relative": "../../x",
    "deep": "../" * 20 + "tmp/x",
    "absolute": "/etc/x",
    "empty": "",
    "4 KiB": "1." * 2048,
    "65 digits": "1" * 65,
    "NUL": "1.2\0/../x",
    "line": "1.2.3\n",
    "shell": "1.2;reboot",
    "dots": "..",
    "Windows": "C:\\x",
    "beyond ASCII": "1.2.\xb2",
}


@pytest.mark.parametrize("kind", UIDS)
@pytest.mark.parametrize("level", ["sop", "series", "study"])
def test_uids_of_stored_objects(target: Archive, kind: str, level: str) -> None:
    since, uid, bad = target.mark(), generate_uid(), UIDS[kind]
    with Raw(target.port) as raw:
        raw.associate()
        if level == "sop":
            status, comment = raw.store(bad, data_set(bad))
        else:
            status, comment = raw.store(uid, data_set(uid, **{level: bad}))
    assert status in (0x0117, 0xC000, 0xA900) and comment
    refused = target.event("instance.refused", since)
    assert refused.payload["why"] and len(str(refused.payload["sop"])) <= 128


@pytest.mark.parametrize("title", ["../../x", "/etc/x", "..", "a/b", "$(reboot)"])
def test_ae_titles(target: Archive, title: str) -> None:
    """Letters of an AE title they all are; a file is not named by one."""
    assert target.echoes(title)
    assert target.store(*study(1), title=title) == [0]


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Ours]:
    with ours(tmp_path) as made:
        yield made


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def import_from(mine: Ours, *paths: Path) -> Report:
    store = open_store(mine.house)
    try:
        return Import(store, mine.house.database, mine.house.clock, state=mine.house.root / "imports").run(
            paths
        )
    finally:
        close_store(store)


def test_import_of_hostile_uids(mine: Ours, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    head = bytes(128) + b"DICM"
    meta = b"\2\0\0\0UL\4\0\x1c\0\0\0" + b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    for number, bad in enumerate(UIDS.values()):
        (folder / f"{number}.dcm").write_bytes(head + meta + data_set(bad))
        (folder / f"{number}s.dcm").write_bytes(head + meta + data_set(f"1.2.{number}", study=bad))
    before = everything(tmp_path)
    report = import_from(mine, folder)
    assert (report.new, report.refused) == (0, 2 * len(UIDS))
    assert {name for name in everything(tmp_path) - before if not name.startswith("ours/")} == set()
    assert mine.uids == set()
    assert len(mine.house.events("instance.refused")) == 2 * len(UIDS)


def test_import_of_hostile_file_names(mine: Ours, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = ["..dcm", "a\nb.dcm", "-rf", "x" * 250, "$(reboot).dcm", "*.dcm", "\\..\\x.dcm"]
    files = study(len(names))
    for name, data in zip(names, files, strict=True):
        (folder / name).write_bytes(data)
    (folder / "loop").symlink_to(folder)
    (folder / "out").symlink_to("/etc/passwd")
    report = import_from(mine, folder)
    assert report.new == len(names)
    assert mine.uids == {loaded(data).SOPInstanceUID for data in files}


def test_zip_slip(mine: Ours, tmp_path: Path) -> None:
    files = study(4)
    path = tmp_path / "in.zip"
    names = ["../../slip.dcm", "/etc/x.dcm", "a/../../../b.dcm", "C:\\slip.dcm"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in zip(names, files, strict=True):
            archive.writestr(name, data)
    before = everything(tmp_path.parent)
    report = import_from(mine, path)
    new = {name for name in everything(tmp_path.parent) - before if f"{tmp_path.name}/ours" not in name}
    assert new == set()
    assert report.new + report.refused == 4
    assert not Path("/etc/x.dcm").exists()


def test_zip_with_a_forged_size(mine: Ours, tmp_path: Path) -> None:
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.dcm", study(1)[0] + bytes(64 << 20))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")  # uncompressed, in the central directory
    path.write_bytes(data)
    report = import_from(mine, path)
    assert report.new == 0 and report.refused == 1


@pytest.mark.parametrize("reference", [["..", "..", "SECRET"], ["/ETC", "X"], ["..\\..\\SECRET"]])
def test_dicomdir_references(mine: Ours, tmp_path: Path, reference: list[str]) -> None:
    """A reference out of the folder of the DICOMDIR is not followed."""
    secret = tmp_path / "SECRET"
    secret.write_bytes(study(1)[0])
    fileset = FileSet()
    fileset.add(loaded(study(1, StudyTime="120000", StudyID="1")[0]))
    folder = tmp_path / "disk" / "inner"
    fileset.write(folder)
    directory = pydicom.dcmread(folder / "DICOMDIR")
    for record in directory.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = reference
    directory.save_as(folder / "DICOMDIR")
    report = import_from(mine, folder / "DICOMDIR")
    assert report.new == 0
    assert loaded(secret.read_bytes()).SOPInstanceUID not in mine.uids


class HostileScp:
    """A C-GET SCP of our own making: it stores whatever it is told to with whatever UID."""

    def __init__(self, objects: list[tuple[str, bytes]]) -> None:
        self.objects = objects
        self.answers: list[tuple[int, str]] = []
        self.association: Association | None = None
        self.link: Link | None = None
        self.task: asyncio.Task[None] | None = None

    def connected(self, link: Link) -> None:
        self.link = link

    def happened(self, event: ul.Event) -> None:
        assert self.link is not None
        if isinstance(event, ul.AssociateRequested):
            accept = answer_request(event.request, AcceptPolicy(True))
            self.link.core.accept(accept)
            contexts = contexts_of(event.request, accept, self.link.core.contexts)
            self.association = Association(self.link, contexts, self)
        elif isinstance(event, ul.ReleaseRequested):
            self.link.core.accept_release()
        elif self.association is not None and isinstance(event, ul.Pdv):
            self.association.received(event)

    def request(self, association: Association, context: Context, command: Command) -> SmallSink:
        def begin(_: bytes) -> None:
            self.task = asyncio.get_running_loop().create_task(self.send(association, context, command))

        return SmallSink(association, begin)

    async def send(self, association: Association, context: Context, command: Command) -> None:
        channel = AssociationChannel(association, 10)
        number = channel.syntaxes(CT)[0][0]

        async def pieces(data: bytes) -> object:
            yield data

        for uid, data in self.objects:
            status, comment, _ = await channel.store(number, CT, uid, pieces(data), None)
            self.answers.append((status, comment))
        association.send(context.id, messages.retrieve_rsp(command, 0, completed=len(self.objects)))

    def cancel(self, association: Association, message_id: int) -> None: ...
    def idle(self, stalled: bool) -> bool:
        return False

    def closed(self, error: Exception | None) -> None: ...


@contextmanager
def hostile_scp(objects: list[tuple[str, bytes]]) -> Iterator[tuple[int, HostileScp]]:
    port, scp = free_port(), HostileScp(objects)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def listen() -> None:
        await loop.create_server(
            lambda: Link(Connection(Role.ACCEPTOR, max_length=16384), scp, artim=5, idle=0), "127.0.0.1", port
        )
        ready.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(listen()), loop.run_forever()))
    thread.start()
    assert ready.wait(10)
    try:
        yield port, scp
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_results_of_our_own_get(mine: Ours, tmp_path: Path) -> None:
    """What a server answers to our C-GET is as hostile as anything: refused one by one, the rest goes on."""
    good = generate_uid()
    objects = [(bad, data_set(bad)) for bad in UIDS.values()]
    objects += [(f"1.2.3.{n}", data_set(f"1.2.3.{n}", study=bad)) for n, bad in enumerate(UIDS.values())]
    objects += [
        ("1.2.3.99", b"noise"),
        ("1.2.3.98", b""),
        ("1.2.3.97", data_set("1.2.3.96")),
        (good, data_set(good)),
    ]
    before = everything(tmp_path)
    with hostile_scp(objects) as (port, scp):
        counts = mine.get(peer(port), Level.STUDY, StudyInstanceUID="1.2.3")
    assert counts.completed == len(objects), "so it claims"
    assert [status for status, _ in scp.answers[:-1] if status == 0] == []
    assert all(comment for status, comment in scp.answers if status)
    assert scp.answers[-1] == (0, "")
    assert mine.uids == {good}
    assert {name for name in everything(tmp_path) - before if not name.startswith("ours/")} == set()
