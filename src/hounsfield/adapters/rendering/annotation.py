"""What an annotation says (PS3.18 8.3.5.1.1): "patient", whose image it is; "technique", how it was made."""

from __future__ import annotations

from collections.abc import Collection

from hounsfield.adapters.rendering.functional_groups import FrameAttributes
from hounsfield.adapters.rendering.lettering import Corner
from hounsfield.adapters.rendering.page import date, person
from hounsfield.ports.rendering import Window

_PATIENT_NAME, _PATIENT_ID, _BIRTH_DATE, _SEX = 0x00100010, 0x00100020, 0x00100030, 0x00100040
_MODALITY, _STUDY_DATE, _SERIES_DESCRIPTION = 0x00080060, 0x00080020, 0x0008103E
_KVP, _EXPOSURE, _CURRENT, _TIME = 0x00180060, 0x00181152, 0x00181151, 0x00181150
_REPETITION_TIME, _ECHO_TIME, _FIELD = 0x00180080, 0x00180081, 0x00180087
_THICKNESS, _LOCATION, _PIXEL_MEASURES = 0x00180050, 0x00201041, 0x00289110

Texts = list[tuple[Corner, list[str]]]


def texts(frame: FrameAttributes, number: int, wanted: Collection[str], window: Window | None) -> Texts:
    """Lines for the corners of the frame `number`. `window`: by which it was rendered, if by one."""
    found: Texts = []
    if "patient" in wanted:
        found.append(("top left", _patient(frame)))
    if "technique" in wanted:
        found.append(("top right", _study(frame)))
        found.append(("bottom left", _technique(frame, number, window)))
    return found


def _patient(frame: FrameAttributes) -> list[str]:
    elements = frame.elements
    name = elements.texts(_PATIENT_NAME)
    told = (date(elements.text(_BIRTH_DATE)), elements.text(_SEX))
    first = next((group for group in name[0].split("=") if group.strip("^ ")), "") if name else ""
    lines = [person(first), elements.text(_PATIENT_ID), "  ".join(filter(None, told))]
    return [line for line in lines if line]


def _study(frame: FrameAttributes) -> list[str]:
    elements = frame.elements
    lines = [
        elements.text(_MODALITY),
        date(elements.text(_STUDY_DATE)),
        elements.text(_SERIES_DESCRIPTION),
    ]
    return [line for line in lines if line]


def _technique(frame: FrameAttributes, number: int, window: Window | None) -> list[str]:
    measures = frame.macro(number, _PIXEL_MEASURES, (_THICKNESS,))
    parts = (
        (_number(frame, _KVP, "", "kV"), _exposure(frame)),
        (
            _number(frame, _REPETITION_TIME, "TR ", "ms"),
            _number(frame, _ECHO_TIME, "TE ", "ms"),
            _number(frame, _FIELD, "", "T"),
        ),
        (_told(measures.number(_THICKNESS, 0), "", "mm"), _location(frame)),
        (_window(window),),
    )
    lines = ["  ".join(filter(None, part)) for part in parts]
    frames = int(frame.elements.number(0x00280008, 1))
    if frames > 1:
        lines.append(f"{number}/{frames}")
    return [line for line in lines if line]


def _exposure(frame: FrameAttributes) -> str:
    elements = frame.elements
    exposure = elements.number(_EXPOSURE, 0)
    if not exposure:  # milliamperes and milliseconds
        exposure = elements.number(_CURRENT, 0) * elements.number(_TIME, 0) / 1000
    return _told(exposure, "", "mAs")


def _location(frame: FrameAttributes) -> str:
    values = frame.elements.numbers(_LOCATION)
    return f"at {_short(values[0])} mm" if values and abs(values[0]) < 1e7 else ""


def _window(window: Window | None) -> str:
    if window is None:
        return ""
    function = "" if window.function != "sigmoid" else "  sigmoid"
    return f"C {_short(window.center)}  W {_short(window.width)}{function}"


def _number(frame: FrameAttributes, tag: int, before: str, unit: str) -> str:
    return _told(frame.elements.number(tag, 0), before, unit)


def _told(value: float, before: str, unit: str) -> str:
    return f"{before}{_short(value)} {unit}" if 0 < value < 1e7 else ""


def _short(value: float) -> str:
    """Without digits that nobody reads, and never in powers of ten."""
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
