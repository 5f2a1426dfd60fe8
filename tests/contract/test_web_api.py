"""The administration API: what each operation does, for those studies and sites alone that are in scope."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydicom.uid import generate_uid

from hounsfield.domain.access import Role
from hounsfield.domain.stored import Origin, QuarantineReason
from hounsfield.ports.jobs import NewJob
from hounsfield.services import tokens
from hounsfield.wire.dicomfile.part10 import read_meta
from support_accounts import quick_passwords
from support_services import part10
from support_stow import stow
from support_web import WebArchive, wait_for

__all__ = ["quick_passwords"]
pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[WebArchive]:
    with WebArchive(tmp_path) as archive:
        yield archive


def study(archive: WebArchive, *, site: str = "", **more: object) -> str:
    uid = generate_uid(prefix="1.2.3.")[:60]
    archive.store(part10(generate_uid(), study=uid, series=f"{uid}.1", **more), site=site)
    return uid


def test_studies_are_listed_by_pages_and_searched_for(archive: WebArchive) -> None:
    uids = {study(archive, patient=f"P{n}", StudyDate=f"2024010{n + 1}") for n in range(5)}
    with archive.client() as client:
        seen: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = client.get("/api/studies", params={"limit": 2, "offset": offset}).json()
            seen += [one["study"] for one in page["studies"]]
            offset = page["next_offset"]
        assert len(seen) == 5 and set(seen) == uids
        dated = client.get("/api/studies", params={"date": "20240102-20240103"}).json()
        assert [one["date"] for one in dated["studies"]] == ["20240103", "20240102"]
        found = client.post("/api/studies/search", json={"patient_id": "P3"}).json()["studies"]
        assert [one["patient_id"] for one in found] == ["P3"]
        one = client.get(f"/api/studies/{found[0]['study']}").json()
        assert one == found[0]
        verified = client.post(f"/api/studies/{one['study']}/verify").json()
        assert (verified["objects"], verified["damaged"]) == (1, [])
        assert client.get("/api/studies", params={"date": "tomorrow"}).status_code == 422
        assert client.get("/api/studies/abc").status_code == 400
    assert archive.events("study.verified")[0].actor == "user:admin"


def test_a_limited_user_sees_what_is_in_scope(archive: WebArchive) -> None:
    north, south = study(archive, site="north"), study(archive, site="south")
    granted = archive.account("referrer", Role.REFERRER, studies=(south,))
    at_north = archive.account("reader", Role.RADIOLOGIST, sites=("north",))
    with archive.client(granted) as client:
        assert [one["study"] for one in client.get("/api/studies").json()["studies"]] == [south]
        assert client.get(f"/api/studies/{north}/series").status_code == 404
    with archive.client(at_north) as client:
        assert [one["study"] for one in client.get("/api/studies").json()["studies"]] == [north]
        assert client.get(f"/api/studies/{south}").status_code == 404
        series = client.get(f"/api/studies/{north}/series").json()["series"][0]["series"]
        path = f"/api/studies/{south}/series/{series}/instances"
        assert client.get(path).status_code == 404
        mixed = client.get(f"/api/studies/{north}/series/{south}.1/instances").json()
        assert mixed["instances"] == [], "a series of another study"
        assert client.get("/api/ledger").status_code == 403
    archive.web.audit.flush()
    refused = wait_for(lambda: archive.events("access.refused", study=south), "it is in the ledger")
    assert refused[0].actor == "user:reader" and refused[0].payload["address"] == "127.0.0.1"
    accessed = archive.events("study.accessed", study=north)
    assert {(e.actor, e.payload["what"], e.payload["how"]) for e in accessed} == {
        ("user:reader", "series", "token"),
        ("user:reader", "instances", "token"),
    }


def test_devices_are_kept_by_those_of_their_site(archive: WebArchive) -> None:
    new = {"name": "CT1", "ae_title": "CT1", "host": "127.0.0.1", "port": 1, "site": "north"}
    with archive.client() as client:
        made = client.post("/api/devices", json=new)
        assert made.status_code == 201 and made.json()["state"] == "admitted"
        assert client.post("/api/devices", json=new).status_code == 409
        assert client.post("/api/devices", json=new | {"name": "B", "ae_title": "a\\b"}).status_code == 422
        changed = {key: value for key, value in new.items() if key != "name"} | {"port": 2}
        assert client.put("/api/devices/CT1", json=changed).json()["port"] == 2
        assert client.post("/api/devices/CT1/refuse", json={"reason": "old"}).json()["state"] == "refused"
        assert client.post("/api/devices/CT1/admit", json={}).json()["state"] == "admitted"
        assert client.post("/api/devices/CT1/echo").status_code == 502, "nothing listens there"
        client.post("/api/devices", json=new | {"name": "CT2", "ae_title": "CT2", "site": "south"})
    token = archive.account("chief", Role.SUPERUSER, sites=("north",))
    with archive.client(token) as client:
        assert [one["name"] for one in client.get("/api/devices").json()["devices"]] == ["CT1"]
        assert client.get("/api/devices/CT2").status_code == 404
        assert client.delete("/api/devices/CT2").status_code == 404
        assert client.put("/api/devices/CT1", json=changed | {"site": "south"}).status_code == 403
        assert client.post("/api/devices", json=new | {"name": "X", "site": ""}).status_code == 403
        assert client.delete("/api/devices/CT1").status_code == 200
    assert [e.payload["change"] for e in archive.events("device.changed", device="CT1")][-1] == "removed"


def test_who_is_limited_writes_down_no_device_that_sees_more(archive: WebArchive) -> None:
    """Over DIMSE all sites are one; and a workstation's AE title is where studies are sent to."""
    ours = {"name": "WS-1", "ae_title": "WS", "host": "127.0.0.1", "port": 1, "site": "west"}
    with archive.client() as client:
        assert client.post("/api/devices", json=ours | {"site": "east"}).status_code == 201
    token = archive.account("west-chief", Role.SUPERUSER, sites=("west",))
    mine = ours | {"name": "A", "ae_title": "MINE"}
    with archive.client(token) as client:
        for roles in ([], ["query"], ["store", "retrieve"]):
            assert client.post("/api/devices", json=mine | {"roles": roles}).status_code == 403, roles
        made = client.post("/api/devices", json=mine | {"roles": ["store", "commit"]})
        assert made.status_code == 201
        values = {key: value for key, value in mine.items() if key != "name"}
        assert client.put("/api/devices/A", json=values).status_code == 403
        taken = values | {"ae_title": "WS", "roles": ["store"]}
        assert client.put("/api/devices/A", json=taken).status_code == 409
        assert client.post("/api/devices", json=taken | {"name": "B"}).status_code == 409


