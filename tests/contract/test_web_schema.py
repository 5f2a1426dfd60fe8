"""/api keeps to its own OpenAPI document, whatever is sent: Schemathesis, as administrator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hounsfield.servers.web import api
from support_services import part10
from support_web import WebArchive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DOCUMENT = api.described()
schema = schemathesis.openapi.from_dict(DOCUMENT)
#: What these do to the administrator itself would end the test.
_SELF = {"/users/{name}", "/users/{name}/password", "/users/{name}/sessions", "/tokens/{token}"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebArchive]:
    with WebArchive(tmp_path_factory.mktemp("schema"), http_rate=0) as archive:
        archive.store(part10("1.2.3.4.5"))
        yield archive


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_the_api_is_as_it_says(archive: WebArchive, case: schemathesis.Case) -> None:
    if case.method != "GET" and case.path in _SELF and case.path_parameters.get("name") == "admin":
        return
    headers = {"Authorization": f"Bearer {archive.admin_token}"}
    response = case.call(base_url=f"{archive.url}/api", headers=headers)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
