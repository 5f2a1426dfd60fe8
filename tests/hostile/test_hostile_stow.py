"""Bodies of store requests that are not what they say they are."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import httpx
import psutil
import pytest

from hounsfield.wire.dicomfile.part10 import read_meta
from support_services import part10
from support_stow import BOUNDARY, DICOM, JSON, STUDIES, XML, failures, new_uid, referenced, related, stow
from support_web import WebArchive, wait_for

MIB = 1 << 20


@pytest.fixture(autouse=True)
def unharmed() -> None:
    """In the place of the folder's own, which watches over the dicom role."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    folder = tmp_path_factory.mktemp("hostile-stow")
    with WebArchive(folder, settle_seconds=3600, memory_budget=16, large_object=1) as archive:
        yield archive


@pytest.fixture
def client(web: WebArchive) -> Iterator[httpx.Client]:
    """What it did is over, and took nothing with it."""
    with web.client() as found:
        yield found
        [data] = one()
        assert stow(found, [data]).status_code == 200
    wait_for(lambda: web.web.store.budget.used == 0, "memory is given back")
    assert not list((web.settings.data / "uploads").glob("*"))


def one(pixels: bytes = b"") -> list[bytes]:
    study = new_uid()
    return [part10(f"{study}.1.1", study=study, series=f"{study}.1", pixels=pixels)]


HEADERS = related([])[1]


def test_a_million_parts(client: httpx.Client) -> None:
    part = f"--{BOUNDARY}\r\nContent-Type: {DICOM}\r\n\r\nx\r\n".encode()

    def body() -> Iterator[bytes]:
        for _ in range(1000):
            yield part * 1000

    try:
        answer = client.post(STUDIES, content=body(), headers=HEADERS)
    except httpx.WriteError:
        return  # it was told so, and did not listen
    assert answer.status_code == 413


def test_a_boundary_that_never_comes(client: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(64):
            yield b"\r\n--" + bytes(MIB)

    try:
        answer = client.post(STUDIES, content=body(), headers=HEADERS)
    except httpx.WriteError:
        return
    assert answer.status_code == 400


def test_a_part_that_never_ends(web: WebArchive, client: httpx.Client) -> None:
    """No final boundary behind an endless object: on the disk, not in memory, and then gone."""
    [data] = one()
    before = psutil.Process().memory_info().rss

    def body() -> Iterator[bytes]:
        yield f"--{BOUNDARY}\r\nContent-Type: {DICOM}\r\n\r\n".encode() + data[:-16]
        for _ in range(300):
            yield bytes(MIB)

    answer = client.post(STUDIES, content=body(), headers=HEADERS)
    assert answer.status_code == 400
    assert psutil.Process().memory_info().rss - before < 100 * MIB


def test_no_final_boundary_keeps_what_was_complete(client: httpx.Client) -> None:
    first, second = one()[0], one()[0]
    body, headers = related([first, second])
    answer = client.post(STUDIES, content=body[: -len(second) // 2], headers=headers)
    assert answer.status_code == 400
    assert "1 objects before it are kept" in answer.json()["detail"]


@pytest.mark.parametrize("announced", ["4294967296", "99999999999999999999", "-1", "0x10", "1\t2"])
def test_a_content_length_that_lies(web: WebArchive, client: httpx.Client, announced: str) -> None:
    body, headers = related(one())
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as plain:
        lines = [
            f"POST {STUDIES} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {web.admin_token}",
            f"Content-Length: {announced}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        plain.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        plain.shutdown(socket.SHUT_WR)
        answer = plain.recv(4096)
    assert not answer.startswith(b"HTTP/1.1 20")


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: " + "a/" * 100_000,
        "\r\n".join(f"X-{n}: y" for n in range(10_000)),
        "Content-Type: application/dicom\x00",
        "Content-Type application/dicom",
        "Content-Type: image/png",
        "Content-Type: image/png\r\nContent-Location: \x01",
    ],
    ids=["long", "many", "NUL", "no colon", "neither", "control character"],
)
def test_heads_of_parts(client: httpx.Client, head: str) -> None:
    body = f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + one()[0] + f"\r\n--{BOUNDARY}--\r\n".encode()
    assert client.post(STUDIES, content=body, headers=HEADERS).status_code in (400, 413, 415)


@pytest.mark.parametrize("cut", [0, 1, 100, 131, 132, 140, 200, 300, 400, -1])
def test_objects_cut_short(client: httpx.Client, cut: int) -> None:
    answer = stow(client, [one()[0][:cut]])
    assert answer.status_code == 409
    assert [reason for _, reason in failures(answer.json())] == [0xC000]


def test_one_byte_at_a_time(client: httpx.Client) -> None:
    [data] = one()
    body, headers = related([data])
    answer = client.post(STUDIES, content=(body[at : at + 1] for at in range(len(body))), headers=headers)
    assert (answer.status_code, len(referenced(answer.json()))) == (200, 1)


@pytest.mark.parametrize("uid", ["../../../../tmp/x", "/etc/x", "1.2/../3", "1" * 65, "", "1.2\0.3"])
def test_uids_that_are_paths(client: httpx.Client, uid: str) -> None:
    member = {"vr": "UI", "Value": [uid]}
    data_set = {"00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]}}
    data_set |= dict.fromkeys(("00080018", "0020000D", "0020000E"), member)
    body, headers = related([(JSON, json.dumps([data_set]).encode(), "")], JSON)
    assert client.post(STUDIES, content=body, headers=headers).status_code == 409


@pytest.mark.parametrize(
    "document",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[{}" + b",{}" * 3_000_000 + b"]", b"\xff\xfe", b"[1]", b""],
    ids=["arrays", "objects", "many", "no UTF-8", "a number", "empty"],
)
def test_metadata_that_are_none(client: httpx.Client, document: bytes) -> None:
    body, headers = related([(JSON, document, "")], JSON)
    assert client.post(STUDIES, content=body, headers=headers).status_code in (400, 409, 413)


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><NativeDicomModel>&b;</NativeDicomModel>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        b"<NativeDicomModel>" * 10_000,
        b"not XML",
        b'<?xml version="1.0" encoding="utf-7"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="big5"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="base64"?><NativeDicomModel/>',
    ],
    ids=["entities", "external", "deep", "text", "utf-7", "big5", "base64"],
)
def test_xml_that_is_none(client: httpx.Client, document: bytes) -> None:
    body, headers = related([(XML, document, "")], XML)
    assert client.post(STUDIES, content=body, headers=headers).status_code in (400, 409)


def test_private_blocks_of_many_groups(client: httpx.Client) -> None:
    """Each creator is given a block; looking for a free one is not begun anew for each."""
    groups = [f"{group:04X}" for group in range(0x11, 0x1111, 2)]
    elements = "".join(
        f'<DicomAttribute tag="{group}0001" vr="LO" privateCreator="c{n}"/>'
        for group in groups
        for n in range(241)
    )
    document = f"<NativeDicomModel>{elements}</NativeDicomModel>".encode()
    body, headers = related([(XML, document, "")], XML)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert answer.status_code == 409 and "more private creators" in answer.text


@pytest.mark.parametrize("address", ["http://[", "//[x", "http://a\\b", "\u00e9"])
def test_addresses_of_bulk_data_that_are_none(client: httpx.Client, address: str) -> None:
    study = new_uid()
    values = {
        "00080016": "1.2.840.10008.5.1.4.1.1.7",
        "00080018": f"{study}.1.1",
        "0020000D": study,
        "0020000E": f"{study}.1",
    }
    data_set: dict[str, object] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in values.items()}
    data_set["00420011"] = {"vr": "OB", "BulkDataURI": address}
    document = json.dumps([data_set]).encode()
    body, headers = related([(JSON, document, "")], JSON)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert answer.status_code == 409 and failures(answer.json()) == [(f"{study}.1.1", 0xC000)]
    if address.isascii():
        body, headers = related([(JSON, document, ""), ("application/octet-stream", b"abcd", address)], JSON)
        assert client.post(STUDIES, content=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.1\r\nSet-Cookie: a=b", '1.2.840.10008.1.2"; a=x', "<b>", "\u00e9", "x" * 100],
    ids=["line", "quote", "tag", "accent", "long"],
)
def test_transfer_syntaxes_that_are_no_uid(client: httpx.Client, syntax: str) -> None:
    """They would go out again, in headers."""
    [data] = one()
    meta = read_meta(data)
    told = syntax.encode() + b"\0" * (len(syntax.encode()) % 2)
    old = b"\x02\x00\x10\x00UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    assert data[: meta.meta_length].count(old) == 1
    new = old[:6] + struct.pack("<H", len(told)) + told
    answer = stow(client, [data.replace(old, new, 1)])
    assert answer.status_code == 409 and failures(answer.json()) == [(meta.sop_instance_uid, 0xC000)]


