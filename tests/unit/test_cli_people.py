"""device and user: each change is kept, and is in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from hounsfield.ports.people import Account
from hounsfield.services.accounts import first_admin
from hounsfield.services.passwords import check_password, hash_password
from support_cli import Terminal


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Terminal(tmp_path / "data")


def add(terminal: Terminal, *more: str) -> None:
    terminal.run("device", "add", "ct1", "CT1@10.1.2.3:104", *more)


def test_add_and_show(terminal: Terminal) -> None:
    add(
        terminal,
        *("--tls", "--role", "store", "--role", "query", "--calling-address", "10.1.2.0/24"),
        *("--character-set", "ISO_IR 100", "--site", "north", "--max-associations", "4", "--reason", "new"),
    )
    device = terminal.json("device", "show", "ct1")
    assert (device["ae_title"], device["host"], device["port"]) == ("CT1", "10.1.2.3", 104)
    assert (device["tls"], device["roles"], device["state"]) == (True, ["store", "query"], "admitted")
    assert (device["calling_addresses"], device["max_associations"]) == (["10.1.2.0/24"], 4)
    assert [d["name"] for d in terminal.json("device", "list")] == ["ct1"]
    [event] = terminal.events("device.changed")
    assert (event["device"], event["payload"]["change"], event["payload"]["reason"]) == (
        "ct1",
        "added",
        "new",
    )
    assert event["payload"]["before"] is None and event["payload"]["after"]["site"] == "north"
    assert event["actor"].startswith("cli:")


def test_a_name_is_taken_once(terminal: Terminal) -> None:
    add(terminal)
    assert "already" in terminal.run("device", "add", "ct1", "OTHER@h:1", code=4).stderr
    assert terminal.json("device", "show", "ct1")["ae_title"] == "CT1"
    terminal.run("device", "add", "ct1", "OTHER@h:1", "--replace")
    assert terminal.json("device", "show", "ct1")["ae_title"] == "OTHER"
    assert terminal.events("device.changed")[-1]["payload"]["before"]["ae_title"] == "CT1"


@pytest.mark.parametrize(
    "words",
    [
        ("x", "A\\B@h:1"),
        ("x", "A" * 17 + "@h:1"),
        ("x", "A@h"),
        ("x", "A@h:0"),
        ("x", "A@h:99999"),
        ("x", "A@h:1", "--role", "dance"),
        ("x", "A@h:1", "--calling-address", "10.1.2.0/99"),
        ("", "A@h:1"),
        ("y" * 65, "A@h:1"),
    ],
)
def test_what_cannot_be_is_refused(terminal: Terminal, words: tuple[str, ...]) -> None:
    terminal.run("device", "add", *words, code=5)


def test_refuse_admit_remove(terminal: Terminal) -> None:
    add(terminal)
    terminal.run("device", "refuse", "ct1", "--reason", "stolen")
    assert terminal.json("device", "list", "--state", "refused")[0]["name"] == "ct1"
    assert terminal.json("device", "admit", "CT1")["state"] == "admitted"  # by its AE title
    assert [job["kind"] for job in terminal.json("job", "list")] == ["release-quarantine"]
    terminal.run("device", "remove", "ct1")
    terminal.run("device", "show", "ct1", code=3)
    changes = [event["payload"]["change"] for event in terminal.events("device.changed")]
    assert changes == ["added", "refused", "admitted", "removed"]


def test_what_it_sent_may_stay_held(terminal: Terminal) -> None:
    add(terminal)
    terminal.run("device", "admit", "ct1", "--keep-held")
    assert terminal.json("job", "list") == []


def test_an_ae_title_that_two_have_is_not_guessed(terminal: Terminal) -> None:
    terminal.run("device", "add", "a", "SAME@h:1")
    terminal.run("device", "add", "b", "SAME@h:2")
    assert "a, b" in terminal.run("device", "remove", "SAME", code=3).stderr


def test_users(terminal: Terminal) -> None:
    terminal.run("user", "add", "ada", "--role", "administrator", text="correct horse\n")
    terminal.run("user", "add", "bob", text="battery staple\n")
    assert [(u["name"], u["role"]) for u in terminal.json("user", "list")] == [
        ("ada", "administrator"),
        ("bob", "radiologist"),
    ]
    terminal.run("user", "add", "bob", text="battery staple\n", code=4)
    terminal.run("user", "password", "bob", text="another staple\n")
    with terminal.archive() as archive, archive.database.read() as tx:
        bob = tx.accounts.get("bob")
    assert bob is not None and bob.password_hash.startswith("$argon2id$")
    assert check_password(bob, "another staple") and not check_password(bob, "battery staple")
    terminal.run("user", "remove", "bob")
    terminal.run("user", "remove", "ada", code=5)  # the last administrator
    changes = [(e["payload"]["user"], e["payload"]["change"]) for e in terminal.events("user.changed")]
    assert changes == [
        ("ada", "added as administrator"),
        ("bob", "added as radiologist"),
        ("bob", "password set"),
        ("bob", "removed"),
    ]
    everything = str(terminal.json("ledger"))
    assert "staple" not in everything and "argon2" not in everything


@pytest.mark.parametrize(
    ("words", "password"),
    [(("eve",), "short"), (("../eve",), "long enough"), (("eve", "--role", "king"), "long enough")],
)
def test_a_user_that_cannot_be(terminal: Terminal, words: tuple[str, ...], password: str) -> None:
    terminal.run("user", "add", *words, text=f"{password}\n", code=5)
    assert terminal.json("user", "list") == []


def test_the_first_administrator_is_made_once(terminal: Terminal) -> None:
    with terminal.archive() as archive:
        made = first_admin(archive.database, archive.clock)
        assert made is not None and len(made) >= 16
        assert first_admin(archive.database, archive.clock) is None
        with archive.database.read() as tx:
            admin = tx.accounts.get("admin")
        assert admin is not None and admin.role == "administrator" and check_password(admin, made)


def test_the_first_administrator_with_a_password_given(terminal: Terminal) -> None:
    with terminal.archive() as archive:
        assert first_admin(archive.database, archive.clock, "given") is None
        with archive.database.read() as tx:
            assert check_password(tx.accounts.get("admin"), "given")


def test_nobody_and_the_disabled_have_no_right_password() -> None:
    hashed = hash_password("right")
    assert check_password(Account("a", hashed, "radiologist", 0), "right")
    assert not check_password(Account("a", hashed, "radiologist", 0, disabled=True), "right")
    assert not check_password(None, "right")
    assert not check_password(Account("a", "no hash", "radiologist", 0), "right")