def test_a_device_called_like_a_user_gets_nothing_of_the_user(archive: WebArchive) -> None:
    uid = generate_uid()[:60].rstrip(".")
    token = archive.account("south-chief", Role.SUPERUSER, sites=("south",))
    device = {"name": "admin", "ae_title": "NOBODY", "site": "south", "roles": ["store"]}
    with archive.client(token) as limited, archive.client() as client:
        assert limited.post("/api/devices", json=device).status_code == 201
        assert stow(client, [part10(f"{uid}.1", study=uid, series=f"{uid}.2")]).status_code == 200
        assert client.get(f"/api/studies/{uid}").status_code == 200
        assert limited.get(f"/api/studies/{uid}").status_code == 404
        conflict = part10(f"{uid}.1", study=uid, series=f"{uid}.2", StudyDescription="other")
        assert stow(client, [conflict]).status_code == 409
        assert [one["study"] for one in client.get("/api/quarantine").json()["objects"]].count(uid) == 1
        assert uid not in limited.get("/api/quarantine").text


def test_a_patient_elsewhere_is_not_told_by_the_patient_id(archive: WebArchive) -> None:
    """Studies with one Patient ID are of one patient, called as in the first. Whoever may upload could ask
    for names by number."""
    token = archive.account("outpost", Role.TECHNOLOGIST, sites=("outpost",))

    def asked(client: httpx.Client, patient: str, **more: str) -> int:
        uid = generate_uid()[:58].rstrip(".")
        data = part10(f"{uid}.1", study=uid, series=f"{uid}.2", patient=patient, **more)
        return stow(client, [data]).status_code

    study(archive, site="north", patient="N-1", PatientName="Doe^John", PatientBirthDate="19500102")
    with archive.client(token) as client:
        assert asked(client, "N-1", PatientName="", PatientBirthDate="") == 409
        assert asked(client, "N-1", PatientName="Doe^Jack", PatientBirthDate="19500102") == 409
        assert "19500102" not in client.post("/api/studies/search", json={}).text
        assert asked(client, "N-1", PatientName="Doe^Jack", IssuerOfPatientID="OUTPOST") == 200
        assert asked(client, "N-1", PatientName="DOE^JOHN", PatientBirthDate="19500102") == 200  # knows them
        assert asked(client, "N-1", PatientName="") == 200  # and sees them from now on
        assert asked(client, "", PatientName="") == 200
    with archive.client() as client:
        assert asked(client, "N-1", PatientName="") == 200


