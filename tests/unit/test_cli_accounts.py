"""user set, roles, totp and token: what they change, print, and never print again."""

from __future__ import annotations

from pathlib import Path

import pyotp
import pytest

from hounsfield.domain.access import Permission, Role
from hounsfield.services.passwords import check_password
from support_accounts import quick_passwords
from support_cli import Terminal

__all__ = ["quick_passwords"]
pytestmark = pytest.mark.usefixtures("quick_passwords")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Terminal(tmp_path / "data")
    made.run("user", "add", "ada", "--role", "administrator", text="correct horse\n")
    made.run("user", "add", "bob", "--site", "North", "--study", "1.2.3", text="battery staple\n")
    return made


def user(terminal: Terminal, name: str) -> dict[str, object]:
    return next(one for one in terminal.json("user", "list") if one["name"] == name)


def test_a_user_of_a_site(terminal: Terminal) -> None:
    bob = user(terminal, "bob")
    assert (bob["role"], bob["sites"], bob["studies"]) == ("radiologist", ["North"], ["1.2.3"])
    assert (bob["disabled"], bob["totp"], bob["provider"]) == (False, False, "")
    assert "North" in terminal.run("user", "list").stdout


def test_set(terminal: Terminal) -> None:
    changed = terminal.json(
        "user", "set", "bob", "--role", "technologist", "--site", "South", "--site", "East"
    )
    assert (changed["role"], changed["sites"]) == ("technologist", ["South", "East"])
    assert "bob is changed." in terminal.run("user", "set", "bob", "--no-site", "--grant", "1.2.4").stdout
    terminal.run("user", "set", "bob", "--withdraw", "1.2.3", "--disable")
    bob = user(terminal, "bob")
    assert (bob["sites"], bob["studies"], bob["disabled"]) == ([], ["1.2.4"], True)
    terminal.run("user", "set", "bob", "--enable")
    assert user(terminal, "bob")["disabled"] is False
    terminal.run("user", "set", "ada", "--disable", code=5)
    terminal.run("user", "set", "bob", "--role", "king", code=5)
    terminal.run("user", "set", "nobody", "--disable", code=3)


def test_a_service_is_asked_for_no_password(terminal: Terminal) -> None:
    terminal.run("user", "add", "robot", "--role", "service")
    with terminal.archive() as archive, archive.database.read() as tx:
        robot = tx.accounts.get("robot")
    assert robot is not None and robot.password_hash == "" and not check_password(robot, "")


def test_roles(terminal: Terminal) -> None:
    shown = {one["role"]: one["permissions"] for one in terminal.json("user", "roles")}
    assert shown.keys() == set(Role) and shown["referrer"] == ["studies.read"]
    text = terminal.run("user", "roles").stdout
    assert all(word in text for word in (*Role, *Permission))


def test_totp(terminal: Terminal) -> None:
    begun = terminal.json("user", "totp", "bob")
    assert begun["uri"].startswith("otpauth://totp/Hounsfield:bob?secret=" + begun["secret"])
    terminal.run("user", "totp", "bob", "--confirm", "000", code=5)
    codes = terminal.json("user", "totp", "bob", "--confirm", pyotp.TOTP(begun["secret"]).now())
    assert len(codes["recovery_codes"]) == 10 and user(terminal, "bob")["totp"] is True
    terminal.run("user", "totp", "bob", code=4)
    told = str(terminal.json("ledger"))
    assert begun["secret"] not in told and codes["recovery_codes"][0] not in told
    terminal.run("user", "totp", "bob", "--remove")
    assert user(terminal, "bob")["totp"] is False
    terminal.run("user", "totp", "bob", "--remove", code=3)
    assert begun["secret"] != terminal.json("user", "totp", "bob")["secret"]
    assert "--confirm CODE" in terminal.run("user", "totp", "bob").stdout


def test_tokens(terminal: Terminal) -> None:
    made = terminal.json(
        *("token", "create", "bob", "--allow", "studies.read", "--allow", "studies.store"),
        *("--label", "bridge", "--days", "30", "--study", "1.2.3"),
    )
    assert made["token"].startswith(f"hf_{made['id']}_") and made["expires_at"]
    assert made["permissions"] == ["studies.read", "studies.store"]
    assert (made["sites"], made["studies"]) == (None, ["1.2.3"])
    text = terminal.run("token", "create", "bob", "--allow", "studies.read", "--days", "0").stdout
    assert "shown this once" in text and "\nhf_" in text
    listed = terminal.json("token", "list")
    assert [(one["user"], one["label"]) for one in listed] == [("bob", "bridge"), ("bob", "")]
    assert listed[1]["expires_at"] == "" and terminal.json("token", "list", "--user", "ada") == []
    everything = str(listed) + str(terminal.json("ledger"))
    assert made["token"].split("_", 2)[2] not in everything
    assert "not its id" in terminal.run("token", "revoke", made["token"], code=5).stderr
    terminal.run("token", "revoke", made["id"])
    terminal.run("token", "revoke", made["id"], code=3)
    assert len(terminal.json("token", "list")) == 1
    terminal.run("token", "create", "bob", "--allow", "users.change", code=5)
    terminal.run("token", "create", "nobody", "--allow", "studies.read", code=3)
    terminal.run("token", "create", "bob", code=2)


def test_sign_out(terminal: Terminal) -> None:
    assert "signed out of 0 sessions" in terminal.run("user", "sign-out", "bob").stdout
