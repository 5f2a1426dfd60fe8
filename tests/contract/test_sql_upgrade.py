"""A database of the first schema, with data, becomes one of this version."""

from __future__ import annotations

import pytest
from alembic import command

from hounsfield.adapters.sql import migrate
from hounsfield.adapters.sql.database import SqlDatabase, open_database
from hounsfield.domain.access import EVERYTHING, Scope
from hounsfield.domain.device import Device
from hounsfield.domain.query import Level, Query
from support_accounts import SetClock
from support_sql import arrival, rows, stored


@pytest.fixture
def old(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> SqlDatabase:
    """As the first release made and filled it."""
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        made = open_database(empty_url, "old")
        made.migrate()
    assert made.describe()["revision"] == "0001"
    with made.write() as tx:
        run = tx.connection.execute
        for n, (name, role) in enumerate([("admin", "admin"), ("bob", "user"), ("gone", "user")]):
            run(
                "INSERT INTO account (name, password_hash, role, created_at, disabled)"
                " VALUES (?, ?, ?, ?, ?)",
                (name, "$argon2id$x", role, n + 1, int(name == "gone")),
            )
        run("INSERT INTO patient (key, patient_id) VALUES ('P1', 'P1')")
        for uid in ("1.2.3", "1.2.4"):
            run(
                "INSERT INTO study (patient_id, uid, study_date, modalities, created_at)"
                " SELECT id, ?, '20240101', 'CT', 5 FROM patient",
                (uid,),
            )
        tx.devices.save(Device("CT01", "CT01", site="North"))
        tx.ledger.append([stored("1.2.3.4.5", study="1.2.3")])
    return made


def test_what_was_kept_stays(old: SqlDatabase, empty_url: str) -> None:
    before = {
        table: rows(old, f"SELECT * FROM {table}")
        for table in ("patient", "ledger", "device", "subject", "term")
    }
    old.close()
    database = open_database(empty_url, "new")
    database.migrate()
    assert database.describe()["revision"] == migrate.REVISION
    assert {table: rows(database, f"SELECT * FROM {table}") for table in before} == before
    with database.read() as tx:
        assert [(a.name, a.role, a.disabled, a.sites, a.subject) for a in tx.accounts.all()] == [
            ("admin", "administrator", False, (), ""),
            ("bob", "radiologist", False, (), ""),
            ("gone", "radiologist", True, (), ""),
        ]
        assert all(not report.broken_at for report in tx.ledger.verify())
    database.close()


def test_old_studies_have_no_site_until_another_series_comes(old: SqlDatabase, empty_url: str) -> None:
    old.close()
    database = open_database(empty_url, "new")
    database.migrate()
    north = Scope(frozenset({"North"}))
    with database.read() as tx:
        assert [row["StudyInstanceUID"] for row in tx.index.search(Query(Level.STUDY, scope=north))] == []
        assert len(list(tx.index.search(Query(Level.STUDY, scope=EVERYTHING)))) == 2
        assert tx.index.study_seen("1.2.3", EVERYTHING) and not tx.index.study_seen("1.2.3", north)
    with database.write() as tx:
        tx.index.enter([arrival("9.1", study="1.2.3", series="9", device="CT01")])
    with database.read() as tx:
        assert tx.index.study_seen("1.2.3", north) and not tx.index.study_seen("1.2.4", north)
    database.close()


def test_an_upgraded_database_takes_tokens_and_sessions(old: SqlDatabase, empty_url: str) -> None:
    from hounsfield.services import tokens
    from hounsfield.services.sign_in import SignIn
    from hounsfield.settings import Settings

    old.close()
    database, clock = open_database(empty_url, "new"), SetClock()
    database.migrate()
    _, text = tokens.create(database, clock, "cli:x", "bob", ["studies.read"])
    who = SignIn(database, clock, Settings()).token(text)
    assert who is not None and who.name == "bob"
    database.close()
