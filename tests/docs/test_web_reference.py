"""The pages of the web role leave nothing out: statuses, parameters, media types, permissions, metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts import reference, reference_api, reference_dicomweb, reference_metrics

import hounsfield
from hounsfield.domain.access import Permission
from hounsfield.ports.rendering import STILL_TYPES
from hounsfield.servers.web import app, dicomweb, problems, table
from hounsfield.wire.dicomweb import qido
from hounsfield.wire.dicomweb.accept import BULK_MEDIA_TYPE_OF

SOURCE = Path(hounsfield.__file__).parent
WEB = SOURCE / "servers" / "web"
DICOMWEB, API, METRICS = (reference.PAGES[name]() for name in ("dicomweb.md", "api.md", "metrics.md"))


def sources(folder: Path) -> Iterator[str]:
    pages = sorted(folder.rglob("*.py"))
    assert pages
    return (page.read_text(encoding="utf-8") for page in pages)


def test_every_status_that_is_answered_is_described() -> None:
    used = {int(code) for text in sources(WEB) for code in re.findall(r"Problem\(\s*(\d{3})\b", text)}
    used |= {int(code) for text in sources(WEB) for code in re.findall(r"\bstatus(?:_code)?=(\d{3})\b", text)}
    used |= {status for _, status, _ in problems._STATUS} | set(problems._TITLES)
    stow = (WEB / "dicomweb" / "stow_answer.py").read_text(encoding="utf-8")
    used |= {int(code) for code in re.findall(r"(?:return|else|if kept ==.* else) (\d{3})\b", stow)}
    assert {400, 404, 409, 416, 503} <= used
    assert used - reference_dicomweb.STATUSES.keys() == set()


def test_every_failure_reason_is_described() -> None:
    upload = (SOURCE / "services" / "upload.py").read_text(encoding="utf-8")
    [line] = re.findall(r"^[A-Z_, ]+ = (0x[0-9A-Fx, ]+)$", upload, re.MULTILINE)
    reasons = {int(code, 16) for code in line.split(",")}
    assert len(reasons) == 4
    assert reasons <= reference_dicomweb.FAILURE_REASONS.keys()


@pytest.mark.parametrize(
    ("name", "described"),
    [
        (
            "rendered_parameters.py",
            reference_dicomweb.RENDERED_PARAMETERS | reference_dicomweb.URI_PARAMETERS,
        ),
        ("wado_uri.py", reference_dicomweb.URI_PARAMETERS),
    ],
)
def test_every_query_parameter_is_described(name: str, described: dict[str, str]) -> None:
    text = (WEB / "dicomweb" / name).read_text(encoding="utf-8")
    used = set(re.findall(r"""query(?:\.get\(|\[)"(\w+)\"""", text))
    used |= set(re.findall(r'"(\w+UID)": "', text))
    assert len(used) > 4
    assert used <= described.keys()


def test_every_option_of_a_search_is_described() -> None:
    assert qido._OPTIONS | {"includefield"} == reference_dicomweb.SEARCH_PARAMETERS.keys()


def test_every_media_type_and_transfer_syntax_is_named() -> None:
    expected = {*STILL_TYPES, *BULK_MEDIA_TYPE_OF.values(), *BULK_MEDIA_TYPE_OF.keys()}
    assert {one for one in expected if f"`{one}`" not in DICOMWEB} == set()


def test_every_route_is_named() -> None:
    for rule in app.RULES:
        page = DICOMWEB if rule in dicomweb.RULES else API
        if not rule.path.endswith("/openapi.json") and rule.path not in ("/api/docs", "/dicom-web/"):
            assert f"{rule.method} `{rule.path.replace(':path}', '}')}`" in page


def test_every_permission_is_explained() -> None:
    assert reference_api.PERMISSIONS.keys() == set(Permission)
    assert reference_api.OTHER_NEEDS.keys() == {table.PUBLIC, table.NEARBY, table.SIGNED_IN}


def test_every_metric_in_the_source_is_named() -> None:
    named = {
        name for text in sources(SOURCE / "services") for name in re.findall(r'"(hounsfield_\w+)"', text)
    }
    assert len(named) > 10
    assert {name for name in named if not re.search(rf"`{name}(_total)?`", METRICS)} == set()


def test_every_label_is_explained() -> None:
    everything = [*reference_metrics.of_roles(), *reference_metrics.of_archive()]
    assert {label for one in everything for label in one.labels} == reference_metrics.LABELS.keys()
    assert all(one.text for one in everything)