@pytest.mark.parametrize("name", ["transfer-syntax", "class"])
def test_large_bulk_data_of_what_is_no_uid(client: httpx.Client, name: str) -> None:
    """What is large is written down before it was looked at."""
    study = new_uid()
    values = {
        "00080016": "1.2.840.10008.5.1.4.1.1.7" if name != "class" else "1.2.\u00e9",
        "00080018": f"{study}.1.1",
        "0020000D": study,
        "0020000E": f"{study}.1",
    }
    data_set: dict[str, object] = {tag: {"vr": "UI", "Value": [uid]} for tag, uid in values.items()}
    data_set["7FE00010"] = {"vr": "OB", "BulkDataURI": "/pixels"}
    syntax = '; transfer-syntax="a\u00e9"' if name != "class" else ""
    parts = [(JSON, json.dumps([data_set]).encode(), ""), (f"image/jpeg{syntax}", bytes(3 * MIB), "/pixels")]
    body, headers = related(parts, JSON)
    answer = client.post(STUDIES, content=body, headers=headers)
    assert answer.status_code == 409, answer.text


def test_more_metadata_than_are_taken(client: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        yield f"--{BOUNDARY}\r\nContent-Type: {JSON}\r\n\r\n".encode()
        for _ in range(80):
            yield b" " * MIB

    try:
        answer = client.post(STUDIES, content=body(), headers=related([], JSON)[1])
    except httpx.WriteError:
        return
    assert answer.status_code == 413


def test_bulk_data_wait_on_the_disk(web: WebArchive, client: httpx.Client) -> None:
    """200 MiB of bulk data that no metadata name: taken, not held in memory, and forgotten."""
    before = psutil.Process().memory_info().rss

    def body() -> Iterator[bytes]:
        yield f"--{BOUNDARY}\r\nContent-Type: image/png\r\nContent-Location: x\r\n\r\n".encode()
        for _ in range(200):
            yield bytes(MIB)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    assert client.post(STUDIES, content=body(), headers=HEADERS).status_code == 400
    assert psutil.Process().memory_info().rss - before < 100 * MIB
