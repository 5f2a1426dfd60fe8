"""Accept headers as clients really send them, and what is chosen for them (PS3.18 8.7)."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomfile.transfer_syntaxes import TRANSFER_SYNTAXES
from hounsfield.wire.dicomweb.accept import (
    BULK_MEDIA_TYPE_OF,
    IMAGE_OFFERS,
    INSTANCE_OFFERS,
    METADATA_OFFERS,
    AcceptError,
    MediaRange,
    Offer,
    negotiate,
    parse_accept,
    parse_media_type,
    wanted_multipart,
    wanted_single,
)

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

OHIF_FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
OHIF_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1'
DICOMWEB_CLIENT = (
    'multipart/related; type="application/octet-stream"; transfer-syntax="1.2.840.10008.1.2.1", '
    'multipart/related; type="image/jls"; transfer-syntax="1.2.840.10008.1.2.4.80", '
    'multipart/related; type="image/jp2"'
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"


def chosen(header: str, offers: tuple[Offer, ...], query: str = "") -> tuple[str, bool] | None:
    choice = negotiate(parse_accept(header, query), offers)
    return choice and (choice.media_type, choice.multipart)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (OHIF_FRAMES, [("application/octet-stream", "*")]),
        (OHIF_DICOM, [("application/dicom", "1.2.840.10008.1.2.1")]),
        ('multipart/related; type="image/jphc"', [("image/jphc", None)]),
        ("multipart/related;type=video/mp4", [("video/mp4", None)]),
        ("multipart/related", [("*/*", None)]),
        ('multipart/related; type="image/jls"; q=0, multipart/related; type="image/*"', [("image/*", None)]),
        (
            DICOMWEB_CLIENT,
            [
                ("application/octet-stream", "1.2.840.10008.1.2.1"),
                ("image/jls", "1.2.840.10008.1.2.4.80"),
                ("image/jp2", None),
            ],
        ),
        (
            "multipart/related; type=image/jls; q=0.2, "
            "multipart/related; type=image/jp2; transfer-syntax=* ;q=0.9",
            [("image/jp2", "*"), ("image/jls", None)],
        ),
    ],
    ids=str,
)
def test_multipart_types_with_and_without_quotes(header: str, wanted: list[tuple[str, str | None]]) -> None:
    assert wanted_multipart(parse_accept(header)) == wanted


def test_single_parts() -> None:
    assert wanted_single(parse_accept(JAVA))[:3] == [
        ("text/html", None),
        ("image/gif", None),
        ("image/jpeg", None),
    ]
    assert wanted_single(parse_accept("application/dicom; transfer-syntax=*")) == [("application/dicom", "*")]
    assert wanted_single(parse_accept("")) == [("*/*", None)]


@pytest.mark.parametrize(
    ("header", "offers", "expected"),
    [
        ("", METADATA_OFFERS, ("application/dicom+json", False)),
        ("*/*", METADATA_OFFERS, ("application/dicom+json", False)),
        (BROWSER, METADATA_OFFERS, ("application/dicom+json", False)),
        (JAVA, METADATA_OFFERS, ("application/dicom+json", False)),
        ("application/json", METADATA_OFFERS, ("application/json", False)),
        (
            "application/dicom+json, application/json;q=0.9",
            METADATA_OFFERS,
            ("application/dicom+json", False),
        ),
        ("application/*", METADATA_OFFERS, ("application/dicom+json", False)),
        ('multipart/related; type="application/dicom+xml"', METADATA_OFFERS, ("application/dicom+xml", True)),
        ("multipart/related; type=application/dicom+xml", METADATA_OFFERS, ("application/dicom+xml", True)),
        ("application/dicom+xml", METADATA_OFFERS, ("application/dicom+xml", False)),
        (
            'multipart/related; type="application/dicom+xml", application/json;q=0.8',
            METADATA_OFFERS,
            ("application/dicom+xml", True),
        ),
        ("*/*, application/dicom+json;q=0", METADATA_OFFERS, ("application/json", False)),
        ("text/plain", METADATA_OFFERS, None),
        ("", INSTANCE_OFFERS, ("application/dicom", True)),
        (OHIF_DICOM, INSTANCE_OFFERS, ("application/dicom", True)),
        ("application/dicom", INSTANCE_OFFERS, ("application/dicom", False)),
        ("multipart/related", INSTANCE_OFFERS, ("application/dicom", True)),
        ("multipart/*", INSTANCE_OFFERS, ("application/dicom", True)),
        ("image/*", IMAGE_OFFERS, ("image/jpeg", False)),
        ("image/*;q=0.5, image/gif", IMAGE_OFFERS, ("image/gif", False)),
        ("image/webp", IMAGE_OFFERS, None),
    ],
    ids=str,
)
def test_one_is_chosen(header: str, offers: tuple[Offer, ...], expected: tuple[str, bool] | None) -> None:
    assert chosen(header, offers) == expected


def test_the_most_specific_range_says_how_much_a_type_is_wanted() -> None:
    assert chosen("image/*;q=0.9, image/jpeg;q=0.1", IMAGE_OFFERS) == ("image/png", False)


def test_the_accept_parameter_comes_before_the_header() -> None:
    assert chosen(BROWSER, IMAGE_OFFERS, "image/png") == ("image/png", False)
    assert chosen("image/gif", IMAGE_OFFERS, "image/webp") == ("image/gif", False)
    assert chosen("", IMAGE_OFFERS, "image/webp") is None


def test_transfer_syntaxes_of_the_choice() -> None:
    header = (
        "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90; q=0.5, "
        "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80, "
        "multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.2; q=0, */*;q=0.1"
    )
    choice = negotiate(parse_accept(header), INSTANCE_OFFERS)
    assert choice is not None
    assert choice.transfer_syntaxes == ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "")
    assert negotiate(parse_accept(""), INSTANCE_OFFERS).transfer_syntaxes == ("",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "header",
    [
        "application",
        "application/",
        "/json",
        "*/json",
        "text/html text/plain",
        "text/html;q=2",
        "text/html;q=-1",
        "text/html;q=",
        "text/html;q=nan",
        'multipart/related; type="application/dicom',
        "text/html\r\nX: y",
        "text/html;a=\x00",
        "é/x",
        "a/b," * 65,
        "a" * 9000,
    ],
    ids=lambda header: ascii(header)[:40],
)
def test_what_cannot_be_read_is_refused(header: str) -> None:
    with pytest.raises(AcceptError):
        parse_accept(header)
    with pytest.raises(AcceptError):
        parse_accept("", header)


@given(st.text(alphabet='aA/*;,="\\ q.01\t\r\n-é', max_size=60))
@UNHURRIED
def test_no_header_breaks_it(header: str) -> None:
    try:
        ranges = parse_accept(header)
    except AcceptError:
        return
    assert ranges
    assert [r.q for r in ranges] == sorted((r.q for r in ranges), reverse=True)
    negotiate(ranges, METADATA_OFFERS)
    wanted_multipart(ranges)


TOKEN = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789.+-", min_size=1, max_size=12)


@given(
    TOKEN,
    TOKEN,
    st.dictionaries(
        TOKEN.filter(lambda name: name != "q"),
        st.text(st.characters(exclude_categories=["Cc"]), max_size=10),
        max_size=3,
    ),
)
@UNHURRIED
def test_quoted_parameters_come_back(major: str, minor: str, parameters: dict[str, str]) -> None:
    escaped = {name: re.sub(r'(["\\])', r"\\\1", value) for name, value in parameters.items()}
    quoted = [f'{name}="{value}"' for name, value in escaped.items()]
    assert parse_accept("; ".join([f"{major}/{minor}", *quoted])) == (MediaRange(major, minor, parameters),)


def test_content_types() -> None:
    found = parse_media_type('Multipart/Related; Type=application/dicom; boundary="a b"')
    assert (found.media_type, found.parameters) == (
        "multipart/related",
        {"type": "application/dicom", "boundary": "a b"},
    )
    for wrong in ("", "*/*", "text/plain, text/html", "text"):
        with pytest.raises(AcceptError):
            parse_media_type(wrong)


def test_transfer_syntaxes_of_bulk_data_are_of_the_standard() -> None:
    assert BULK_MEDIA_TYPE_OF.keys() <= TRANSFER_SYNTAXES.keys()
    assert BULK_MEDIA_TYPE_OF["1.2.840.10008.1.2.4.202"] == "image/jphc"
