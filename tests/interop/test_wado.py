"""WADO-RS: whole objects, metadata and bulk data, in ranges and on conditions."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from hounsfield.hospital.synthetic import ct_series
from support_wado import (
    DICOM,
    EXPLICIT,
    JSON,
    OCTETS,
    Address,
    data_set_of,
    image,
    of_file,
    parts_of,
    related,
)
from support_web import WebArchive, wait_for


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("wado"), large_object=1, http_rate=0) as made:
        yield made


@pytest.fixture(scope="module")
def client(archive: WebArchive) -> Iterator[httpx.Client]:
    with archive.client() as found:
        yield found


@pytest.fixture(scope="module")
def series(archive: WebArchive) -> list[bytes]:
    """A CT of five images."""
    files = list(ct_series(5, 64, 64, key="test-wado"))
    archive.store(*files)
    return files


@pytest.fixture(scope="module")
def at(series: list[bytes]) -> Address:
    return of_file(series[0])


@pytest.fixture(scope="module")
def movie(archive: WebArchive) -> bytes:
    """Forty frames, in an object larger than what is read as a whole."""
    made = image(96, 96, frames=40, size=5 << 20)
    archive.store(made)
    return made


# Objects ------------------------------------------------------------------------------------------------


def test_one_object_alone_is_the_whole_body(client: httpx.Client, series: list[bytes], at: Address) -> None:
    answer = client.get(at.instance, headers={"Accept": DICOM})
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert data_set_of(answer.content) == data_set_of(series[0])
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("level", ["study", "series", "instance"])
def test_what_accepts_anything_gets_parts(
    client: httpx.Client, at: Address, level: str, series: list[bytes]
) -> None:
    answer = client.get(getattr(at, level), headers={"Accept": "*/*"})
    assert len(parts_of(answer)) == (1 if level == "instance" else len(series))
    assert parts_of(answer)[0].location.endswith(at.instance)


def test_a_range_of_one_object(client: httpx.Client, at: Address, movie: bytes) -> None:
    for path in (at.instance, of_file(movie).instance):
        whole = client.get(path, headers={"Accept": DICOM}).content
        for first, last in ((0, 0), (100, 200), (1_200_000, 1_300_000), (len(whole) - 5, len(whole) - 1)):
            if last >= len(whole):
                continue
            part = client.get(path, headers={"Accept": DICOM, "Range": f"bytes={first}-{last}"})
            assert part.status_code == 206
            assert part.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
            assert part.content == whole[first : last + 1]
        beyond = client.get(path, headers={"Accept": DICOM, "Range": f"bytes={len(whole)}-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole)}")


def test_head_tells_what_get_would(client: httpx.Client, at: Address) -> None:
    for path, accept in (
        (at.study, "*/*"),
        (at.instance, DICOM),
        (at.instance + "/frames/1", OCTETS),
        (at.instance + "/metadata", JSON),
        (at.instance + "/bulkdata/7FE00010", OCTETS),
    ):
        head = client.head(path, headers={"Accept": accept})
        get = client.get(path, headers={"Accept": accept})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize(
    ("ending", "level"),
    [
        ("", "study"),
        ("", "series"),
        ("", "instance"),
        ("/metadata", "study"),
        ("/metadata", "series"),
        ("/metadata", "instance"),
        ("/frames/1", "instance"),
        ("/bulkdata/7FE00010", "instance"),
    ],
)
def test_who_has_it_already_is_told_so(
    client: httpx.Client, at: Address, series: list[bytes], ending: str, level: str
) -> None:
    path = getattr(at, level) + ending
    tag = client.get(path).headers["etag"]
    for asked in (tag, f'"other", {tag}', "*"):
        again = client.get(path, headers={"If-None-Match": asked})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_series_that_grew_is_another(archive: WebArchive, client: httpx.Client) -> None:
    files = list(ct_series(3, 16, 16, key="test-wado-grows"))
    archive.store(*files[:2])
    path = of_file(files[0]).series
    tags = [client.get(path + ending).headers["etag"] for ending in ("", "/metadata")]
    archive.store(files[2])
    for tag, ending in zip(tags, ("", "/metadata"), strict=True):
        assert client.get(path + ending, headers={"If-None-Match": tag}).status_code == 200
    assert len(client.get(path + "/metadata").json()) == 3


def test_a_date_counts_once_the_second_is_over(
    archive: WebArchive, client: httpx.Client, at: Address, series: list[bytes]
) -> None:
    def dated() -> str | None:
        return client.get(at.series).headers.get("last-modified")

    changed = wait_for(dated, "its last change is no longer young")
    since = {"If-Modified-Since": str(changed)}
    assert client.get(at.series, headers=since).status_code == 304
    assert client.get(at.series, headers=since | {"If-None-Match": '"x"'}).status_code == 200
    assert client.get(at.series, headers={"If-Modified-Since": "yesterday"}).status_code == 200
    long_ago = {"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"}
    assert client.get(at.series, headers=long_ago).status_code == 200


def test_a_program_in_the_preamble_is_not_given_out(archive: WebArchive, client: httpx.Client) -> None:
    from support_stow import stow

    file = b"MZ" + b"\x90" * 126 + image()[128:]
    assert stow(client, [file]).status_code == 200
    path = of_file(file).instance
    wait_for(lambda: client.get(path).status_code == 200, "it is kept")
    for accept in (DICOM, "*/*"):
        answer = client.get(path, headers={"Accept": accept})
        given = answer.content if accept == DICOM else parts_of(answer)[0].data
        assert given == bytes(128) + file[128:]
    ranged = client.get(path, headers={"Accept": DICOM, "Range": "bytes=0-131"})
    assert ranged.content == bytes(128) + b"DICM"


# Bulk data and metadata ---------------------------------------------------------------------------------


def test_bulk_data_in_ranges(client: httpx.Client, movie: bytes) -> None:
    path = of_file(movie).instance
    value = bytes(range(256)) * ((5 << 20) // 256)
    metadata = client.get(path + "/metadata").json()[0]
    uri = metadata["00091001"]["BulkDataURI"]
    assert client.get(uri).content == value
    for first, last in ((0, 9), (1 << 20, (1 << 20) + 2_000_000), (len(value) - 1, len(value) - 1)):
        part = client.get(uri, headers={"Range": f"bytes={first}-{last}"})
        assert (part.status_code, part.content) == (206, value[first : last + 1])
    assert client.get(uri, headers={"Range": "bytes=-10"}).content == value[-10:]
    assert client.get(uri, headers={"Range": "bytes=99999999-"}).status_code == 416
    (part,) = parts_of(client.get(uri, headers=related(OCTETS)))
    assert (part.data, part.location) == (value, uri)


def test_a_pdf_comes_as_what_it_is_only_where_asked(archive: WebArchive, client: httpx.Client) -> None:
    pdf = b"%PDF-1.4 " + b"x" * 3001
    file = image(EncapsulatedDocument=pdf, MIMETypeOfEncapsulatedDocument="application/pdf")
    archive.store(file)
    uri = client.get(of_file(file).instance + "/metadata").json()[0]["00420011"]["BulkDataURI"]
    assert client.get(uri).headers["content-type"] == OCTETS
    answer = client.get(uri, headers={"Accept": "application/pdf"})
    assert (answer.headers["content-type"], answer.content) == ("application/pdf", pdf)


def test_metadata_as_xml(client: httpx.Client, at: Address, series: list[bytes]) -> None:
    parts = parts_of(client.get(at.study + "/metadata", headers=related("application/dicom+xml")))
    assert len(parts) == len(series)
    assert all(b"NativeDicomModel" in part.data for part in parts)
    alone = client.get(at.instance + "/metadata", headers={"Accept": "application/dicom+xml"})
    assert alone.headers["content-type"] == "application/dicom+xml"


def test_metadata_are_zipped_for_those_who_take_it(client: httpx.Client, at: Address) -> None:
    path = at.series + "/metadata"
    zipped = client.get(path, headers={"Accept-Encoding": "br, gzip;q=0.5"})
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert plain.headers.get("content-encoding", "identity") == "identity"
    assert zipped.json() == plain.json()
    no = client.get(path, headers={"Accept-Encoding": "gzip;q=0, *;q=0"})
    assert no.headers.get("content-encoding", "identity") == "identity"


def test_addresses_are_those_by_which_we_are_reached(
    archive: WebArchive, client: httpx.Client, at: Address
) -> None:
    answer = client.get(at.instance + "/metadata", headers={"Host": "pacs.example.org:8443"})
    uri = answer.json()[0]["7FE00010"]["BulkDataURI"]
    assert uri == f"http://pacs.example.org:8443{at.instance}/bulkdata/7FE00010"
