"""Conversion between native transfer syntaxes, over every native file there is and against dcmconv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from hounsfield.adapters.transcode import Transcoder
from hounsfield.domain.errors import UnreadableError
from support_transcode import BIG, DEFLATED, EXPLICIT, IMPLICIT, all_files, dcmtk, read, stored

NATIVE = [
    path
    for path in all_files()
    if stored(path).syntax in (EXPLICIT, IMPLICIT, BIG, DEFLATED) and "truncated" not in path.name
]
OPTIONS = {IMPLICIT: "+ti", EXPLICIT: "+te", BIG: "+tb"}


@pytest.fixture(scope="module")
def transcoder() -> Iterator[Transcoder]:
    made = Transcoder(processes=1)
    yield made
    made.close()


def _file(name: str) -> Path:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return Path(path)


def _differences(ours: pydicom.Dataset, theirs: pydicom.Dataset) -> list[object]:
    """Elements that differ, but for group lengths, and private sequences that one of us knows as UN."""
    found: list[object] = []
    for tag in sorted(set(ours.keys()) | set(theirs.keys())):
        one, other = ours.get(tag), theirs.get(tag)
        if tag.element == 0:
            continue
        if one is None or other is None:
            found.append((tag, "missing"))
        elif one.VR == other.VR == "SQ":
            found += [1] * (len(one.value) != len(other.value))
            for mine, item in zip(one.value, other.value, strict=False):
                found += _differences(mine, item)
        elif one != other and not (tag.is_private and "UN" in (one.VR, other.VR)):
            found.append((tag, one.VR, other.VR))
    return found


@pytest.mark.peer("dcmtk")
@pytest.mark.parametrize("target", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_every_element_is_what_dcmconv_makes_of_it(
    transcoder: Transcoder, path: Path, target: str, tmp_path: Path
) -> None:
    source = stored(path)
    if source.syntax == target:
        return
    try:
        ours = transcoder.convert(source.data, source.syntax, target)
    except UnreadableError as error:
        assert "read in two ways" in error.what and read(source.data, source.syntax).BitsAllocated == 32
        return
    theirs = dcmtk("dcmconv", OPTIONS[target], source=path, folder=tmp_path)
    assert theirs is not None
    assert _differences(read(ours, target), theirs) == []


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: path.name)
def test_there_and_back_again(transcoder: Transcoder, path: Path) -> None:
    """Values never change: implicit VR, which has nothing else, is the same bytes after any detour."""
    source = stored(path)
    if source.syntax == BIG:
        return
    implicit = source.data
    if source.syntax != IMPLICIT:
        implicit = transcoder.convert(implicit, source.syntax, IMPLICIT)
    explicit = transcoder.convert(implicit, IMPLICIT, EXPLICIT)
    assert transcoder.convert(explicit, EXPLICIT, DEFLATED) != explicit
    deflated = transcoder.convert(implicit, IMPLICIT, DEFLATED)
    assert len(deflated) % 2 == 0
    assert transcoder.convert(deflated, DEFLATED, EXPLICIT) == explicit
    again = transcoder.convert(explicit, EXPLICIT, IMPLICIT)
    if source.syntax != IMPLICIT:
        assert again == implicit
    else:  # group lengths are left out
        assert transcoder.convert(transcoder.convert(again, IMPLICIT, EXPLICIT), EXPLICIT, IMPLICIT) == again
        assert _differences(read(again, IMPLICIT), read(implicit, IMPLICIT)) == []


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "reportsi.dcm", "test-SR.dcm", "eCT_Supplemental.dcm"]
)
def test_explicit_comes_back_byte_for_byte_where_every_vr_is_known(transcoder: Transcoder, name: str) -> None:
    source = stored(_file(name))
    assert source.syntax == EXPLICIT
    implicit = transcoder.convert(source.data, EXPLICIT, IMPLICIT)
    assert transcoder.convert(implicit, IMPLICIT, EXPLICIT) == source.data
    big = transcoder.convert(source.data, EXPLICIT, BIG)
    assert big != source.data
    assert transcoder.convert(big, BIG, EXPLICIT) == source.data


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "emri_small_big_endian.dcm", "liver_expb.dcm"])
def test_big_endian_comes_back_byte_for_byte(transcoder: Transcoder, name: str) -> None:
    source = stored(_file(name))
    little = transcoder.convert(source.data, BIG, EXPLICIT)
    assert transcoder.convert(little, EXPLICIT, BIG) == source.data
