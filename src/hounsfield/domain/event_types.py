"""What a type of ledger event is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventType:
    name: str
    summary: str  # one sentence, printed in the reference
    fields: Mapping[str, str]  # payload field -> what it means
    version: int = 1


def event_type(name: str, summary: str, **fields: str) -> EventType:
    return EventType(name, summary, fields)
