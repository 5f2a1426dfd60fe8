"""Synthetic studies: deterministic, complete, marked as synthetic, and without complaint from dciodvfy."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from hounsfield.hospital import synthetic


@pytest.fixture(scope="module")
def chest() -> list[bytes]:
    return list(synthetic.ct_chest(slices=16))


@pytest.fixture(scope="module")
def head() -> list[bytes]:
    return list(synthetic.mr_head(slices=4))


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def test_the_same_arguments_give_the_same_bytes(chest: list[bytes]) -> None:
    assert list(synthetic.ct_chest(slices=16)) == chest
    other = read(next(synthetic.ct_chest(slices=16, seed=2)))
    assert other.StudyInstanceUID != read(chest[0]).StudyInstanceUID
    assert other.PatientID != read(chest[0]).PatientID


def test_every_object_says_that_it_is_synthetic(chest: list[bytes], head: list[bytes]) -> None:
    for data in (*chest, *head, *synthetic.ct_series(2, 8, 8)):
        ds = read(data)
        assert str(ds.PatientName).startswith("SYNTHETIC^")
        assert ds.PatientID.startswith("SYN-")
        assert ds.PatientComments == ds.ImageComments == "Synthetic data, not a person"
        assert ds.InstitutionName == "Hounsfield synthetic"
        assert ds.BurnedInAnnotation == "NO"
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_the_chest_is_a_volume_with_a_scout(chest: list[bytes]) -> None:
    *axial, scout = [read(data) for data in chest]
    assert len(axial) == 16
    assert len({ds.SOPInstanceUID for ds in (*axial, scout)}) == 17
    assert len({ds.SeriesInstanceUID for ds in axial}) == 1
    assert scout.StudyInstanceUID == axial[0].StudyInstanceUID
    assert scout.SeriesInstanceUID != axial[0].SeriesInstanceUID
    assert scout.ImageType[2] == "LOCALIZER"
    heights = [float(ds.ImagePositionPatient[2]) for ds in axial]
    assert np.allclose(np.diff(heights), -20)
    assert {(ds.Rows, ds.Columns) for ds in axial} == {(512, 512)}


def test_the_chest_holds_air_lung_muscle_and_bone(chest: list[bytes]) -> None:
    ds = read(chest[8])
    values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    assert values[5, 5] == pytest.approx(-1000, abs=60)
    x = round(256 + 90 / float(ds.PixelSpacing[1]))  # 90 mm to the left, 35 mm to the back: lung
    y = round(256 + 35 / float(ds.PixelSpacing[0]))
    assert np.median(values[y - 5 : y + 5, x - 5 : x + 5]) == pytest.approx(-860, abs=20)
    assert np.count_nonzero(values > 300) > 500  # bone
    assert np.count_nonzero(np.abs(values - 50) < 30) > 10_000  # muscle and blood
    assert not np.array_equal(read(chest[0]).pixel_array, read(chest[8]).pixel_array)


def test_the_head_has_two_priors_of_the_same_patient(head: list[bytes]) -> None:
    images = [read(data) for data in head]
    assert {ds.PatientID for ds in images} == {"SYN-MR0001"}
    studies = {ds.StudyInstanceUID: ds.StudyDate for ds in images}
    assert len(studies) == len(set(studies.values())) == 3
    series = {ds.SeriesInstanceUID: ds.SeriesDescription for ds in images}
    assert len(series) == 9
    assert {text.split()[0] for text in series.values()} == {"T1", "T2", "FLAIR"}
    assert len({ds.SOPInstanceUID for ds in images}) == len(images) == 36
    assert len({ds.AccessionNumber for ds in images}) == 3


def test_bulk_series_have_unique_uids_and_the_size_asked_for() -> None:
    first = list(synthetic.ct_series(50, 96, 96, key="a"))
    same_study = list(synthetic.ct_series(50, 96, 96, key="a", number=2))
    other_study = list(synthetic.ct_series(50, 96, 96, key="b"))
    images = [read(data) for data in (*first, *same_study, *other_study)]
    assert len({ds.SOPInstanceUID for ds in images}) == 150
    assert len({ds.SeriesInstanceUID for ds in images}) == 3
    assert len({ds.StudyInstanceUID for ds in images}) == len({ds.PatientID for ds in images}) == 2
    assert [int(ds.InstanceNumber) for ds in images[:50]] == list(range(1, 51))
    assert float(images[9].ImagePositionPatient[2]) == float(images[9].SliceLocation) == -6.25
    assert images[0].pixel_array.shape == (96, 96)
    assert {len(data) for data in first} == {len(first[0])}
    assert 96 * 96 * 2 < len(first[0]) < 96 * 96 * 2 + 4096
    assert len(images[0]) > 90  # elements, about what a scanner sends


@pytest.mark.peer("dicom3tools")
@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy: apt-get install dicom3tools")
def test_dciodvfy_finds_nothing(chest: list[bytes], head: list[bytes], tmp_path: Path) -> None:
    files = {"axial": chest[3], "scout": chest[-1], "bulk": next(synthetic.ct_series(1, 16, 16))}
    files |= {f"mr{number}": head[number] for number in (0, 4, 8)}
    for name, data in files.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        said = [line for line in ran.stderr.splitlines() if line.startswith(("Error", "Warning"))]
        assert not said, (name, said)
        assert ran.stderr.strip() in ("CTImage", "MRImage"), ran.stderr  # it did read it
