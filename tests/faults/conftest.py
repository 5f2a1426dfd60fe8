"""A house for each test, whose roles are forked of one process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hounsfield.adapters.sql.database import open_database
from support_faults import House, Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy."""
    path = tmp_path_factory.mktemp("template") / "hounsfield.sqlite"
    made = open_database(f"sqlite:///{path}", "template")
    made.migrate()
    made.close()
    return path


@pytest.fixture
def house(tmp_path: Path, nursery: Nursery, migrated: Path) -> Iterator[House]:
    made = House(tmp_path, nursery)
    made.data.mkdir()
    shutil.copy(migrated, made.data / migrated.name)
    yield made
    made.end()
