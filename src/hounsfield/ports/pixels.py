"""Conversion of one object between transfer syntaxes, without loss against what is stored."""

from __future__ import annotations

from typing import Protocol


class Transcoder(Protocol):
    """May take long and much memory: call it beside the event loop."""

    def targets(self, transfer_syntax_uid: str) -> tuple[str, ...]:
        """Into which transfer syntaxes a data set of this one can be converted, best first."""
        ...

    def convert(self, data_set: bytes, transfer_syntax_uid: str, target: str) -> bytes:
        """The data set in another transfer syntax. Raises UnreadableError with the reason when its pixels
        cannot be decoded, or when it would lose something."""
        ...
