"""Every file of pydicom, stored and retrieved over HTTP: whole, its frames, its metadata, its bulk data."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Iterator

import httpx
import pydicom
import pytest
from blake3 import blake3
from pydicom.encaps import generate_frames

from hounsfield.domain.errors import UnreadableError
from hounsfield.domain.study import StoredInstance
from hounsfield.services.packing import Packer
from support_transcode import all_files
from support_wado import (
    DICOM,
    EXPLICIT,
    OCTETS,
    address_of,
    bring_in,
    data_set_of,
    kept,
    parts_of,
    read,
    related,
    with_own_uids,
)
from support_web import WebArchive

AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    folder = tmp_path_factory.mktemp("wado-files")
    with WebArchive(folder, large_object=1, http_rate=0) as made:
        files = folder / "files"
        files.mkdir()
        for number, path in enumerate(all_files()):
            (files / f"{number}.dcm").write_bytes(with_own_uids(path.read_bytes(), number))
        bring_in(made, folder, [files])
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as found:
        yield found


def by_study(archive: WebArchive) -> dict[str, list[StoredInstance]]:
    studies = defaultdict(list)
    for instance in kept(archive):
        studies[instance.study_instance_uid].append(instance)
    return studies


def original(archive: WebArchive, instance: StoredInstance) -> bytes:
    return bytes(archive.web.reader.part10(instance))


def test_studies_come_back_byte_for_byte(archive: WebArchive, client: httpx.Client) -> None:
    studies = by_study(archive)
    assert sum(map(len, studies.values())) > 100
    for study, instances in studies.items():
        answer = client.get(f"/dicom-web/studies/{study}", headers=AS_STORED)
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        parts = parts_of(answer)
        hashes = {blake3(data_set_of(part.data)).digest() for part in parts}
        assert hashes == {instance.content_hash for instance in instances}
        files = {original(archive, instance)[132:] for instance in instances}
        assert {part.data[132:] for part in parts} == files
        assert {part.transfer_syntax for part in parts} == {i.transfer_syntax_uid for i in instances}


def test_without_a_transfer_syntax_all_that_can_be_decoded_is_explicit(
    archive: WebArchive, client: httpx.Client
) -> None:
    for study, instances in by_study(archive).items():
        answer = client.get(f"/dicom-web/studies/{study}", headers=related(DICOM))
        parts = parts_of(answer)
        assert len(parts) == len(instances)
        stored = {instance.sop_instance_uid: instance for instance in instances}
        for part in parts:
            data_set = read(part.data)
            assert data_set.file_meta.TransferSyntaxUID == part.transfer_syntax
            instance = stored[data_set.SOPInstanceUID]
            if part.transfer_syntax == EXPLICIT:
                continue
            assert part.transfer_syntax == instance.transfer_syntax_uid
            if EXPLICIT in archive.web.transcoder.targets(part.transfer_syntax):
                with pytest.raises(UnreadableError):  # broken: goes as it is
                    archive.web.transcoder.convert(data_set_of(part.data), part.transfer_syntax, EXPLICIT)


def test_frames_as_they_are_stored(archive: WebArchive, client: httpx.Client) -> None:
    compared = 0
    for instance in kept(archive):
        data_set = read(original(archive, instance))
        if "PixelData" not in data_set or data_set.file_meta.TransferSyntaxUID.endswith(".1.99"):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = frames_of(data_set)
        except (ValueError, AttributeError, TypeError, EOFError):
            continue  # pydicom cannot tell either
        if expected is None:
            continue
        numbers = ",".join(str(n + 1) for n in range(min(len(expected), 20)))
        answer = client.get(
            f"{address_of(instance).instance}/frames/{numbers}", headers=related(OCTETS, "*", quoted=False)
        )
        assert answer.status_code == 200, (instance.sop_instance_uid, answer.text)
        assert [part.data for part in parts_of(answer)] == expected[:20]
        compared += 1
    assert compared > 80


def frames_of(data_set: pydicom.Dataset) -> list[bytes] | None:
    """As pydicom takes them apart; None for those whose bytes in the file are not what goes out."""
    count = int(data_set.get("NumberOfFrames") or 1)
    syntax = data_set.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        frames = list(generate_frames(data_set.PixelData, number_of_frames=count))
        return frames if len(frames) == count else None
    bits = data_set.Rows * data_set.Columns * data_set.SamplesPerPixel * data_set.BitsAllocated
    if not syntax.is_little_endian or bits % 8 or data_set.PhotometricInterpretation == "YBR_FULL_422":
        return None
    size = bits // 8
    if len(data_set.PixelData) < size * count:
        return None
    return [data_set.PixelData[n * size : (n + 1) * size] for n in range(count)]


def test_metadata_agree_before_and_after_a_series_has_settled(
    archive: WebArchive, client: httpx.Client
) -> None:
    """And each address of bulk data in them gives the value."""
    studies = by_study(archive)
    before = {study: client.get(f"/dicom-web/studies/{study}/metadata").json() for study in studies}
    web = archive.web
    packer = Packer(web.database, web.blobs, web.clock, settle=0, rest_share=0)
    for series in {instance.series_instance_uid for instance in kept(archive)}:
        packer.pack(series)
    ready = 0
    for study, instances in studies.items():
        with web.database.read() as tx:
            ready += sum(
                tx.index.metadata(series) is not None for series in {i.series_instance_uid for i in instances}
            )
        after = client.get(f"/dicom-web/studies/{study}/metadata").json()
        assert _sorted(after) == _sorted(before[study])
        assert len(after) == len(instances)
    assert ready > 50


def _sorted(objects: list[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(one, sort_keys=True) for one in objects)


def test_bulk_data_are_what_the_metadata_point_at(archive: WebArchive, client: httpx.Client) -> None:
    compared = 0
    for instance in kept(archive):
        metadata = client.get(f"{address_of(instance).instance}/metadata").json()[0]
        data_set = read(original(archive, instance))
        syntax = data_set.file_meta.get("TransferSyntaxUID", EXPLICIT)
        for tag, member in metadata.items():
            uri = member.get("BulkDataURI")
            if uri is None or not syntax.is_little_endian or syntax.is_deflated:
                continue
            element = data_set.get(int(tag, 16))
            if element is None or not isinstance(element.value, bytes):
                continue
            if tag == "7FE00010" and syntax.is_encapsulated:
                continue  # its frames are compared above
            answer = client.get(uri)
            assert answer.status_code == 200, (uri, answer.text)
            assert answer.content == element.value
            compared += 1
    assert compared > 50
