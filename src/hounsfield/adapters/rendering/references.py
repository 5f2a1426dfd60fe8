"""What other objects an object refers to, and where those are: PS3.3 C.17.2 and C.11.11."""

from __future__ import annotations

from typing import NamedTuple

from hounsfield.domain.ids import is_uid
from hounsfield.wire.dicomfile.outline import Outline

_STUDY, _SERIES = 0x0020000D, 0x0020000E
_REFERENCED_SERIES, _REFERENCED_SOP, _REFERENCED_IMAGE = 0x00081115, 0x00081199, 0x00081140
_CLASS, _INSTANCE, _FRAMES = 0x00081150, 0x00081155, 0x00081160
_EVIDENCE = (0x0040A375, 0x0040A385, 0x0040A525)
#: References read of one object.
_MOST = 100_000


class Reference(NamedTuple):
    sop_class_uid: str
    instance: str
    frames: str
    study: str = ""
    series: str = ""


def evidence(elements: Outline) -> dict[str, tuple[str, str]]:
    """Study and series of every object that the document's evidence lists, by SOP Instance UID."""
    found: dict[str, tuple[str, str]] = {}
    for sequence in _EVIDENCE:
        for study in elements.items(sequence):
            for series in study.items(_REFERENCED_SERIES):
                where = (study.text(_STUDY), series.text(_SERIES))
                for item in series.items(_REFERENCED_SOP):
                    if len(found) >= _MOST:
                        return found
                    found[item.text(_INSTANCE)] = where
    return found


def reference(item: Outline, known: dict[str, tuple[str, str]]) -> Reference:
    """Of an item with a Referenced SOP Class and Instance UID."""
    instance = item.text(_INSTANCE)
    frames = ", ".join(item.texts(_FRAMES)[:50])
    return Reference(item.text(_CLASS), instance, frames, *known.get(instance, ("", "")))


def series_references(elements: Outline) -> list[Reference]:
    """Of a presentation state: the images of its Referenced Series Sequence, in its own study."""
    found: list[Reference] = []
    study = elements.text(_STUDY)
    for series in elements.items(_REFERENCED_SERIES):
        for item in series.items(_REFERENCED_IMAGE):
            if len(found) >= _MOST:
                return found
            found.append(reference(item, {})._replace(study=study, series=series.text(_SERIES)))
    return found


def address(found: Reference, link: str) -> str:
    """By the template `link`; '' where it cannot be told."""
    if not link or not all(is_uid(uid) for uid in (found.study, found.series, found.instance)):
        return ""
    return link.format(study=found.study, series=found.series, instance=found.instance)
