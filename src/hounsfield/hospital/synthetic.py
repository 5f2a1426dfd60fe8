"""Synthetic studies: a CT chest, an MR head with two priors, and CT series in bulk for benchmarks.

Deterministic: the same arguments give the same bytes, UIDs included. What is yielded are Part 10 objects
in Explicit VR Little Endian, each complete, in the order of their numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from hounsfield.hospital import headers
from hounsfield.hospital.phantom import (
    BONE,
    CSF,
    FAT,
    GREY,
    LESION,
    MUSCLE,
    WHITE,
    Chest,
    Head,
    Noise,
    smooth,
)

TRANSVERSE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def demo_studies() -> Iterator[bytes]:
    """What `serve --demo` shows beside real files: one CT chest, one MR head with two priors."""
    yield from ct_chest()
    yield from mr_head()


def ct_chest(slices: int = 160, seed: int = 1) -> Iterator[bytes]:
    """A CT chest: `slices` transverse images of 512 x 512 over 320 mm, then the scout of them."""
    patient = headers.person("CHEST", f"CT{seed:04d}", "19580417", "M")
    study = headers.study(
        patient,
        key=f"chest/{seed}",
        date="20240312",
        time="101500",
        accession=f"SYNCT{seed:06d}",
        description="CT CHEST (synthetic)",
    )
    chest = Chest(seed=seed)
    size, pixel, step = 512, Chest.FIELD / 512, 320.0 / slices
    axial = headers.series(
        study,
        key=f"chest/{seed}/axial",
        modality="CT",
        number=2,
        description="Chest axial (synthetic)",
        body_part="CHEST",
        station="SYNCT1",
    )
    headers.ct_acquisition(axial)
    axial.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    axial.Rows = axial.Columns = size
    axial.WindowCenter, axial.WindowWidth = ["40", "-600"], ["400", "1500"]
    axial.WindowCenterWidthExplanation = ["MEDIASTINUM", "LUNG"]
    corner = -Chest.FIELD / 2 + pixel / 2
    profile = []
    for number in range(1, slices + 1):
        z = 320.0 - step * number  # from the head to the feet
        image = chest.slice(z)
        profile.append(image.mean(axis=0))
        headers.plane(
            axial,
            number=number,
            position=(corner, corner, z),
            orientation=TRANSVERSE,
            spacing=(pixel, pixel),
            thickness=step,
        )
        axial.PixelData = np.clip(image + 1024, 0, 4095).astype("<u2").tobytes()
        yield headers.part10(axial)
    yield _scout(study, seed, np.array(profile), step)


def _scout(
    study: Dataset, seed: int, profile: np.ndarray[tuple[int, ...], np.dtype[np.float32]], step: float
) -> bytes:
    """The localizer: a frontal view, the mean from front to back of each slice."""
    scout = headers.series(
        study,
        key=f"chest/{seed}/scout",
        modality="CT",
        number=1,
        description="Scout (synthetic)",
        body_part="CHEST",
        station="SYNCT1",
    )
    headers.ct_acquisition(scout)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    del scout.RescaleType  # a projection has no Hounsfield units (PS3.3 C.8.2.1)
    pixel = Chest.FIELD / profile.shape[1]
    rows = int(profile.shape[0] * step / pixel)
    at = np.minimum((np.arange(rows) * pixel / step).astype(int), profile.shape[0] - 1)
    scout.Rows, scout.Columns = rows, profile.shape[1]
    scout.WindowCenter, scout.WindowWidth = "-350", "900"
    headers.plane(
        scout,
        number=1,
        position=(-Chest.FIELD / 2 + pixel / 2, 0.0, 320.0 - step),
        orientation=CORONAL,
        spacing=(pixel, pixel),
        thickness=Chest.FIELD,
    )
    scout.PixelData = np.clip(profile[at] + 1024, 0, 4095).astype("<u2").tobytes()
    return headers.part10(scout)


class _Weighting(NamedTuple):
    """One MR series: parameters in ms, and what each tissue looks like (stored values)."""

    name: str
    sequence: str
    repetition: str
    echo: str
    inversion: str
    tissues: dict[int, int]


_WEIGHTINGS = (
    _Weighting(
        "T1",
        "SE",
        "520",
        "11",
        "",
        {FAT: 900, BONE: 60, CSF: 160, GREY: 420, WHITE: 600, MUSCLE: 380, LESION: 330},
    ),
    _Weighting(
        "T2",
        "SE",
        "4200",
        "98",
        "",
        {FAT: 620, BONE: 50, CSF: 1150, GREY: 560, WHITE: 400, MUSCLE: 210, LESION: 920},
    ),
    _Weighting(
        "FLAIR",
        "SE\\IR",
        "9000",
        "120",
        "2500",
        {FAT: 640, BONE: 50, CSF: 90, GREY: 560, WHITE: 430, MUSCLE: 230, LESION: 980},
    ),
)

# date, time, radius of the lesion in mm: what the priors are there to compare
_VISITS = (("20220207", "083000", 5.0), ("20230116", "141200", 7.5), ("20240520", "090500", 11.0))


def mr_head(slices: int = 20, seed: int = 1) -> Iterator[bytes]:
    """An MR head with two priors: three studies of T1, T2 and FLAIR, `slices` images of 256 x 256 each."""
    patient = headers.person("HEAD", f"MR{seed:04d}", "19710923", "F")
    head = Head()
    step = 120.0 / slices
    for visit, (date, time, lesion) in enumerate(_VISITS, 1):
        study = headers.study(
            patient,
            key=f"head/{seed}/{visit}",
            date=date,
            time=time,
            accession=f"SYNMR{seed:04d}{visit:02d}",
            description="MR HEAD (synthetic)",
        )
        tissues = [head.labels(step * (index + 0.5) - 52, lesion) for index in range(slices)]
        for number, weighting in enumerate(_WEIGHTINGS, 1):
            key = f"head/{seed}/{visit}/{weighting.name}"
            yield from _mr_series(study, key, number, weighting, tissues, step)


def _mr_series(
    study: Dataset,
    key: str,
    number: int,
    weighting: _Weighting,
    tissues: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]],
    step: float,
) -> Iterator[bytes]:
    ds = headers.series(
        study,
        key=key,
        modality="MR",
        number=number,
        description=f"{weighting.name} axial (synthetic)",
        body_part="HEAD",
        station="SYNMR1",
    )
    headers.mr_acquisition(
        ds,
        sequence=weighting.sequence,
        repetition=weighting.repetition,
        echo=weighting.echo,
        inversion=weighting.inversion,
    )
    size = tissues[0].shape[0]
    pixel = Head.FIELD / size
    corner = -Head.FIELD / 2 + pixel / 2
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    ds.Rows = ds.Columns = size
    ds.WindowCenter, ds.WindowWidth = "500", "1000"
    ds.SpacingBetweenSlices = f"{step:g}"
    values = np.zeros(256, np.float32)
    values[list(weighting.tissues)] = list(weighting.tissues.values())
    noise = Noise(size, 18.0, int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest()))
    for index, labels in enumerate(tissues):
        headers.plane(
            ds,
            number=index + 1,
            position=(corner, corner, step * (index + 0.5) - 52),
            orientation=TRANSVERSE,
            spacing=(pixel, pixel),
            thickness=step * 0.9,
        )
        # a magnitude image: noise lifts the background, never below zero
        image = np.abs(smooth(values[labels]) + noise.window())
        ds.PixelData = np.clip(image, 0, 4095).astype("<u2").tobytes()
        yield headers.part10(ds)


_NUMBER, _POSITION = "0000000", "-0000.000"  # of the width of every number and position


def bulk_study_uid(key: str) -> str:
    """Study Instance UID of `ct_series` with this key."""
    return headers.uid(f"bulk/{key}")


def ct_series(
    count: int, rows: int = 512, columns: int = 512, *, key: str = "bulk", number: int = 1
) -> Iterator[bytes]:
    """One CT series of `count` objects for benchmarks: a real header, one picture of noise in all of them.

    Same `key`: same study; `number` is the series in it. UIDs are unique for each (key, number, index), and
    as long as those of real scanners. Cheap: the header is encoded once, then patched.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    study = headers.study(
        headers.person(f"BULK {digest[:4]}", f"B{digest}", "19500101", "O"),
        key=f"bulk/{key}",
        date="20240601",
        time="120000",
        accession=f"SB{digest}",
        description="CT BULK (synthetic)",
    )
    ds = headers.series(
        study,
        key=f"bulk/{key}/{number}",
        modality="CT",
        number=number,
        description="Bulk (synthetic)",
        body_part="CHEST",
        station="SYNCT2",
    )
    headers.ct_acquisition(ds)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Rows, ds.Columns = rows, columns
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    headers.plane(
        ds,
        number=1,
        position=(-190.0, -190.0, 0.0),
        orientation=TRANSVERSE,
        spacing=(0.742188, 0.742188),
        thickness=0.625,
    )
    root = f"{ds.SeriesInstanceUID}.{number}."
    ds.SOPInstanceUID = UID(root + "1" + _NUMBER)
    ds.InstanceNumber = _NUMBER
    ds.ImagePositionPatient = ["-190.000", "-190.000", _POSITION]
    ds.SliceLocation = _POSITION
    ds.PixelData = b"\0" * (rows * columns * 2)
    template = headers.part10(ds)
    end = len(template) - rows * columns * 2
    uid, header = str(ds.SOPInstanceUID).encode(), template[:end]
    instance = b"IS" + len(_NUMBER + " ").to_bytes(2, "little")
    noise = np.random.default_rng(len(key)).integers(900, 1200, rows * columns, "u2")
    pixels = noise.astype("<u2").tobytes()
    for index in range(1, count + 1):
        patched = header.replace(uid, f"{root}1{index:07d}".encode())
        patched = patched.replace(instance + _NUMBER.encode(), instance + b"%07d" % index)
        patched = patched.replace(_POSITION.encode(), b"%+09.3f" % (index * -0.625))
        yield patched + pixels
