"""The table of status codes."""

from __future__ import annotations

import pytest
from pynetdicom import status as theirs

from hounsfield.wire.dimse import fields as f
from hounsfield.wire.dimse.status import Status, category, describe


@pytest.mark.parametrize(
    "table",
    [
        theirs.GENERAL_STATUS,
        theirs.STORAGE_SERVICE_CLASS_STATUS,
        theirs.QR_FIND_SERVICE_CLASS_STATUS,
        theirs.QR_MOVE_SERVICE_CLASS_STATUS,
        theirs.QR_GET_SERVICE_CLASS_STATUS,
        theirs.PROCEDURE_STEP_STATUS,
    ],
)
def test_categories_agree_with_pynetdicom(table: dict[int, tuple[str, str]]):
    for code, (kind, _) in table.items():
        assert category(code) == kind.lower(), hex(code)


def test_every_code_has_words_and_its_number():
    for status in Status:
        assert describe(status).endswith(f"({status.value:04X}H)")
        assert describe(status).split(" (")[0] not in ("failure", "warning")


@pytest.mark.parametrize(
    ("code", "field", "words"),
    [
        (0xA700, f.C_STORE_RQ, "refused: out of resources (A700H)"),
        (0xA7FF, f.C_STORE_RSP, "refused: out of resources (A7FFH)"),
        (0xA701, f.C_MOVE_RQ, "refused: out of resources, unable to calculate the number of matches (A701H)"),
        (0xA801, f.C_MOVE_RSP, "refused: move destination unknown (A801H)"),
        (0xA912, f.C_STORE_RQ, "data set does not match SOP class (A912H)"),
        (0xA900, f.C_FIND_RQ, "identifier does not match SOP class (A900H)"),
        (0xC123, f.C_STORE_RSP, "cannot understand (C123H)"),
        (0xC123, f.C_FIND_RSP, "unable to process (C123H)"),
        (0xB000, f.C_STORE_RQ, "coercion of data elements (B000H)"),
        (0xB000, f.C_GET_RSP, "sub-operations complete, one or more failures or warnings (B000H)"),
        (0x0131, 0, "duplicate transaction UID (0131H)"),
        (0xB123, 0, "warning (B123H)"),
        (0x1234, 0, "failure (1234H)"),
    ],
)
def test_words(code: int, field: int, words: str):
    assert describe(code, field) == words
