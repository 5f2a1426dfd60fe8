"""Byte ranges (RFC 9110 section 14)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hounsfield.wire.dicomweb.ranges import RangeError, content_range, parse_range

#: No test fails because the machine is busy.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("Bytes=10-19", (10, 20)),
        ("bytes=90-1000000", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=0-1,5-6", None),
        ("items=0-5", None),
    ],
    ids=str,
)
def test_what_is_sent(header: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(
    "header",
    ["bytes=", "bytes=-", "bytes=100-", "bytes=5-4", "bytes=-0", "bytes=a-b", "bytes=1-2x", "bytes=²-"],
)
def test_what_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(RangeError) as raised:
        parse_range(header, 100)
    assert raised.value.content_range == "bytes */100"


def test_nothing_has_no_range() -> None:
    for header in ("bytes=0-", "bytes=-5"):
        with pytest.raises(RangeError):
            parse_range(header, 0)


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
@UNHURRIED
def test_ranges_are_slices(body: bytes, first: int, last: int) -> None:
    try:
        found = parse_range(f"bytes={first}-{last}", len(body))
    except RangeError:
        assert last < first or first >= len(body)
        return
    assert found is not None
    assert body[slice(*found)] == body[first : last + 1]
    assert content_range(*found, len(body)) == f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"


@given(st.text(alphabet="bytes=0123456789-, ", max_size=30), st.integers(0, 1000))
@UNHURRIED
def test_no_header_breaks_it(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except RangeError:
        return
    assert found is None or 0 <= found[0] < found[1] <= size
