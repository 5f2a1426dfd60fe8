"""Every DICOM file of pydicom, pydicom-data and the samples goes into `hounsfield web` by STOW-RS, is found
by QIDO-RS with the values that pydicom reads, and comes back: byte for byte, as metadata, as bulk data, as
frames, rendered."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import pixel_array

from hounsfield.domain.attributes import ATTRIBUTES, Kind
from hounsfield.domain.query import Level
from support_dicomfile import normal_json
from support_rendering import decoded_cells
from support_stow import failures, stow, values
from support_transcode import EXPLICIT, RLE, all_files
from support_wado import OCTETS, Address, of_file, parts_of, read, related, with_own_uids
from support_web_process import WebProcess

#: No objects that an archive could find again: cut short, or without the UIDs that it is found by.
REFUSED = {
    "bad_sequence.dcm": "SOP Instance UID is not a UID",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "cut short",
    "chrSQEncoding.dcm": "SOP Class UID is missing",
    "chrSQEncoding1.dcm": "SOP Class UID is missing",
    "JPEGLSNearLossless_08.dcm": "Study Instance UID is missing",
    "JPEGLSNearLossless_16.dcm": "Study Instance UID is missing",
    "MR_truncated.dcm": "cut short",
    "SC_rgb_jls_lossy_line.dcm": "Study Instance UID is missing",
    "SC_rgb_jls_lossy_sample.dcm": "Study Instance UID is missing",
    "UN_sequence.dcm": "SOP Class UID is missing",
    "empty_charset_LEI.dcm": "SOP Class UID is missing",
    "meta_missing_tsyntax.dcm": "SOP Class UID is missing",
    "nested_priv_SQ.dcm": "SOP Class UID is missing",
    "no_meta_group_length.dcm": "SOP Class UID is missing",
    "priv_SQ.dcm": "SOP Class UID is missing",
    "rtplan_truncated.dcm": "cut short",
}


class Kept(NamedTuple):
    name: str
    data: bytes  # the file as it was sent
    at: Address


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    with WebProcess(tmp_path_factory.mktemp("corpus"), large_object=1) as made:
        yield made


@pytest.fixture(scope="module")
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with web.client() as made:
        yield made


@pytest.fixture(scope="module")
def corpus(client: httpx.Client) -> list[Kept]:
    """Those that were taken; the others are `REFUSED`, each for its reason."""
    kept = []
    refused: dict[str, str] = {}
    for number, path in enumerate(all_files()):
        data = with_own_uids(path.read_bytes(), number)
        answer = stow(client, [data])
        if answer.status_code == 200:
            if "palettes" not in path.parts:  # they are of no patient and no study
                kept.append(Kept(path.name, data, of_file(data)))
            continue
        assert (answer.status_code, len(failures(answer.json()))) == (409, 1), path
        refused[path.name] = answer.text
    assert refused.keys() == REFUSED.keys()
    assert not [name for name, why in REFUSED.items() if why not in refused[name]]
    return kept


def test_each_comes_back_byte_for_byte(client: httpx.Client, corpus: list[Kept]) -> None:
    """But for a preamble that is a program's: it is given out as zeros."""
    assert len(corpus) > 120
    for one in corpus:
        answer = client.get(one.at.instance, headers=related(syntax="*"))
        assert answer.status_code == 200, (one.name, answer.text)
        (part,) = parts_of(answer)
        assert part.data[128:] == one.data[128:], one.name
        assert part.data[:128] in (one.data[:128], bytes(128)), one.name


# Found ---------------------------------------------------------------------------------------------------

