"""Structured reports, key object selections and presentation states as pages (PS3.3 C.17, C.11).

The tree of content items becomes nested lists. A reference to another item is shown, never followed, so loops
cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from hounsfield.adapters.rendering.page import Page, about, date, moment, person, time
from hounsfield.adapters.rendering.references import (
    Reference,
    address,
    evidence,
    reference,
    series_references,
)
from hounsfield.domain.errors import UnreadableError
from hounsfield.wire.dicomfile.outline import Outline
from hounsfield.wire.dicomfile.sop_classes import STORAGE_SOP_CLASSES

_CONTENT, _CONCEPT, _VALUE_TYPE, _RELATIONSHIP = 0x0040A730, 0x0040A043, 0x0040A040, 0x0040A010
_REFERENCED_ITEM, _REFERENCED_SOP, _CHANNELS = 0x0040DB73, 0x00081199, 0x0040A0B0
_MEASURED, _NUMERIC, _UNITS, _QUALIFIER = 0x0040A300, 0x0040A30A, 0x004008EA, 0x0040A301
_MEANING, _CODE, _SCHEME = 0x00080104, 0x00080100, 0x00080102
_CONCEPT_CODE = 0x0040A168
_GRAPHIC_TYPE, _GRAPHIC_DATA, _RANGE_TYPE = 0x00700023, 0x00700022, 0x0040A130
_VERIFIERS, _VERIFIED, _COMPLETED = 0x0040A073, 0x0040A493, 0x0040A491
#: Text by value type: the element, and how people write it.
_TEXTS: dict[str, tuple[int, Callable[[str], str]]] = {
    "TEXT": (0x0040A160, str),
    "PNAME": (0x0040A123, person),
    "DATE": (0x0040A121, date),
    "TIME": (0x0040A122, time),
    "DATETIME": (0x0040A120, moment),
    "UIDREF": (0x0040A124, str),
}
_MOST_DEPTH, _MOST_ITEMS = 64, 50_000
#: Images of a presentation state that are listed.
_MOST_REFERENCES = 1000


def report(elements: Outline, link: str) -> bytes:
    """A page. `link`: see `ports.rendering.Rendering`. Raises UnreadableError, MalformedError."""
    return _Report(elements, link).page()


def code(item: Outline | None) -> str:
    """Of an item of a code sequence: its meaning, else the code."""
    if item is None:
        return ""
    return item.text(_MEANING) or " ".join(filter(None, (item.text(_CODE), item.text(_SCHEME))))


class _Report:
    def __init__(self, elements: Outline, link: str) -> None:
        self._elements = elements
        self._link = link
        self._known = evidence(elements)
        self._items = 0
        title = code(elements.item(_CONCEPT)) or _name_of(elements.text(0x00080016))
        self._title = title or "Report"
        self._page = Page(self._title)

    def page(self) -> bytes:
        page, elements = self._page, self._elements
        page.mark("<header>")
        page.text(self._title, "h1")
        page.table([*about(elements), *self._state()])
        page.mark("</header><main>")
        self._children(elements, "1", 0)
        page.mark("</main>")
        return page.finish()

    def _state(self) -> list[tuple[str, str]]:
        elements = self._elements
        written = f"{date(elements.text(0x00080023))} {time(elements.text(0x00080033))}".strip()
        rows = [
            ("Written", written),
            ("Completion", elements.text(_COMPLETED).capitalize()),
            ("Verification", elements.text(_VERIFIED).capitalize()),
        ]
        for verifier in elements.items(_VERIFIERS, most=20):
            who = (
                person(verifier.text(0x0040A075)),
                verifier.text(0x0040A027),
                moment(verifier.text(0x0040A030)),
            )
            rows.append(("Verified by", ", ".join(filter(None, who))))
        return rows

    def _children(self, elements: Outline, number: str, depth: int) -> None:
        if _CONTENT not in elements:
            return
        page = self._page
        if depth >= _MOST_DEPTH:
            page.mark('<p class="note">Deeper levels are not shown.</p>')
            return
        page.mark("<ul>")
        for n, item in enumerate(elements.items(_CONTENT), 1):
            self._items += 1
            if self._items > _MOST_ITEMS:
                raise UnreadableError(f"the report has more than {_MOST_ITEMS} items")
            place = f"{number}.{n}"
            page.mark(f'<li id="i{place}">')
            self._item(item)
            self._children(item, place, depth + 1)
            page.mark("</li>")
        page.mark("</ul>")

    def _item(self, item: Outline) -> None:
        page = self._page
        kind = item.text(_VALUE_TYPE).upper()
        name = code(item.item(_CONCEPT))
        if _REFERENCED_ITEM in item:
            place = ".".join(str(int(n)) for n in item.numbers(_REFERENCED_ITEM, "UL")[:_MOST_DEPTH])
            page.text(item.text(_RELATIONSHIP).lower() or "see", kind="name")
            page.mark(" ")
            page.link(f"item {place}", f"#i{place}")
        elif kind == "CONTAINER":
            page.text(name or "Section", kind="head")
        else:
            if name:
                page.text(f"{name}: ", kind="name")
            self._value(item, kind)

    def _value(self, item: Outline, kind: str) -> None:
        page = self._page
        if kind in _TEXTS:
            tag, written = _TEXTS[kind]
            texts = item.texts(tag, split=False)
            page.text(written(texts[0]) if texts else "")
        elif kind == "CODE":
            page.text(code(item.item(_CONCEPT_CODE)))
        elif kind == "NUM":
            self._number(item)
        elif kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            for found in item.items(_REFERENCED_SOP, most=_MOST_REFERENCES):
                self._reference(reference(found, self._known), found)
        elif kind in ("SCOORD", "SCOORD3D"):
            values = [f"{value:g}" for value in item.numbers(_GRAPHIC_DATA, "FL")]
            shown = ", ".join(values[:24]) + (" …" if len(values) > 24 else "")
            page.text(f"{item.text(_GRAPHIC_TYPE).lower()} {shown}")
        elif kind == "TCOORD":
            page.text(item.text(_RANGE_TYPE).lower())
        else:
            page.text(f"(of the kind {kind[:16]!r}, not shown)", kind="note")

    def _number(self, item: Outline) -> None:
        measured = item.item(_MEASURED)
        if measured is None or not measured.text(_NUMERIC):
            self._page.text(code(item.item(_QUALIFIER)) or "no value", kind="note")
            return
        self._page.text(measured.text(_NUMERIC), kind="number")
        units = measured.item(_UNITS)
        symbol = units.text(_CODE) if units is not None and units.text(_SCHEME) == "UCUM" else code(units)
        if symbol and symbol != "1":
            self._page.text(f" {symbol}")

    def _reference(self, found: Reference, item: Outline) -> None:
        write_reference(self._page, found, self._link)
        if channels := item.numbers(_CHANNELS, "US")[:32]:
            self._page.text(f" channels {', '.join(str(int(n)) for n in channels)}")


def write_reference(page: Page, found: Reference, link: str) -> None:
    frames = f", frame {found.frames}" if found.frames else ""
    page.link(f"{_name_of(found.sop_class_uid) or 'Object'}{frames}", address(found, link))
    page.mark(" ")
    page.text(found.instance, kind="name")


def presentation_state(elements: Outline, link: str) -> bytes:
    """A page that says what a presentation state is about. Raises UnreadableError, MalformedError."""
    title = elements.text(0x00700080) or _name_of(elements.text(0x00080016)) or "Presentation state"
    page = Page(title)
    page.mark("<header>")
    page.text(title, "h1")
    made = f"{date(elements.text(0x00700082))} {time(elements.text(0x00700083))}".strip()
    page.table(
        [
            *about(elements),
            ("Kind", _name_of(elements.text(0x00080016))),
            ("Description", elements.text(0x00700081)),
            ("Created", made),
            ("Creator", person(elements.text(0x00700084))),
        ]
    )
    page.mark("</header><main>")
    found = series_references(elements)
    page.text("It says how these images are shown:" if found else "It refers to no images.", "p")
    page.mark("<ul>")
    for one in found[:_MOST_REFERENCES]:
        page.mark("<li>")
        write_reference(page, one, link)
        page.mark("</li>")
    page.mark("</ul>")
    if len(found) > _MOST_REFERENCES:
        page.text(f"and {len(found) - _MOST_REFERENCES} more", "p", "note")
    page.mark("</main>")
    return page.finish()


def _name_of(sop_class_uid: str) -> str:
    return STORAGE_SOP_CLASSES.get(sop_class_uid, "").removesuffix(" Storage")
