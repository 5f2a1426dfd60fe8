"""VRs that the data do not tell: of implicit VR and of UN (PS3.6, PS3.5 6.2.2).

What queries and stored headers carry most stands here; for the rest pydicom's dictionaries are asked, which
are loaded only then.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from hounsfield.wire.dicomfile.header import INDEX_TAGS, REQUEST_TAGS

_FREQUENT: Final = {
    **INDEX_TAGS,
    **REQUEST_TAGS,
    0x00080005: "CS",  # Specific Character Set
    0x00080052: "CS",  # Query/Retrieve Level
    0x00080054: "AE",  # Retrieve AE Title
    0x00080056: "CS",  # Instance Availability
    0x00080061: "CS",  # Modalities in Study
    0x00080062: "UI",  # SOP Classes in Study
    0x00081150: "UI",  # Referenced SOP Class UID
    0x00081155: "UI",  # Referenced SOP Instance UID
    0x00081195: "UI",  # Transaction UID
    0x00081197: "US",  # Failure Reason
    0x00081198: "SQ",  # Failed SOP Sequence
    0x00081199: "SQ",  # Referenced SOP Sequence
    0x00201200: "IS",  # Number of Patient Related Studies
    0x00201202: "IS",  # Number of Patient Related Series
    0x00201204: "IS",  # Number of Patient Related Instances
    0x00201206: "IS",  # Number of Study Related Series
    0x00201208: "IS",  # Number of Study Related Instances
    0x00201209: "IS",  # Number of Series Related Instances
    0x00400100: "SQ",  # Scheduled Procedure Step Sequence
    0x00400275: "SQ",  # Request Attributes Sequence
}


def vr_of(tag: int, creator: str = "") -> str:
    """The VR of `tag`; "UN" where nobody knows it.

    Where PS3.6 gives a choice, its wording stays: "US or SS", "OB or OW", "US or OW", "US or SS or OW".
    `creator` is the Private Creator of a private element.
    """
    return _FREQUENT.get(tag) or _looked_up(tag, creator)


@lru_cache(maxsize=8192)
def _looked_up(tag: int, creator: str) -> str:
    from pydicom.datadict import dictionary_VR, private_dictionary_VR

    element = tag & 0xFFFF
    try:
        if tag >> 16 & 1:
            if 0x0010 <= element <= 0x00FF:
                return "LO"
            return str(private_dictionary_VR(tag, creator)) if creator else "UN"
        if tag >> 16 == 0xFFFE:  # items and delimiters have none
            return "UN"
        return str(dictionary_VR(tag))
    except KeyError:
        return "UL" if element == 0 else "UN"


def keyword_of(tag: int) -> str:
    """The keyword of `tag` in PS3.6, '' where it has none."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag)
