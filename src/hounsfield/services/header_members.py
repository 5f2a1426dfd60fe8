"""Single attributes of kept objects as DICOM JSON: what a search returns beyond what the index has."""

from __future__ import annotations

import json
from collections.abc import Collection

from hounsfield.domain.study import StoredInstance
from hounsfield.services.metadata import Metadata
from hounsfield.wire.dicomfile.errors import MalformedError


def header_members(
    metadata: Metadata, instance: StoredInstance, series_address: str, tags: Collection[int]
) -> list[str]:
    """The members of the JSON object of `instance` that `tags` name, with the creators of private ones; none
    of an object whose header cannot be read. Bulk data have addresses below `series_address`.

    Raises DamagedError, NotFoundError.
    """
    try:
        members = json.loads(metadata.instance(instance, lambda _: series_address))
    except MalformedError:
        return []
    wanted = {f"{tag:08X}" for tag in (*tags, *map(_creator_of, filter(_is_private, tags)))}
    return [
        f'"{tag}":{json.dumps(member, ensure_ascii=False)}'
        for tag, member in members.items()
        if tag in wanted
    ]


def _is_private(tag: int) -> bool:
    return bool(tag >> 16 & 1) and tag & 0xFFFF >= 0x1000


def _creator_of(tag: int) -> int:
    """The tag of the private creator element of a private one (PS3.5 7.8.1)."""
    return tag & 0xFFFF0000 | tag >> 8 & 0xFF
