"""A whole archive in a folder, with the real adapters: for the tests of services."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from blake3 import blake3
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.events import Event
from hounsfield.domain.stored import Origin
from hounsfield.ports.blobs import Incoming
from hounsfield.ports.ledger import LedgerFilter
from hounsfield.services.rounds import Rounds
from hounsfield.services.store import Store
from hounsfield.wire.dicomfile.part10 import read_meta

CT = "1.2.840.10008.5.1.4.1.1.2"
SEGMENT = 1 << 20


class SetClock:
    """A clock that a test sets; it also moves a microsecond with every look, as a real one does."""

    def __init__(self) -> None:
        self.time = 1_700_000_000_000_000

    def now(self) -> int:
        self.time += 1
        return self.time

    def monotonic(self) -> float:
        return time.monotonic()

    def pass_seconds(self, seconds: float) -> None:
        self.time += int(seconds * 1_000_000)


@dataclass
class House:
    """Database and blobs below one folder."""

    root: Path
    database: SqlDatabase
    blobs: DiskBlobs
    clock: SetClock

    def events(self, *types: str) -> list[Event]:
        with self.database.read() as tx:
            return [recorded.event for recorded in tx.ledger.read(LedgerFilter(types=types))]

    def instances(self, **where: object) -> list:
        with self.database.read() as tx:
            return list(tx.index.instances(**where))

    def close(self) -> None:
        self.blobs.close()
        self.database.close()


def build(root: Path, *, large: int = 256 << 10) -> House:
    clock = SetClock()
    root.mkdir(parents=True, exist_ok=True)
    database = open_database(f"sqlite:///{root / 'index.sqlite'}", "test", clock)
    database.migrate()
    blobs = DiskBlobs(root, segment_size=SEGMENT, spare_segments=0, min_free_bytes=0, recycle_grace=0.0)
    return House(root, database, blobs, clock)


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Until it holds; fails the test after `seconds`, of which those do not count in which nothing ran."""
    waited, last = 0.0, time.monotonic()
    while not condition():
        assert waited < seconds, "it did not happen in time"
        time.sleep(0.005)
        now = time.monotonic()
        waited += min(now - last, 0.1)
        last = now


def part10(
    sop: str,
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    number: int = 1,
    patient: str = "P1",
    pixels: bytes = b"",
    preamble: bytes = b"",
    **more: object,
) -> bytes:
    """One CT object as a Part 10 file."""
    ds = pydicom.Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = sop
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = series
    ds.PatientID = patient
    ds.PatientName = "Doe^Jane"
    ds.Modality = "CT"
    ds.StudyDate = "20240102"
    ds.AccessionNumber = "A1"
    ds.SeriesNumber = 1
    ds.InstanceNumber = number
    ds.Rows = ds.Columns = 2
    ds.BitsAllocated = 16
    for keyword, value in more.items():
        setattr(ds, keyword, value)
    ds.PixelData = pixels or bytes([number % 256]) * 8
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CT
    ds.file_meta.MediaStorageSOPInstanceUID = sop
    ds.preamble = preamble.ljust(128, b"\0")
    out = BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def incoming(house: House, data: bytes, quarantine: str = "") -> Incoming:
    """A Part 10 file on its way into a log, as from an association."""
    meta = read_meta(data)
    data_set = data[meta.meta_length :]
    return Incoming(
        data[: meta.meta_length],
        [data_set],
        None,
        len(data_set),
        blake3(data_set).digest(),
        meta.transfer_syntax_uid,
        Origin("dimse", "DEV", "assoc-1", "10.0.0.1"),
        house.clock.now(),
        quarantine=quarantine,
    )


def open_store(house: House, writer: str = "test", *, settle: float = 0.0, budget: int = 8 << 20) -> Store:
    log = house.blobs.open_log(writer)
    rounds = Rounds(log, house.database, house.clock, writer=writer, settle=settle)
    return Store(rounds, house.clock, large=256 << 10, budget=budget)


def close_store(store: Store) -> None:
    store.close()
    store.log.close()


def keep(house: House, *files: bytes, settle: float = 0.0) -> None:
    """Store Part 10 files, as an import does."""
    store = open_store(house, settle=settle)
    futures = []
    for data in files:
        meta = read_meta(data)
        receiver = store.begin(
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            Origin("dimse", "DEV", "assoc", "127.0.0.1"),
            meta=data[: meta.meta_length],
        )
        receiver.write(data[meta.meta_length :])
        futures.append(receiver.finish())
    for future in futures:
        result = future.result(20)
        assert result.outcome is not None, result
    close_store(store)