#: What the index makes itself.
_MADE = {"AvailableTransferSyntaxUID"}
_PARENT = {Level.STUDY: "", Level.SERIES: "study", Level.IMAGE: "series"}
_RESOURCE = {Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
_UID = {Level.STUDY: "StudyInstanceUID", Level.SERIES: "SeriesInstanceUID", Level.IMAGE: "SOPInstanceUID"}


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE], ids=lambda level: level.name)
def test_each_is_found_with_the_values_that_pydicom_reads(
    client: httpx.Client, corpus: list[Kept], level: Level
) -> None:
    alone = _alone(corpus)
    compared = 0
    for one in corpus:
        data_set = read(one.data)
        theirs = as_json(data_set)
        parent = getattr(one.at, _PARENT[level]) + "/" if _PARENT[level] else "/dicom-web/"
        uid = str(data_set[_UID[level]].value)
        answer = client.get(parent + _RESOURCE[level], params={_UID[level]: uid, "includefield": "all"})
        assert answer.status_code == 200, (one.name, answer.text)
        (found,) = answer.json()
        ours = normal_json(found)
        if one.at.study not in alone:
            continue  # another file may have told the patient and the study
        for attribute in ATTRIBUTES.values():
            counted = attribute.kind in (Kind.COUNT, Kind.SET) or attribute.keyword in _MADE
            if attribute.level > level or counted or attribute.keyword in BY_REQUEST:
                continue
            tag = f"{attribute.tag:08X}"
            told, wanted = ours.get(tag, {}).get("Value"), theirs.get(tag, {}).get("Value")
            assert told == wanted, (one.name, attribute.keyword)
            compared += wanted is not None
        if level is Level.STUDY:
            assert values(found, "00201208") == [1], one.name
            assert values(found, "00080062") == [data_set.SOPClassUID], one.name
    assert compared > 1000


#: Of the first item of Request Attributes Sequence: answered within it.
BY_REQUEST = {"ScheduledProcedureStepID", "RequestedProcedureID"}


def _alone(corpus: list[Kept]) -> set[str]:
    """Studies of which one file alone is there."""
    studies = [one.at.study for one in corpus]
    return {study for study in studies if studies.count(study) == 1}


def as_json(data_set: pydicom.Dataset) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return normal_json(json.loads(json.dumps(data_set.to_json_dict(suppress_invalid_tags=True))))


# Metadata and bulk data ----------------------------------------------------------------------------------


def test_metadata_say_what_pydicom_reads_and_bulk_data_are_its_bytes(
    client: httpx.Client, corpus: list[Kept]
) -> None:
    fetched = 0
    for one in corpus:
        answer = client.get(one.at.instance + "/metadata")
        assert answer.status_code == 200, (one.name, answer.text)
        (ours,) = answer.json()
        data_set = read(one.data)
        native = not data_set.file_meta.TransferSyntaxUID.is_encapsulated
        for path, uri, vr in bulk(ours):
            element = at_path(data_set, path)
            assert vr == element.VR or {element.VR, vr} <= {"OB", "OW", "UN"}, (one.name, path)
            if native or path != ("7FE00010",):  # compressed frames: below
                answer = client.get(uri, headers={"Accept": OCTETS})
                if two_readings(data_set):
                    assert answer.status_code == 406 and "read in two ways" in answer.text
                    continue
                assert answer.status_code == 200, (one.name, path, answer.text)
                assert answer.content == value_bytes(element, data_set), (one.name, path)
                fetched += 1
        theirs = as_json(data_set)
        ours = normal_json(ours)
        for tag in theirs.keys() | ours.keys():
            if tag in theirs and tag in ours:
                assert agree(ours[tag], theirs[tag]), (one.name, tag)
            else:  # a value that pydicom refuses to convert and leaves out
                assert tag in ours and int(tag, 16) in data_set, (one.name, tag)
    assert fetched > 70


