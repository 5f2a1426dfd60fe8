"""Run by Alembic: the connection, its transaction begun, comes from `hounsfield.adapters.sql.migrate`."""

from __future__ import annotations

from alembic import context

from hounsfield.adapters.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