def test_a_token_does_not_set_the_password_of_its_owner(archive: WebArchive) -> None:
    """Else it would become as much as the owner; and whoever finds an open session would keep the account."""
    web = archive.web
    archive.account("ada", Role.ADMINISTRATOR)
    _, secret = tokens.create(web.database, web.clock, "system", "ada", ["users.change"])
    with archive.client(secret) as client:
        assert client.put("/api/users/ada/password", json={"password": "taken over"}).status_code == 422
        assert client.delete("/api/users/ada/second-factor").status_code == 422
    with archive.signed_in("ada") as client:  # the password is as it was
        assert client.put("/api/users/ada/password", json={"password": "taken over"}).status_code == 422
        assert client.delete("/api/users/ada/second-factor").status_code == 422


def test_counts_of_all_sites_are_for_who_sees_all(archive: WebArchive) -> None:
    token = archive.account("chief", Role.SUPERUSER, sites=("north",))
    with archive.client(token) as limited, archive.client() as client:
        assert limited.get("/api/system").json()["counts"] == {}
        assert client.get("/api/system").json()["counts"]["studies"] == 0


def test_users_and_tokens(archive: WebArchive) -> None:
    with archive.signed_in() as client:
        new = {"name": "jane", "role": "radiologist", "password": "a long enough one"}
        made = client.post("/api/users", json=new)
        assert made.status_code == 201 and "password" not in made.text
        assert client.post("/api/users", json=new | {"name": "x", "password": "short"}).status_code == 422
        wanted = {"permissions": ["studies.read"], "label": "script"}
        token = client.post("/api/tokens", json=wanted | {"user": "jane"}).json()
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert client.post("/api/tokens", json=wanted | {"expires_at": soon}).status_code == 201
        with archive.client(token["secret"]) as script:
            assert script.get("/api/studies").status_code == 200
            assert script.get("/api/tokens").status_code == 403, "not on its list"
            identity = token["token"]["id"]
            assert token["secret"] not in client.get("/api/tokens").text
            assert client.delete(f"/api/tokens/{identity}").status_code == 200
            wait_for(lambda: script.get("/api/studies").status_code == 401, "the token is revoked")
        assert client.patch("/api/users/jane", json={"role": "technologist"}).json()["role"] == "technologist"
        assert client.patch("/api/users/admin", json={"role": "radiologist"}).status_code == 422
        assert client.put("/api/users/jane/password", json={"password": "yet another one"}).status_code == 200
        assert client.delete("/api/users/jane").status_code == 200
        assert client.get("/api/users/jane").status_code == 404


def test_the_ledger_is_read_by_pages_none_twice_and_none_left_out(archive: WebArchive) -> None:
    study(archive, patient="P7")
    with archive.client() as client:
        everything = client.get("/api/ledger", params={"limit": 1000, "type": "instance.stored"}).json()
        assert everything["next"] is None
        for n in range(7):
            client.put("/api/settings/archive_name", json={"value": str(n)})
        seen, cursor = [], ""
        while cursor is not None:
            asked = {"limit": 3, "cursor": cursor, "type": "settings.changed"}
            page = client.get("/api/ledger", params=asked).json()
            seen += [entry["payload"]["after"] for entry in page["entries"]]
            cursor = page["next"]
        assert seen == [str(n) for n in range(7)]
        found = client.post("/api/ledger/search", json={"patient": "P7"}).json()["entries"]
        assert {"study.created", "instance.stored"} <= {entry["type"] for entry in found}
        for cursor in ("x", "bnVsbA==", "WzEsMiwzXQ==", "WzEsIngiXQ==", "W10=", "WzFlOTk5LCJhIiwxXQ=="):
            assert client.get("/api/ledger", params={"cursor": cursor}).status_code == 422, cursor
        assert client.get("/api/ledger", params={"type": "no.such"}).status_code == 422
        assert client.post("/api/ledger/verify").json()["whole"] is True


