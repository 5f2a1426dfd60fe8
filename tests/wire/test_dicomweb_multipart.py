"""multipart/related: heads to send, and bodies that come in any pieces, well-formed or hostile."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from dicomweb_client.web import DICOMwebClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomweb.multipart import (
    DEFAULT_LIMITS,
    Limits,
    MultipartError,
    MultipartLimitError,
    PartBegin,
    PartData,
    RelatedReader,
    boundary_of,
    closing,
    part_head,
    related_length,
    related_part_type,
    related_type,
)

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

BOUNDARY = "b0undary"
Parts = list[tuple[dict[str, str], bytes]]


def read(pieces: Iterable[bytes], boundary: str = BOUNDARY, limits: Limits = DEFAULT_LIMITS) -> Parts:
    """All parts of a body that comes in `pieces`, which must be complete."""
    reader = RelatedReader(boundary.encode(), limits)
    parts: Parts = []
    current: list[bytes] | None = None
    headers: dict[str, str] = {}
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, PartBegin):
                assert current is None
                headers, current = dict(event.headers), []
            elif isinstance(event, PartData):
                assert current is not None
                current.append(bytes(event.data))
            else:
                assert current is not None
                parts.append((headers, b"".join(current)))
                current = None
    reader.finish()
    assert reader.ended
    return parts


def body_of(parts: Iterable[tuple[str, str, bytes]], boundary: str = BOUNDARY) -> bytes:
    return b"".join([part_head(boundary, kind, place) + data for kind, place, data in parts]) + closing(
        boundary
    )


# data full of what looks like a delimiter
_PIECES = [b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n--", b"\r\n--b0undar", b"b0undary", b"\0", b"x" * 70]
DATA = (
    st.lists(
        st.sampled_from(_PIECES),
        max_size=12,
    )
    .map(b"".join)
    .filter(lambda data: b"\n--b0undary" not in b"\n" + data)
)


@given(st.lists(DATA, max_size=5), st.randoms(use_true_random=False), st.booleans())
@settings(UNHURRIED, max_examples=300)
def test_any_pieces_give_the_same_parts(datas: list[bytes], random: object, preamble: bool) -> None:
    parts = [("application/dicom", f"/part/{n}" if n % 2 else "", data) for n, data in enumerate(datas)]
    body = body_of(parts)
    assert len(body) == related_length(BOUNDARY, [(kind, place, len(data)) for kind, place, data in parts])
    if preamble:
        body = b"This is MIME.\r\n-- --b0undary\r\n" + body.lstrip()
    expected = [
        ({"content-type": kind, **({"content-location": place} if place else {})}, data)
        for kind, place, data in parts
    ]
    assert read([body]) == expected
    assert read([body[at : at + 1] for at in range(len(body))]) == expected
    cuts = sorted(random.sample(range(len(body)), min(6, len(body))))  # type: ignore[attr-defined]
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read(pieces) == expected


@given(st.binary(max_size=200), st.integers(1, 40))
@UNHURRIED
def test_no_bytes_break_it(noise: bytes, size: int) -> None:
    body = b"--b0undary\r\n" + noise
    outcomes = []
    for pieces in ([body], [body[at : at + size] for at in range(0, len(body), size)]):
        try:
            outcomes.append(read(pieces))
        except MultipartError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


def test_dicomweb_client_reads_what_we_send_and_we_what_it_sends() -> None:
    datas = [b"\r\n--b0undar\r\n\r\n", b"DICM" * 1000, b"x"]
    body = body_of([("application/dicom", "", data) for data in datas])

    class Response:
        content = body

        def __init__(self) -> None:
            sent = related_type(BOUNDARY, "application/dicom", "1.2.840.10008.1.2.1")
            self.headers = {"content-type": sent}

        def iter_content(self, chunk_size: int) -> list[bytes]:
            return [body[at : at + 100] for at in range(0, len(body), 100)]

        def __enter__(self) -> Response:
            return self

        def __exit__(self, *_: object) -> None: ...

    client = DICOMwebClient("http://localhost")
    for stream in (False, True):
        assert list(client._decode_multipart_message(Response(), stream)) == datas
    encoded = client._encode_multipart_message(datas, f"multipart/related; type=x/y; boundary={BOUNDARY}")
    encoded = encoded if isinstance(encoded, bytes) else b"".join(encoded)
    assert [data for _, data in read([encoded])] == datas


def test_parts_without_headers_and_with_others() -> None:
    second = b"Content-ID: <1>\r\nContent-Type:image/jpeg \r\n\r\ntwo"
    body = b"--b0undary\r\n\r\none\r\n--b0undary\r\n" + second + b"\r\n--b0undary--"
    assert read([body]) == [({}, b"one"), ({"content-id": "<1>", "content-type": "image/jpeg"}, b"two")]
    assert read([b"--b0undary--\r\nepilogue"]) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b0undary",
        b"--b0undary\r\n",
        b"--b0undary\r\nContent-Type: x/y\r\n\r\n",
        b"--b0undary\r\nContent-Type: x/y\r\n\r\ndata\r\n--b0undary\r\n",
        b"--b0undary\r\nContent-Type: x/y\r\n\r\ndata\r\n--b0undary-",
        b"--another\r\n\r\ndata\r\n--another--\r\n",
        b"x" * 20_000,
        b"--b0undary\r\nContent-Type x/y\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\n: x/y\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\nContent-Type: x\ny/z: 1\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\nContent-Type: x/\0y\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\nContent-Type: x/y\r\ncontent-type: z/z\r\n\r\n\r\n--b0undary--",
        b"--b0undary\r\nContent-Type: x/y\r\n folded\r\n\r\n\r\n--b0undary--",
    ],
    ids=lambda body: ascii(body)[2:40],
)
def test_what_is_no_multipart_is_refused(body: bytes) -> None:
    for pieces in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(MultipartError):
            read(pieces)


@pytest.mark.parametrize("step", [1, 1000])
@pytest.mark.parametrize(
    "body",
    [
        b"--b0undary\r\n" + b"A" * 9000 + b": 1\r\n",
        b"--b0undary\r\nA: " + b"1" * 9000 + b"\r\n",
        b"--b0undary\r\nA: " + b" " * 20_000 + b"\r\n",
        b"--b0undary\r\n" + b"".join(b"A%d: 1\r\n" % n for n in range(40)),
        b"--b0undary\r\n" + b"".join(b"A%d: %s\r\n" % (n, b"1" * 600) for n in range(16)),
    ],
    ids=["name", "value", "spaces", "many", "together"],
)
def test_headers_without_end_are_refused_early(body: bytes, step: int) -> None:
    reader = RelatedReader(BOUNDARY.encode())
    with pytest.raises(MultipartError):
        for at in range(0, len(body), step):
            reader.feed(body[at : at + step])


def test_a_million_parts_are_refused() -> None:
    reader = RelatedReader(BOUNDARY.encode(), Limits(max_parts=1000))
    piece = b"\r\n--b0undary\r\n\r\n" * 500
    with pytest.raises(MultipartLimitError, match="more than 1000 parts"):
        for _ in range(2000):
            assert len(reader.feed(piece)) <= 1500


def test_a_boundary_that_never_comes_holds_nothing() -> None:
    reader = RelatedReader(BOUNDARY.encode())
    reader.feed(b"--b0undary\r\n\r\n")
    piece = b"\r\n--b0undar" * 1000
    given_out = 0
    for _ in range(50):
        given_out += sum(len(event.data) for event in reader.feed(piece) if isinstance(event, PartData))
    assert 50 * len(piece) - given_out <= len(BOUNDARY) + 4
    with pytest.raises(MultipartError, match="closing delimiter"):
        reader.finish()


def test_headers_that_are_sent_cannot_be_injected() -> None:
    for content_type, location in (("a/b\r\nX: y", ""), ("a/b", "/x\nSet-Cookie: a"), ("a/b", "/\0")):
        with pytest.raises(ValueError, match="control character"):
            part_head(BOUNDARY, content_type, location)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', b"abc"),
        ("multipart/related;boundary=----=_Part_1.2;type=application/dicom", b"----=_Part_1.2"),
        ('Multipart/Related; boundary="a b:c?d"', b"a b:c?d"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/dicom",
        "multipart/form-data; boundary=x",
        "multipart/related",
        "multipart/related; boundary=",
        'multipart/related; boundary="a "',
        'multipart/related; boundary="a\\\r\nb"',
        f"multipart/related; boundary={'x' * 201}",
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_content_types_without_a_boundary_are_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of(content_type)


def test_the_type_of_the_root_part() -> None:
    assert (
        related_part_type("multipart/related; type=Application/DICOM+json; boundary=x")
        == "application/dicom+json"
    )
    assert related_part_type("multipart/related; boundary=x") == ""
    sent = related_type("abc", "application/dicom", "1.2.840.10008.1.2.1")
    assert (boundary_of(sent), related_part_type(sent)) == (b"abc", "application/dicom")
