"""Objects that mean harm, over HTTP: brought in by STOW-RS, and whatever was taken asked for in every way."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

import httpx
import imagecodecs
import numpy as np
import pytest

from support_hostile import CT, DEFLATED, EXPLICIT, IMPLICIT, data_set, element
from support_hostile_objects import (
    BOMBS,
    NEVER_ENDING,
    ODD,
    UNDEFINED,
    deflated,
    empty_items,
    nested,
    tiny_elements,
)
from support_hostile_web import MIB, asked_in_every_way, part10, refused, unimpressed
from support_rendering import explicit, image_set
from support_stow import STUDIES, new_uid, referenced, stow
from support_stow import related as upload
from support_transcode import HTJ2K, J2K, JPEG, JPEG_LOSSLESS, JPEG_LS, RLE, encapsulated
from support_web_process import WebProcess


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("hostile-web")
    with WebProcess(folder, memory_budget=16, large_object=1, pixel_processes=2) as made:
        yield made


@pytest.fixture
def client(web: WebProcess) -> Iterator[httpx.Client]:
    with unimpressed(web) as made:
        yield made


# Parsing -------------------------------------------------------------------------------------------------


SYNTAXES = {"LE": EXPLICIT, "implicit": IMPLICIT, "BE": "1.2.840.10008.1.2.2", "deflated": DEFLATED}


@pytest.mark.parametrize("syntax", SYNTAXES.values(), ids=SYNTAXES)
@pytest.mark.parametrize("what", ODD)
def test_odd_data_sets(client: httpx.Client, what: str, syntax: str) -> None:
    """Written in explicit little endian, said to be in another syntax as well."""
    uid = new_uid()
    data = ODD[what](uid)
    data = deflated(data) if syntax == DEFLATED else data
    answer = stow(client, [part10(uid, data, syntax)])
    if not refused(answer):
        (kept,) = referenced(answer.json())
        asked_in_every_way(client, kept, data)


@pytest.mark.parametrize("what", NEVER_ENDING)
def test_undefined_lengths_that_never_end(client: httpx.Client, what: str) -> None:
    uid = new_uid()
    place = "after" if what in ("request attributes", "pixel data", "fragment") else "before"
    pixels = None if place == "after" else bytes(8)
    data = data_set(uid, pixels=pixels, **{place: NEVER_ENDING[what]})  # type: ignore[arg-type]
    assert refused(stow(client, [part10(uid, data)]))


def test_truncated_at_every_byte(client: httpx.Client) -> None:
    """The preamble and the file meta group too, many objects in each request."""
    uid = new_uid()
    whole = part10(uid, data_set(uid, pixels=bytes(range(16))))
    kept = [length for length in range(len(whole)) if stow(client, [whole[:length]]).status_code == 200]
    assert len(kept) < 12, kept  # where an element ends, and all that an object needs was there
    assert not kept or kept[0] > 300


META = {
    "an unknown VR of nearly 4 GiB": struct.pack("<HH2sHL", 2, 0x10, b"ZZ", 0, UNDEFINED - 1),
    "OB of 4 GiB": element(0x00020001, b"OB", b"\0\1", UNDEFINED),
    "a sequence": element(0x00020010, b"SQ", b"", UNDEFINED),
    "a text of 64 KiB": element(0x00020010, b"UI", b"1" * 65534),
    "no transfer syntax": element(0x00020002, b"UI", CT.encode() + b"\0"),
    "an unknown transfer syntax": element(0x00020010, b"UI", b"1.2.3.4"),
    "a transfer syntax that is a path": element(0x00020010, b"UI", b"../../../etc/x"),
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("what", META)
@pytest.mark.parametrize("length", [None, 0, UNDEFINED], ids=["right", "none", "4 GiB"])
def test_file_meta_groups(client: httpx.Client, what: str, length: int | None) -> None:
    group = META[what]
    size = struct.pack("<L", len(group) if length is None else length)
    uid = new_uid()
    file = bytes(128) + b"DICM" + element(0x00020000, b"UL", size) + group + data_set(uid)
    answer = stow(client, [file, part10(uid, data_set(uid))])
    assert answer.status_code in (200, 202), answer.text
    assert uid in referenced(answer.json())


GREY = (np.arange(40 * 40).reshape(40, 40) % 251).astype("u1")
STREAMS = {
    JPEG: bytes(imagecodecs.jpeg8_encode(GREY, level=90)),
    JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(GREY, lossless=True)),
    JPEG_LS: bytes(imagecodecs.jpegls_encode(GREY)),
    J2K: bytes(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k", reversible=True, level=0)),
    HTJ2K: bytes(imagecodecs.htj2k_encode(GREY)),
    RLE: struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 20,
}


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("how", ["cut", "noise", "flipped", "empty", "another's"])
def test_broken_streams(client: httpx.Client, syntax: str, how: str) -> None:
    """One request each; a whole one is shown right after."""
    stream = STREAMS[syntax]
    wrong = {
        "cut": stream[: len(stream) // 2],
        "noise": stream[:20] + np.random.default_rng(3).bytes(3000),
        "flipped": bytes(b ^ (0xFF if 30 < n < 60 else 0) for n, b in enumerate(stream)),
        "empty": b"",
        "another's": STREAMS[JPEG if syntax == JPEG_LS else JPEG_LS],
    }[how]
    study = new_uid()
    sop = f"{study}.1.1"
    uids = {0x00080018: ("UI", sop), 0x0020000D: ("UI", study), 0x0020000E: ("UI", f"{study}.1")}
    data = encapsulated([[wrong]], (40, 40), bits=8, extra=uids)
    assert stow(client, [part10(sop, data, syntax, "1.2.840.10008.5.1.4.1.1.7")]).status_code == 200
    told = asked_in_every_way(client, sop, data, study)
    if how in ("noise", "empty"):
        assert told["/rendered */*"] == 406


# Size ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0x00080005, 0x00100010, 0x00091001, 0x00400275, 0x7FE00010], ids=hex)
@pytest.mark.parametrize("vr", [b"OB", b"UN", b"SQ", b"UT"])
def test_elements_of_nearly_4_gib(client: httpx.Client, number: int, vr: bytes) -> None:
    uid = new_uid()
    place = "before" if number < 0x00100020 else "after"
    data = data_set(uid, **{place: element(number, vr, b"x" * 10, UNDEFINED - 1)})  # type: ignore[arg-type]
    assert refused(stow(client, [part10(uid, data)]))


@pytest.mark.parametrize("where", BOMBS)
def test_deflated_bombs(client: httpx.Client, where: str) -> None:
    """300 MiB in 300 KiB: refused, or kept as it came and not inflated for anybody."""
    uid = new_uid()
    data = deflated(BOMBS[where](uid))
    if not refused(stow(client, [part10(uid, data, DEFLATED)])):
        asked_in_every_way(client, uid, data)


@pytest.mark.parametrize(
    "before",
    [nested(10_000, ended=True), nested(10_000, ended=False), tiny_elements(), empty_items()],
    ids=["nested", "nested without end", "elements", "items"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_very_many_and_very_deep(client: httpx.Client, before: bytes, place: str) -> None:
    """`after`: behind all that the index wants to know, where tags do not go up any more."""
    uid = new_uid()
    data = data_set(uid, **{place: before})  # type: ignore[arg-type]
    if not refused(stow(client, [part10(uid, data)])):
        asked_in_every_way(client, uid, data)


def test_many_private_elements_in_order(client: httpx.Client) -> None:
    """As many as fit a header, twice in a study: metadata of each, and of both."""
    study = new_uid()
    many = b"".join(element(0x00091000 + n, b"LO", b"value of it ") for n in range(0x1000, 0xE000))
    for number in range(2):
        sop = f"{study}.1.{number}1"
        data = data_set(sop, study=study, series=f"{study}.1", after=b"", before=many)
        if not refused(stow(client, [part10(sop, data)])):
            asked_in_every_way(client, sop, data, study)


@pytest.mark.parametrize(
    "image",
    [
        {"rows": 65535, "columns": 65535, "pixels": None},
        {"rows": 65535, "columns": 65535, "frames": "2147483648", "pixels": bytes(8)},
        {"rows": 65535, "columns": 65535},
        {"frames": "2147483648"},
        {"frames": "99999999999"},
        {"frames": "-1"},
        {"rows": 0, "columns": 0},
    ],
    ids=str,
)
def test_images_larger_than_they_are(client: httpx.Client, image: dict[str, object]) -> None:
    study = new_uid()
    sop = f"{study}.1.1"
    data = data_set(sop, study=study, series=f"{study}.1", **image)  # type: ignore[arg-type]
    assert stow(client, [part10(sop, data)]).status_code == 200
    told = asked_in_every_way(client, sop, data, study)
    if image.get("rows") == 65535:
        assert told["/rendered */*"] == told["/thumbnail */*"] == 406


@pytest.mark.parametrize("path", [STUDIES, "/api/studies/search", "/login"])
def test_bodies_that_are_compressed(client: httpx.Client, path: str) -> None:
    """100 MiB in 100 KiB: nobody unpacks them."""
    body = gzip.compress(bytes(100 * MIB))
    for encoding in ("gzip", "GZIP, gzip", "deflate", "br"):
        kind = upload([])[1]["Content-Type"] if path == STUDIES else "application/json"
        headers = {"Content-Encoding": encoding, "Content-Type": kind}
        answer = client.post(path, content=body, headers=headers)
        assert answer.status_code in (400, 403, 415, 422), (encoding, answer.text)


def test_a_palette_shorter_than_its_index(client: httpx.Client) -> None:
    study = new_uid()
    image = image_set(GREY, "PALETTE COLOR")
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = (
        f"{study}.1.1",
        study,
        f"{study}.1",
    )
    for place in (1, 2, 3):
        image.add_new((0x0028, 0x1100 + place), "US", [4, 0, 16])
        image.add_new((0x0028, 0x1200 + place), "OW", bytes(8))
    data = explicit(image)
    assert stow(client, [part10(f"{study}.1.1", data, sop_class=str(image.SOPClassUID))]).status_code == 200
    assert asked_in_every_way(client, f"{study}.1.1", data, study)["/rendered */*"] == 200
