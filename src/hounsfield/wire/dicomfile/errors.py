"""What is wrong with bytes that should be DICOM."""

from __future__ import annotations


class MalformedError(ValueError):
    """The bytes are not what PS3.5 or PS3.10 allow, beyond what can be tolerated.

    `what` says what was found; `offset` is where (bytes from the beginning of what was read, -1 where no
    single place is to blame); `tag` the element there, -1 where it is not known. Never holds values.
    """

    def __init__(self, what: str, offset: int = -1, tag: int = -1) -> None:
        self.what = what
        self.offset = offset
        self.tag = tag
        place = f" at byte {offset}" if offset >= 0 else ""
        element = f" in ({tag >> 16:04X},{tag & 0xFFFF:04X})" if tag >= 0 else ""
        super().__init__(f"{what}{element}{place}")


class TruncatedError(MalformedError):
    """The bytes end before what they announce."""


class LimitError(MalformedError):
    """More elements, depth, bytes or decompressed bytes than are read for anybody."""
