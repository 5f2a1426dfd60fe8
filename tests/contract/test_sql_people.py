"""`ports.people` on both databases."""

from __future__ import annotations

from dataclasses import replace

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.device import Device, DeviceState
from hounsfield.ports.people import Account

FULL = Device(
    "ct-1",
    "CT01",
    "10.0.0.1",
    104,
    True,
    DeviceState.WAITING,
    "Süd",
    "ISO_IR 100",
    ("store", "query"),
    ("10.0.0.0/8", "::1"),
    7,
    5,
    6,
    "10.0.0.9",
    '{"contexts": ["' + "1.2.840.10008.1.2" * 100 + '"]}',
)


def test_devices_come_back_as_they_were_saved(database: SqlDatabase) -> None:
    plain = Device("b", "CT01")
    with database.write() as tx:
        tx.devices.save(FULL)
        tx.devices.save(plain)
    with database.read() as tx:
        assert tx.devices.all() == [plain, FULL]
        assert tx.devices.by_name("ct-1") == FULL
        assert tx.devices.by_name("CT-1") is None
        assert tx.devices.by_ae_title("CT01") == [plain, FULL]
        assert tx.devices.by_ae_title("ct01") == []


def test_saving_replaces_by_name_and_grows_the_version(database: SqlDatabase) -> None:
    versions = []
    changed = replace(FULL, state=DeviceState.REFUSED, port=0, tls=False, roles=())
    with database.write() as tx:
        versions.append(tx.devices.version())
        tx.devices.save(FULL)
        versions.append(tx.devices.version())
        tx.devices.save(changed)
        versions.append(tx.devices.version())
        assert tx.devices.all() == [changed]
        assert tx.devices.remove("ct-1")
        versions.append(tx.devices.version())
        assert not tx.devices.remove("ct-1")
        assert tx.devices.version() == versions[-1]
        assert tx.devices.all() == []
    assert versions == sorted(set(versions))


def test_touching_notes_when_it_was_seen(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.devices.save(Device("a", "A"))
        version = tx.devices.version()
        tx.devices.touch("a", 100, "h1")
        tx.devices.touch("a", 200, "h2")
        tx.devices.touch("nobody", 200, "h2")
        seen = tx.devices.by_name("a")
        assert seen is not None
        assert (seen.first_seen, seen.last_seen, seen.last_address) == (100, 200, "h2")
        assert tx.devices.version() == version


def test_accounts(database: SqlDatabase) -> None:
    eva = Account("eva", "$argon2id$v=19$m=65536,t=3,p=4$" + "x" * 80, "admin", 10)
    with database.write() as tx:
        tx.accounts.save(eva)
        tx.accounts.save(Account("adam", "", "reader", 20, disabled=True))
        tx.accounts.save(replace(eva, role="reader"))
    with database.write() as tx:
        assert tx.accounts.get("eva") == replace(eva, role="reader")
        assert [account.name for account in tx.accounts.all()] == ["adam", "eva"]
        assert tx.accounts.all()[0].disabled
        assert tx.accounts.get("Eva") is None
        assert tx.accounts.remove("eva")
        assert not tx.accounts.remove("eva")


def test_settings_hold_any_json(database: SqlDatabase) -> None:
    values = {"a": None, "b": [1, 2.5, "x\0\ud800"], "c": {"k": True}, "d": "text"}
    with database.write() as tx:
        for key, value in values.items():
            tx.settings.set(key, "before")
            tx.settings.set(key, value)
    with database.read() as tx:
        assert tx.settings.all() == values
        assert tx.settings.get("c") == {"k": True}
        assert tx.settings.get("nothing") is None
