"""The conformance statement tells of every status that the DIMSE server answers with."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import reference, reference_conformance

import hounsfield.servers.dicom
from hounsfield.servers.dicom import negotiation
from hounsfield.wire.dimse.status import Status

SERVER = Path(hounsfield.servers.dicom.__path__[0])
PAGE = reference.PAGES["conformance.md"]()


def test_every_status_of_the_server_is_described() -> None:
    used = {
        name for page in SERVER.glob("*.py") for name in re.findall(r"Status\.([A-Z_]+)", page.read_text())
    }
    assert len(used) > 10
    described = {code for rows in reference_conformance.STATUSES.values() for code, _ in rows}
    assert {name for name in used if Status[name] not in described} == set()


def test_every_abstract_syntax_that_is_offered_is_named() -> None:
    assert {uid for uid in negotiation.offers() if f"`{uid}`" not in PAGE} == set()


def test_nothing_is_left_to_fill_in() -> None:
    assert "$" not in PAGE