def test_jobs_that_were_set_aside_are_put_back_or_given_up(archive: WebArchive) -> None:
    database, now = archive.web.database, archive.web.clock.now()
    with database.write() as tx:
        tx.jobs.enqueue([NewJob("test-kind", key, max_attempts=1) for key in ("a", "b")])
        for _ in range(2):
            job = tx.jobs.claim(["test-kind"], "me", now + 10**9, 10**6)
            assert job is not None
            tx.jobs.fail(job.id, "me", "it broke", now)
    with archive.client() as client:
        dead = client.get("/api/jobs", params={"state": "dead"}).json()["jobs"]
        first, second = (job["id"] for job in dead)
        assert dead[0]["error"] == "it broke"
        assert client.post(f"/api/jobs/{first}/retry").status_code == 200
        assert client.post(f"/api/jobs/{first}/retry").status_code == 409
        assert client.post(f"/api/jobs/{second}/discard", json={}).status_code == 422, "why?"
        assert client.post(f"/api/jobs/{second}/discard", json={"reason": "of no use"}).status_code == 200
        assert client.post("/api/jobs/123456/retry").status_code == 404
    assert archive.events("job.discarded")[0].payload["why"] == "of no use"


def test_held_objects_are_let_in_or_given_up_by_those_of_their_site(archive: WebArchive) -> None:
    for n, site in enumerate(("north", "north", "south")):
        data = part10(generate_uid(), study=f"1.2.{n + 1}", series=f"1.2.{n + 1}.1")
        meta = read_meta(data)
        origin = Origin("dimse", f"NEW{n}", "a", "192.0.2.1", site)
        receiver = archive.web.store.begin(
            meta.sop_class_uid,
            meta.sop_instance_uid,
            meta.transfer_syntax_uid,
            origin,
            quarantine=QuarantineReason.UNKNOWN_DEVICE,
        )
        receiver.write(data[meta.meta_length :])
        receiver.finish().result(30)
    with archive.client() as client:
        held = wait_for(
            lambda: len(h := client.get("/api/quarantine").json()["objects"]) == 3 and h, "all are held"
        )
        ids = {one["study"]: one["id"] for one in held}
    token = archive.account("chief", Role.SUPERUSER, sites=("north",))
    with archive.client(token) as client:
        assert len(client.get("/api/quarantine").json()["objects"]) == 2
        assert client.post("/api/quarantine/release", json={"ids": [ids["1.2.3"]]}).status_code == 404
        both = [ids["1.2.1"], ids["1.2.3"]]
        refused = client.post("/api/quarantine/drop", json={"ids": both, "reason": "no"})
        assert refused.status_code == 404 and str(ids["1.2.1"]) not in refused.json()["detail"]
        assert client.post("/api/quarantine/release", json={"ids": [ids["1.2.1"]]}).json()["current"] == 1
        gone = client.post("/api/quarantine/drop", json={"ids": [ids["1.2.2"]], "reason": "a test"})
        assert gone.json() == {"dropped": 1}
    assert archive.events("instance.dropped")[0].payload["why"] == "a test"
    assert archive.events("instance.released")[0].actor == "user:chief"


def test_settings_and_system_tell_no_secret(archive: WebArchive) -> None:
    with archive.client() as client:
        settings = client.get("/api/settings")
        assert settings.json()["start"]["http_port"] == archive.port
        assert "password" not in settings.text and "oidc_client_secret" not in settings.text
        assert client.put("/api/settings/archive_name", json={"value": "Häuser"}).status_code == 200
        assert client.put("/api/settings/archive_name", json={"value": "a\x1bb"}).status_code == 422
        assert client.put("/api/settings/demo", json={"value": "x"}).status_code == 404
        system = client.get("/api/system").json()
        assert system["disk"]["free"] > 0 and system["packages"]["pydicom"].startswith("3.")
    assert archive.events("settings.changed")[0].payload["after"] == "Häuser"


def test_what_is_wrong_is_told_without_what_was_sent(archive: WebArchive) -> None:
    with archive.client() as client:
        answer = client.post("/api/users", json={"name": "x", "password": ["my secret"], "role": "king"})
        assert answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json"
        assert {one["where"] for one in answer.json()["errors"]} == {"body.password", "body.role"}
        assert "my secret" not in answer.text and "king" not in answer.text


def test_the_documentation_holds_every_operation(archive: WebArchive) -> None:
    with archive.client() as client:
        document = client.get("/api/openapi.json").json()
        page = client.get("/api/docs").text
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} /api{path}" in page