def bulk(model: dict[str, Any], within: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Path, BulkDataURI and VR of each value that is not in the metadata themselves."""
    for tag, member in model.items():
        if "BulkDataURI" in member:
            yield (*within, tag), member["BulkDataURI"], member["vr"]
        if member.get("vr") == "SQ":
            for number, item in enumerate(member.get("Value", ())):
                yield from bulk(item, (*within, tag, str(number)))


def at_path(data_set: pydicom.Dataset, path: tuple[str, ...]) -> pydicom.DataElement:
    for tag, number in zip(path[:-1:2], path[1::2], strict=True):
        data_set = data_set[int(tag, 16)].value[int(number)]
    return data_set[int(path[-1], 16)]


#: How values of a VR are told apart in little endian; in a file in big endian their bytes are turned round.
_VALUES = {"OW": "u2", "US": "u2", "OF": "u4", "OL": "u4", "OD": "u8", "OV": "u8"}


def value_bytes(element: pydicom.DataElement, data_set: pydicom.Dataset) -> bytes:
    """As it goes out: in little endian."""
    kind = _VALUES.get(element.VR, "u1")
    if not isinstance(element.value, bytes):
        return np.array(element.value).astype(f"<{kind}").tobytes()
    order = "<" if data_set.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(element.value, f"{order}{kind}").astype(f"<{kind}").tobytes()


def two_readings(data_set: pydicom.Dataset) -> bool:
    """Pixels of 32 bits in big endian: nobody knows whether bytes or words are turned round."""
    return not data_set.file_meta.TransferSyntaxUID.is_little_endian and data_set.BitsAllocated == 32


def agree(ours: Any, theirs: Any) -> bool:
    """Of members and their values, where bulk data stand in for what they hold."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if "BulkDataURI" in ours:
            return True  # fetched and compared
        return ours.keys() == theirs.keys() and all(agree(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(agree, ours, theirs))
    return bool(ours == theirs)


# Pixels --------------------------------------------------------------------------------------------------

#: Its Number of Frames is "1A", which pydicom does not read.
BEYOND_PYDICOM = {"badVR.dcm"}
#: A delimiter is planted in the codestream's header.
BROKEN = {"JPEG2000-embedded-sequence-delimiter.dcm"}
#: Plans, and headers without pixels.
NOTHING_TO_SHOW = {"rtplan.dcm", "chrKoreanMulti.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm"}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def test_frames_are_what_pydicom_decodes(client: httpx.Client, corpus: list[Kept]) -> None:
    compared = 0
    for one in corpus:
        data_set = read(one.data)
        if one.name in BEYOND_PYDICOM:
            continue
        last = int(data_set.get("NumberOfFrames") or 1)
        for number in sorted({1, last}):
            answer = client.get(f"{one.at.instance}/frames/{number}", headers={"Accept": OCTETS})
            if not any(name in data_set for name in _PIXELS) or one.name in BROKEN or two_readings(data_set):
                assert answer.status_code == 406, (one.name, answer.text)
                assert len(answer.json()["detail"]) > 20
                continue
            assert answer.status_code == 200, (one.name, answer.text)
            assert answer.headers["content-type"] == f"{OCTETS}; transfer-syntax={EXPLICIT}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = frame_by_pydicom(data_set, number)
                given = as_a_client_reads(answer.content, data_set)
            assert given.dtype == wanted.dtype or not data_set.file_meta.TransferSyntaxUID.is_little_endian
            assert np.array_equal(given, wanted), (one.name, number)
            compared += 1
    assert compared > 120


def frame_by_pydicom(data_set: pydicom.Dataset, number: int) -> np.ndarray:
    """Colours as they are stored where only a codec would change them."""
    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and syntax != RLE:
        return decoded_cells(data_set, str(syntax), number)
    return pixel_array(data_set, index=number - 1, raw=True)


def as_a_client_reads(frame: bytes, data_set: pydicom.Dataset) -> np.ndarray:
    """The pixels of a native frame, by the attributes of its object; what was compressed is by pixel now."""
    alone = pydicom.Dataset()
    for element in data_set.group_dataset(0x0028):
        if element.tag.element <= 0x0103:
            alone.add(copy.copy(element))
    alone.NumberOfFrames = 1
    if data_set.file_meta.TransferSyntaxUID.is_encapsulated and alone.SamplesPerPixel > 1:
        alone.PlanarConfiguration, alone.PhotometricInterpretation = 0, "RGB"
    name = next(name for name in _PIXELS if name in data_set)
    setattr(alone, name, frame + b"\0" * (len(frame) % 2))
    alone[name].VR = data_set[name].VR if name != "PixelData" else "OW"
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = EXPLICIT
    return pixel_array(alone, raw=True)


def test_each_is_rendered_or_refused_with_a_reason(client: httpx.Client, corpus: list[Kept]) -> None:
    refused = set()
    for one in corpus:
        answer = client.get(one.at.instance + "/rendered")
        if answer.status_code == 200:
            assert BEGINNINGS[answer.headers["content-type"].partition(";")[0]] in answer.content[:200]
            continue
        assert answer.status_code == 406, (one.name, answer.text)
        assert len(answer.json()["detail"]) > 30, one.name
        refused.add(one.name)
    assert refused == NOTHING_TO_SHOW | BROKEN


BEGINNINGS = {"image/jpeg": b"\xff\xd8\xff", "text/html": b"<!DOCTYPE html>", "image/svg+xml": b"<svg"}
