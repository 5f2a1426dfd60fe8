"""Settings that are changed without a restart, kept in the database; each change is in the ledger."""

from __future__ import annotations

from collections.abc import Mapping

from hounsfield.domain.errors import NotFoundError, RefusedError
from hounsfield.domain.events import Event
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database

#: Name -> what it is for. Values are texts; '' where nobody has set one.
CATALOGUE: Mapping[str, str] = {
    "archive_name": "What the pages call this archive, such as the hospital's name.",
    "sign_in_notice": "Text on the sign-in page: whom to ask for an account, who may sign in.",
}
LONGEST = 2000


def values(database: Database) -> dict[str, str]:
    """All of them."""
    with database.read() as tx:
        kept = {name: tx.settings.get(name) for name in CATALOGUE}
    return {name: value if isinstance(value, str) else "" for name, value in kept.items()}


def change(database: Database, clock: Clock, actor: str, name: str, value: str) -> None:
    """Raises NotFoundError for a setting that there is not, RefusedError for a value that cannot be."""
    if name not in CATALOGUE:
        raise NotFoundError(f"There is no live setting {name}", f"There are {', '.join(CATALOGUE)}")
    if len(value) > LONGEST or any(not c.isprintable() and c not in "\n\t" for c in value):
        raise RefusedError(
            f"This cannot be {name}", f"Use at most {LONGEST} characters, and no control characters"
        )
    with database.write() as tx:
        before = tx.settings.get(name)
        tx.settings.set(name, value)
        payload = {"setting": name, "before": before or "", "after": value}
        tx.ledger.append([Event("settings.changed", clock.now(), actor=actor, payload=payload)])
