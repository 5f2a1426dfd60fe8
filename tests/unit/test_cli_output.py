"""What lists and events look like to a person."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hounsfield.cli.output import Output, brief

UID = "2.25." + "9" * 59


@pytest.fixture
def screen() -> Output:
    """A terminal of 60 columns."""
    out = Output(as_json=False)
    out.console = Console(file=io.StringIO(), force_terminal=True, width=60, highlight=False, no_color=True)
    return out


def printed(out: Output) -> list[str]:
    assert isinstance(out.console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.console.file.getvalue()).splitlines()


def test_a_row_is_one_line_however_narrow_the_terminal(screen: Output) -> None:
    rows = [{"name": "DOE^JANE", "study": UID}, {"name": "ROE^RICHARD", "study": UID}]
    assert screen.rows(["name", "study"], rows) == 2
    assert [line.split() for line in printed(screen)] == [
        ["name", "study"],
        ["DOE^JANE", UID],
        ["ROE^RICHARD", UID],
    ]


def test_columns_without_a_value_are_left_out(screen: Output) -> None:
    screen.rows(["id", "accession", "count"], [{"id": "1", "accession": "", "count": 0}])
    assert printed(screen)[0].split() == ["id", "count"]


def test_nothing_is_said_in_words(screen: Output) -> None:
    assert screen.rows(["id"], [], empty="No studies.") == 0
    assert printed(screen) == ["No studies."]


def test_brief_leaves_out_what_is_empty_but_not_zero() -> None:
    assert brief({"a": "", "b": None, "c": [], "d": {}, "failed": 0, "ok": False}) == "failed=0 ok=no"


def test_brief_shows_the_first_of_a_list_and_how_many_more() -> None:
    failures = [[UID, "the peer takes only that"]] * 3
    assert brief({"failures": failures}) == f"failures={UID} the peer takes only that (+2 more)"


def test_brief_shortens_hashes_and_endless_values() -> None:
    assert brief({"hash": "0123456789abcdef" * 4}) == "hash=0123456789ab..."
    assert len(brief({"settings": {str(n): n for n in range(1000)}})) < 200
