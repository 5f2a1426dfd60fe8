"""Every route of the web role against every role, over HTTP; and that no route is without its rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount, Route

from hounsfield.domain.access import ROLE_PERMISSIONS, Permission, Role
from hounsfield.servers.web.app import RULES, routes
from hounsfield.servers.web.guard import NEARBY, PUBLIC, SIGNED_IN, Rule, Table
from support_services import part10
from support_web import WebArchive

STUDY, OTHER = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
#: Who asks. "limited" are radiologists of one site, who have what no limit needs.
ROLES = [*(str(role) for role in Role), "anonymous"]
#: What a guard that let the request pass leads to: whatever the handler says of an empty request.
REFUSED = {401, 403}


@dataclass
class Everybody:
    archive: WebArchive
    clients: dict[str, httpx.Client]


@pytest.fixture(scope="module")
def everybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everybody]:
    folder = tmp_path_factory.mktemp("table")
    with WebArchive(folder, http_rate=0, http_sign_in_rate=10_000) as archive:
        archive.store(part10(f"{STUDY}.9", study=STUDY, series=f"{STUDY}.8"), site="north")
        archive.store(part10(f"{OTHER}.9", study=OTHER, series=f"{OTHER}.8"), site="south")
        clients = {"anonymous": archive.anonymous()}
        for role in Role:
            sites = ("north",) if role is Role.SUPERUSER else ()
            studies = (STUDY,) if role is Role.REFERRER else ()
            token = archive.account(f"some-{role}", role, sites=sites, studies=studies)
            clients[str(role)] = archive.client(token)
        yield Everybody(archive, clients)
        for client in clients.values():
            client.close()


def path_of(rule: Rule, study: str = STUDY) -> str:
    values = {"study": study, "series": f"{study}.8", "instance": f"{study}.9", "number": "999999"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: values.get(found[1], "1"), rule.path)


def named(rule: Rule) -> str:
    return f"{rule.method} {rule.path}"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("rule", RULES, ids=named)
def test_each_route_lets_in_whom_its_rule_says(everybody: Everybody, rule: Rule, role: str) -> None:
    answer = everybody.clients[role].request(rule.method, path_of(rule), follow_redirects=False)
    if rule.needs in (PUBLIC, NEARBY):  # the test asks from this machine
        assert answer.status_code not in REFUSED, answer.text
    elif role == "anonymous":
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers
    elif rule.needs == SIGNED_IN or allowed(Role(role), rule):
        assert answer.status_code not in REFUSED, answer.text
    else:
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"


def allowed(role: Role, rule: Rule) -> bool:
    """As `domain.access` has it for the accounts of the fixture."""
    assert isinstance(rule.needs, Permission)
    limited = role in (Role.SUPERUSER, Role.REFERRER)
    unlimited_only = {
        "ledger.read",
        "jobs.read",
        "jobs.change",
        "settings.read",
        "settings.change",
        "tokens.all",
    }
    return rule.needs in ROLE_PERMISSIONS[role] and not (limited and rule.needs in unlimited_only)


@pytest.mark.parametrize("role", ["superuser", "referrer"])
@pytest.mark.parametrize("rule", [r for r in RULES if "{study}" in r.path], ids=named)
def test_a_study_outside_the_scope_is_not_there(everybody: Everybody, rule: Rule, role: str) -> None:
    """As one that there is not at all: the same status, the same words."""
    if not allowed(Role(role), rule) or rule.needs == Permission.STUDIES_STORE:
        return
    client = everybody.clients[role]
    headers = {"Accept": "*/*"}
    other = client.request(rule.method, path_of(rule, OTHER), headers=headers)
    absent = client.request(rule.method, path_of(rule, "1.2.3.99"), headers=headers)
    assert (other.status_code, other.json()) == (absent.status_code, absent.json())
    assert other.status_code == 404
    own = client.request(rule.method, path_of(rule), headers=headers)
    assert own.status_code != 404 or own.json() != other.json()


def test_every_route_has_a_rule_and_every_rule_a_route(everybody: Everybody) -> None:
    served = set()
    for method, path in flat(routes(everybody.archive.web)):
        served.add((method, path))
    ruled = {(rule.method, rule.path) for rule in RULES}
    assert served - ruled == set(), "routes that nobody may use"
    assert ruled - served == set(), "rules for what is not there"


def flat(some: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in some:
        if isinstance(route, Mount):
            app = route.app
            assert isinstance(app, FastAPI)
            for path, operations in app.openapi()["paths"].items():
                yield from ((method.upper(), prefix + route.path + path) for method in operations)
            yield from flat([r for r in app.routes if type(r) is Route], prefix + route.path)
        elif isinstance(route, Route):
            for method in (route.methods or {"GET"}) - {"HEAD"}:
                yield method, prefix + route.path


def test_what_is_not_in_the_table_is_closed(everybody: Everybody) -> None:
    assert everybody.clients["anonymous"].get("/there/is/nothing").status_code == 401
    assert everybody.clients["administrator"].get("/there/is/nothing").status_code == 404
    assert everybody.clients["administrator"].delete("/healthz").status_code == 405
    for path in ("/API/system", "//api/system", "/api/system/", "/api//system", "/api/../api/system"):
        assert everybody.clients["anonymous"].get(path).status_code in (401, 404), path


def test_the_table_refuses_two_rules_for_one_thing() -> None:
    with pytest.raises(ValueError, match="two rules"):
        Table([Rule("GET", "/a", PUBLIC), Rule("GET", "/a", SIGNED_IN)])
