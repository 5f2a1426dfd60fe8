"""Retrieve: which objects a C-GET or C-MOVE identifier asks for (PS3.4 C.4.2 and C.4.3).

Planning only: the servers send, `services.reading` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hounsfield.domain.attributes import UNIQUE_KEY
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.domain.query import Level
from hounsfield.domain.study import StoredInstance
from hounsfield.ports.database import Database
from hounsfield.services.reading import Reader, data_set_chunks, read_data_set

__all__ = ["Plan", "Reader", "RetrieveRefusedError", "data_set_chunks", "plan", "read_data_set"]

#: C-MOVE and C-GET statuses (PS3.4 C.4.2.1.5, C.4.3.1.4).
IDENTIFIER_DOES_NOT_MATCH = 0xA900
UNABLE_TO_PROCESS = 0xC000

#: Error Comment is LO (PS3.7 E.1): 64 characters.
MAX_COMMENT = 64

#: Levels of each information model, as `ports.peers` names them.
MODELS: Mapping[str, tuple[Level, ...]] = {
    "patient": (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    "study": (Level.STUDY, Level.SERIES, Level.IMAGE),
    "patient-study-only": (Level.PATIENT, Level.STUDY),
}


class RetrieveRefusedError(Exception):
    """The identifier cannot be served: a status and an Error Comment of at most 64 characters."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment[:MAX_COMMENT]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `instances` by series and instance number; none is no error (PS3.4 C.4.2.3.1)."""

    level: Level
    instances: list[StoredInstance]
    #: Unique keys asked for that nothing is kept of, for the ledger and the person who wonders.
    unknown: tuple[str, ...] = ()


def plan(
    database: Database, identifier: Mapping[str, str], *, model: str = "study", relational: bool = False
) -> Plan:
    """The objects of an identifier (keyword -> decoded text, values joined by a backslash).

    `model` is "patient", "study" or "patient-study-only". Without relational retrieve (`relational`, agreed
    by SOP class extended negotiation) the unique keys of all levels above must be there, each with one value
    (C.4.2.2.1). Keys that are not unique keys have no meaning here and are passed over.
    Raises RetrieveRefusedError.
    """
    level = _level(identifier, MODELS[model])
    keys = _unique_keys(identifier, level, MODELS[model], relational)
    patient = keys.get(Level.PATIENT)
    studies = keys.get(Level.STUDY, ())
    found: dict[str, StoredInstance] = {}
    with database.read() as tx:
        for study in studies or ("",):
            for instance in tx.index.instances(
                patient=patient[0] if patient else None,
                study=study,
                series=keys.get(Level.SERIES, ()),
                sop=keys.get(Level.IMAGE, ()),
            ):
                found.setdefault(instance.sop_instance_uid, instance)
    return Plan(level, list(found.values()), _unknown(level, keys, found))


def _level(identifier: Mapping[str, str], levels: tuple[Level, ...]) -> Level:
    text = identifier.get("QueryRetrieveLevel", "").strip()
    if not text:
        raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, "Query/Retrieve Level (0008,0052) is missing")
    level = Level.__members__.get(text)
    if level is None:
        raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"Query/Retrieve Level {text[:16]!r} unknown")
    if level not in levels:
        raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"Level {text} is not in this model")
    return level


def _unique_keys(
    identifier: Mapping[str, str], level: Level, levels: tuple[Level, ...], relational: bool
) -> dict[Level, tuple[str, ...]]:
    keys: dict[Level, tuple[str, ...]] = {}
    for at in levels:
        if at > level:
            break
        keyword = UNIQUE_KEY[at]
        values = _values(identifier.get(keyword, ""), at)
        if at is level and not values:
            raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"{keyword} is missing or empty")
        if at < level and not values:
            if relational:
                continue
            raise RetrieveRefusedError(
                IDENTIFIER_DOES_NOT_MATCH, f"{keyword} is missing (relational retrieve not agreed)"
            )
        if at < level and len(values) > 1 and not relational:
            raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"{keyword} must have one value here")
        keys[at] = values
    return keys


def _values(text: str, level: Level) -> tuple[str, ...]:
    """The values of a unique key. Wild cards and matching of any other kind have no place (C.4.2.2)."""
    keyword = UNIQUE_KEY[level]
    if level is Level.PATIENT:
        value = text.strip(" ")
        if "\\" in value:
            raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"{keyword} must have one value")
        if "*" in value or "?" in value:
            raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"{keyword}: no wild cards in a retrieve")
        return (value,) if value else ()
    values = tuple(dict.fromkeys(value for part in text.split("\\") if (value := part.strip(" \0"))))
    for value in values:
        if not is_tolerated_uid(value):
            raise RetrieveRefusedError(IDENTIFIER_DOES_NOT_MATCH, f"{keyword} holds a value that is no UID")
    return values


def _unknown(
    level: Level, keys: Mapping[Level, tuple[str, ...]], found: Mapping[str, StoredInstance]
) -> tuple[str, ...]:
    if level is Level.PATIENT:
        return () if found else keys[level]
    if level is Level.STUDY:
        known = {instance.study_instance_uid for instance in found.values()}
    elif level is Level.SERIES:
        known = {instance.series_instance_uid for instance in found.values()}
    else:
        known = set(found)
    return tuple(uid for uid in keys[level] if uid not in known)
