"""Small objects and data folders for the tests of what keeps bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import blake3

from hounsfield.adapters.blobs_disk import DiskBlobs
from hounsfield.domain.stored import Origin
from hounsfield.domain.study import Location
from hounsfield.ports.blobs import Incoming, Replayed

SEGMENT = 64 << 10
ORIGIN = Origin("dimse", "CT-1", "a1b2", "192.0.2.7")
AT = 1_750_000_000_000_000
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def disk(root: Path, **options: object) -> DiskBlobs:
    """Without threads, reserve or grace unless asked for."""
    settings: dict[str, object] = {
        "segment_size": SEGMENT,
        "spare_segments": 0,
        "min_free_bytes": 0,
        "recycle_grace": 0.0,
    }
    return DiskBlobs(root, **(settings | options))  # type: ignore[arg-type]


def meta_of(number: int) -> bytes:
    return bytes(128) + b"DICM" + f"meta of {number}".encode().ljust(40, b".")


def incoming(
    data: bytes, number: int = 0, *, pieces: int = 3, origin: Origin = ORIGIN, quarantine: str = ""
) -> Incoming:
    step = max(1, -(-len(data) // pieces))
    return Incoming(
        meta=meta_of(number),
        pieces=[memoryview(data)[at : at + step] for at in range(0, len(data), step)],
        spill=None,
        data_set_length=len(data),
        content_hash=blake3.blake3(data).digest(),
        transfer_syntax_uid=EXPLICIT_LE,
        origin=origin,
        at=AT + number,
        character_set="ISO_IR 100",
        quarantine=quarantine,
    )


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def store(root: Path, writer: str, rounds: Sequence[Sequence[bytes]], **options: object) -> list[Location]:
    """Append and sync rounds, then leave the log as a process that is killed leaves it."""
    blobs = disk(root, **options)
    log = blobs.open_log(writer)
    locations: list[Location] = []
    number = 0
    for datas in rounds:
        objects = []
        for data in datas:
            objects.append(incoming(data, number))
            number += 1
        locations += log.append(objects)
        log.sync()
    log.close()  # without a checkpoint: as after a kill, but for the lock
    blobs.close()
    return locations


def replayed(root: Path, writer: str = "w", **options: object) -> tuple[list[tuple[Replayed, bytes]], int]:
    """Every record replay gives, with its data set as it reads, and the torn bytes."""
    blobs = disk(root, **options)
    replay = blobs.replay(writer)
    found = [(record, data_set(blobs, record.location)) for record in replay]
    blobs.close()
    return found, replay.torn


def data_set(blobs: DiskBlobs, location: Location) -> bytes:
    return bytes(blobs.read(location, location.meta_length))
