"""The requests of OHIF that the how-to lists are answered, as the how-to says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support_rendering import document_set
from support_wado import file_of_data_set, image, of_file
from support_web import WebArchive

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "ohif-on-hounsfield.md"
ROW = re.compile(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", re.MULTILINE)
INSTANCES = "/dicom-web/studies/{study}/series/{series}/instances"
REQUESTS = ROW.findall(PAGE.read_text(encoding="utf-8"))
PDF = b"%PDF-1.7 not really"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("ohif")) as archive:
        yield archive
