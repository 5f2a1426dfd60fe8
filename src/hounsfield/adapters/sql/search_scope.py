"""A scope as a condition in SQL on the studies that are in it (`domain.access.Scope.sees`)."""

from __future__ import annotations

import json

from hounsfield.adapters.sql.connection import SQLITE
from hounsfield.adapters.sql.search_where import NEVER, Clause, all_of, either, keepable, member
from hounsfield.domain.access import Scope


def scope_clause(scope: Scope, dialect: str, alias: str = "s") -> Clause:
    """The condition on the study `alias`. Marked as indexed where single studies alone are in the scope: few,
    found by their UIDs."""
    own = _own(scope, dialect, alias)
    return own if scope.within is None else all_of([own, scope_clause(scope.within, dialect, alias)])


def _own(scope: Scope, dialect: str, alias: str) -> Clause:
    if scope.sites is None and scope.studies is None:
        return Clause("1 = 1")
    ways: list[Clause] = []
    uids = sorted(filter(keepable, scope.studies or ()))
    if uids and dialect == SQLITE:
        ways.append(
            Clause(f"{alias}.uid IN (SELECT value FROM json_each(?))", (json.dumps(uids),), indexed=True)
        )
    elif uids:
        ways.append(Clause(f"{alias}.uid = ANY(?)", (uids,), indexed=True))
    for site in sorted(filter(keepable, scope.sites or ())):
        if site:
            ways.append(member(f"{alias}.sites", site, dialect))
    return either(ways) if ways else NEVER
