"""One row of a table, inserted or replaced by its key."""

from __future__ import annotations

from typing import Any

from hounsfield.adapters.sql.connection import Connection


def save(connection: Connection, table: str, columns: tuple[str, ...], values: tuple[Any, ...]) -> None:
    """Insert or replace by the first column."""
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({connection.marks(len(columns))})"
        f" ON CONFLICT ({columns[0]}) DO UPDATE SET {changes}",
        values,
    )


def grow(connection: Connection, name: str) -> None:
    """Grow a counter by one: what caches compare."""
    connection.execute(
        "INSERT INTO counter (name, value) VALUES (?, 1)"
        " ON CONFLICT (name) DO UPDATE SET value = counter.value + 1",
        (name,),
    )


def grown(connection: Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0
