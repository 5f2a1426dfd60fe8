"""What becomes of an object, by its SOP class and transfer syntax."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Final

from hounsfield.adapters.pixel_streams import CODINGS
from hounsfield.ports.rendering import STILL_TYPES
from hounsfield.wire.dicomfile.sop_classes import STORAGE_SOP_CLASSES
from hounsfield.wire.dicomfile.transfer_syntaxes import transfer_syntax

_CLASS: Final = "1.2.840.10008.5.1.4.1.1."
_ENDINGS: Final = {".100": "video/mpeg", ".101": "video/mpeg", ".107": "video/mp4", ".108": "video/mp4"} | {
    f".10{n}": "video/mp4" for n in range(2, 7)
}
#: Video that is passed through, by transfer syntax.
VIDEO_TYPES: Final = {
    f"1.2.840.10008.1.2.4{ending}{fragmentable}": media
    for ending, media in _ENDINGS.items()
    for fragmentable in ("", ".1")
}
ENCAPSULATED_TYPES: Final = {
    f"{_CLASS}104.1": ("application/pdf",),
    f"{_CLASS}104.2": ("text/plain", "text/xml"),
}


class Kind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"  # PDF or CDA, as it is
    REPORT = "report"
    STATE = "presentation state"
    WAVEFORM = "waveform"
    NONE = "none"


#: Words of which the name of a SOP class has one where its objects have pixels.
_WITH_PIXELS: Final = frozenset({"Image", "Volume", "Map", "Segmentation", "Dose"})


def kind_of(sop_class_uid: str, transfer_syntax_uid: str) -> Kind:
    """An object of an unknown class is taken for an image: it shows whether it is one."""
    if sop_class_uid in ENCAPSULATED_TYPES:
        return Kind.DOCUMENT
    if sop_class_uid.startswith(f"{_CLASS}88."):
        return Kind.REPORT
    if sop_class_uid.startswith((f"{_CLASS}11.", f"{_CLASS}9.100.")):
        return Kind.STATE
    if sop_class_uid.startswith(f"{_CLASS}9."):
        return Kind.WAVEFORM
    if transfer_syntax_uid in VIDEO_TYPES:
        return Kind.VIDEO
    words = STORAGE_SOP_CLASSES.get(sop_class_uid, "Image").split()
    if not _WITH_PIXELS.intersection(words) or "Surface" in words:
        return Kind.NONE
    syntax = transfer_syntax(transfer_syntax_uid)
    return Kind.NONE if syntax.encapsulated and transfer_syntax_uid not in CODINGS else Kind.IMAGE


def words(sop_class_uid: str, transfer_syntax_uid: str) -> str:
    """What an object is, for people."""
    match kind := kind_of(sop_class_uid, transfer_syntax_uid):
        case Kind.DOCUMENT:
            return "PDF" if sop_class_uid.endswith(".1") else "Document"
        case Kind.VIDEO | Kind.REPORT | Kind.STATE | Kind.WAVEFORM:
            return kind.value.capitalize()
    return STORAGE_SOP_CLASSES.get(sop_class_uid, "Object").removesuffix(" Storage")


@lru_cache(maxsize=1024)
def media_types(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[str, ...]:
    """Best first."""
    match kind_of(sop_class_uid, transfer_syntax_uid):
        case Kind.IMAGE:
            return STILL_TYPES
        case Kind.VIDEO:
            return (VIDEO_TYPES[transfer_syntax_uid],)
        case Kind.DOCUMENT:
            return ENCAPSULATED_TYPES[sop_class_uid]
        case Kind.REPORT | Kind.STATE:
            return ("text/html",)
        case Kind.WAVEFORM:
            return ("image/svg+xml",)
    return ()
