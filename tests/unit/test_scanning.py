"""The scanner: keys of objects that look like the ones before them are those of a scan of their own."""

from __future__ import annotations

import itertools

import pytest

from hounsfield.domain.identify import CANNOT_UNDERSTAND, DATA_SET_DOES_NOT_MATCH, Refusal
from hounsfield.domain.study import ObjectKeys
from hounsfield.hospital.synthetic import ct_series
from hounsfield.services import scanning
from hounsfield.services.scanning import Scanner, scan_whole
from hounsfield.wire.dicomfile.part10 import read_meta
from hounsfield.wire.dicomfile.transfer_syntaxes import EXPLICIT_LE

CT = "1.2.840.10008.5.1.4.1.1.2"


def data_sets(count: int, key: str = "k", number: int = 1) -> list[tuple[str, bytes]]:
    """(SOP Instance UID, data set) of the objects of a series."""
    made = []
    for part10 in ct_series(count, 16, 16, key=key, number=number):
        meta = read_meta(part10)
        made.append((meta.sop_instance_uid, part10[meta.meta_length :]))
    return made


def keys(scanner: Scanner, sop: str, *pieces: bytes, association: str = "a") -> ObjectKeys | Refusal:
    return scanner.keys(association, pieces, EXPLICIT_LE, "", CT, sop)


@pytest.fixture
def matches(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every template that was tried: whether it matched."""
    found: list[bool] = []
    match = scanning.Template.match

    def told(self: object, data: object) -> object:
        result = match(self, data)  # type: ignore[arg-type]
        found.append(result is not None)
        return result

    monkeypatch.setattr(scanning.Template, "match", told)
    return found


def test_keys_are_those_of_a_scan(matches: list[bool]) -> None:
    scanner = Scanner()
    for sop, data in data_sets(120):
        assert keys(scanner, sop, data) == scan_whole(data, EXPLICIT_LE, "", CT, sop)
    assert sum(matches) > 100


def test_the_header_may_lie_in_several_pieces(matches: list[bool]) -> None:
    scanner = Scanner()
    for (sop, data), cut in zip(data_sets(60), itertools.cycle((300, 700, 5000)), strict=False):
        found = keys(scanner, sop, data[:cut], data[cut:])
        assert found == scan_whole(data, EXPLICIT_LE, "", CT, sop)
    assert any(matches)


def test_series_that_take_turns() -> None:
    scanner = Scanner()
    both = zip(data_sets(20, number=1), data_sets(20, number=2), strict=True)
    for sop, data in itertools.chain.from_iterable(both):
        assert keys(scanner, sop, data) == scan_whole(data, EXPLICIT_LE, "", CT, sop)


def test_associations_know_nothing_of_each_other(matches: list[bool]) -> None:
    scanner = Scanner()
    for number, (sop, data) in enumerate(data_sets(20)):
        assert isinstance(keys(scanner, sop, data, association=str(number)), ObjectKeys)
    assert not matches
    assert len(scanner._series) == 20


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MOST_REMEMBERED", 5)
    scanner = Scanner()
    for number, (sop, data) in enumerate(data_sets(20)):
        keys(scanner, sop, data, association=str(number))
    assert len(scanner._series) == 5


def test_refusals_are_the_same_behind_a_template(matches: list[bool]) -> None:
    scanner = Scanner()
    *first, (sop, data) = data_sets(40)
    for each in first:
        keys(scanner, *each)
    del matches[:]
    assert keys(scanner, "1.2.3", data) == Refusal(
        DATA_SET_DOES_NOT_MATCH, "SOP Instance UID of data set and request differ"
    )
    other_class = scanner.keys("a", (data,), EXPLICIT_LE, "", "1.2.840.10008.5.1.4.1.1.4", sop)
    assert other_class == Refusal(DATA_SET_DOES_NOT_MATCH, "SOP Class UID of data set and request differ")
    cut = keys(scanner, sop, data[:-10])
    assert isinstance(cut, Refusal)
    assert cut.status == CANNOT_UNDERSTAND
    assert cut == scan_whole(data[:-10], EXPLICIT_LE, "", CT, sop)
    assert matches == [True] * 3
