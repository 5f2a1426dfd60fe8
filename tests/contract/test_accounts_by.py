"""Who may change whom: accounts and tokens as users see and change them, not who administers the machine."""

from __future__ import annotations

import pytest

from hounsfield.adapters.sql.database import SqlDatabase
from hounsfield.domain.access import Principal, Role, principal
from hounsfield.domain.errors import ConflictError, HounsfieldError, NotFoundError, RefusedError
from hounsfield.services import accounts, tokens
from support_accounts import SECOND, WORD, SetClock, clock, quick_passwords, told
from support_sql import arrival

__all__ = ["clock", "quick_passwords"]
pytestmark = pytest.mark.usefixtures("quick_passwords")

ADMIN = principal("admin", Role.ADMINISTRATOR, (), (), "session")
BOSS = principal("boss", Role.SUPERUSER, ("North",), (), "session")
READER = principal("reader", Role.RADIOLOGIST, (), (), "session")


@pytest.fixture(autouse=True)
def people(database: SqlDatabase, clock: SetClock, quick_passwords: None) -> None:
    for name, role, sites in (
        ("admin", "administrator", ()),
        ("boss", "superuser", ("North",)),
        ("reader", "radiologist", ()),
        ("nora", "technologist", ("North",)),
        ("sven", "technologist", ("South",)),
        ("both", "technologist", ("North", "South")),
    ):
        accounts.add(database, clock, "cli:x", name, role, WORD, sites=sites)
    accounts.add(database, clock, "cli:x", "robot", "service")
    with database.write() as tx:
        tx.index.enter([arrival("1", study="1.1", series="1.1.1"), arrival("2", study="1.2", series="1.2.1")])
        tx.connection.execute("UPDATE study SET sites = 'North' WHERE uid = '1.1'")


def names(database: SqlDatabase, by: Principal | None) -> list[str]:
    return [account.name for account in accounts.listed(database, by=by)]


def test_who_sees_whom(database: SqlDatabase) -> None:
    everybody = ["admin", "boss", "both", "nora", "reader", "robot", "sven"]
    assert names(database, None) == names(database, ADMIN) == everybody
    assert names(database, BOSS) == ["boss", "nora"]
    assert names(database, READER) == ["reader"]
    for name in ("sven", "admin", "nobody"):
        with pytest.raises(NotFoundError, match=f"There is no user {name}"):  # the same words
            accounts.get(database, name, by=BOSS)


@pytest.mark.parametrize(
    ("role", "sites", "right"),
    [
        ("technologist", ("North",), True),
        ("radiologist", ("North",), True),
        ("referrer", ("North",), True),
        ("technologist", (), False),
        ("technologist", ("South",), False),
        ("technologist", ("North", "South"), False),
        ("superuser", ("North",), False),
        ("administrator", (), False),
        ("service", ("North",), False),
    ],
)
def test_whom_a_superuser_may_add(
    database: SqlDatabase, clock: SetClock, role: str, sites: tuple[str, ...], right: bool
) -> None:
    password = "" if role == "service" else WORD
    if right:
        accounts.add(database, clock, "user:boss", "new", role, password, sites=sites, by=BOSS)
    else:
        with pytest.raises(RefusedError, match="You may not"):
            accounts.add(database, clock, "user:boss", "new", role, password, sites=sites, by=BOSS)
    assert ("new" in names(database, None)) == right


def test_nobody_without_the_permission_adds_anybody(database: SqlDatabase, clock: SetClock) -> None:
    with pytest.raises(RefusedError):
        accounts.add(database, clock, "user:reader", "new", "referrer", WORD, by=READER)


CHANGES = [
    accounts.Change(role="superuser"),
    accounts.Change(role="administrator", sites=()),
    accounts.Change(sites=("South",)),
    accounts.Change(sites=()),
    accounts.Change(grant=("1.2",)),
    accounts.Change(grant=("9.9",)),
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_what_a_superuser_may_not_make_of_a_user(
    database: SqlDatabase, clock: SetClock, change: accounts.Change
) -> None:
    with pytest.raises(HounsfieldError) as raised:
        accounts.change(database, clock, "user:boss", "nora", change, by=BOSS)
    assert isinstance(raised.value, RefusedError | NotFoundError)
    assert accounts.get(database, "nora").role == "technologist"
    assert accounts.get(database, "nora").sites == ("North",) and not accounts.get(database, "nora").studies


def test_what_a_superuser_may(database: SqlDatabase, clock: SetClock) -> None:
    accounts.change(
        database, clock, "user:boss", "nora", accounts.Change("referrer", grant=("1.1",)), by=BOSS
    )
    accounts.set_password(database, clock, "user:boss", "nora", "another horse", by=BOSS)
    accounts.end_sessions(database, clock, "user:boss", "nora", by=BOSS)
    accounts.remove(database, clock, "user:boss", "nora", by=BOSS)
    assert told(database, "user.changed")[-4:] == [
        {
            "user": "nora",
            "change": "changed",
            "before": {"role": "technologist", "sites": ["North"], "studies": [], "disabled": False},
            "after": {"role": "referrer", "sites": ["North"], "studies": ["1.1"], "disabled": False},
        },
        {"user": "nora", "change": "password set"},
        {"user": "nora", "change": "signed out everywhere"},
        {
            "user": "nora",
            "change": "removed",
            "before": {"role": "referrer", "sites": ["North"], "studies": ["1.1"], "disabled": False},
        },
    ]


@pytest.mark.parametrize("whom", ["admin", "sven", "both", "reader", "robot"])
def test_a_superuser_touches_no_others(database: SqlDatabase, clock: SetClock, whom: str) -> None:
    for touch in (
        lambda: accounts.set_password(database, clock, "user:boss", whom, "another horse", by=BOSS),
        lambda: accounts.change(database, clock, "user:boss", whom, accounts.Change(disabled=True), by=BOSS),
        lambda: accounts.end_sessions(database, clock, "user:boss", whom, by=BOSS),
        lambda: accounts.remove(database, clock, "user:boss", whom, by=BOSS),
        lambda: tokens.create(database, clock, "user:boss", whom, ["studies.read"], by=BOSS),
    ):
        with pytest.raises(NotFoundError):
            touch()


def test_a_superuser_does_not_become_who_sees_more(database: SqlDatabase, clock: SetClock) -> None:
    """Who sets a password, or takes a second factor away, can sign in as the user."""
    accounts.change(database, clock, "cli:x", "nora", accounts.Change(grant=("1.2",)))  # of another site
    with pytest.raises(RefusedError, match="studies that you do not see"):
        accounts.set_password(database, clock, "user:boss", "nora", "another horse", by=BOSS)
    with pytest.raises(RefusedError, match="studies that you do not see"):
        accounts.check_may_sign_in_as(database, "nora", BOSS)
    accounts.set_password(database, clock, "user:admin", "nora", "another horse", by=ADMIN)
    accounts.change(database, clock, "cli:x", "nora", accounts.Change(grant=("1.1",), withdraw=("1.2",)))
    accounts.check_may_sign_in_as(database, "nora", BOSS)
    with pytest.raises(RefusedError):
        accounts.check_may_sign_in_as(database, "boss", BOSS)


def test_the_last_grant_is_not_taken_away_for_all_studies(database: SqlDatabase, clock: SetClock) -> None:
    accounts.add(database, clock, "cli:x", "guest", "radiologist", WORD, studies=("1.1", "1.2"))
    accounts.change(database, clock, "cli:x", "guest", accounts.Change(withdraw=("1.2",)))
    with pytest.raises(RefusedError, match="all studies"):
        accounts.change(database, clock, "cli:x", "guest", accounts.Change(withdraw=("1.1",)))
    assert accounts.get(database, "guest").studies == ("1.1",)
    accounts.change(database, clock, "cli:x", "guest", accounts.Change(sites=("North",), withdraw=("1.1",)))
    assert accounts.get(database, "guest").sites == ("North",)
    accounts.add(database, clock, "cli:x", "doctor", "referrer", WORD, studies=("1.1",))
    accounts.change(database, clock, "cli:x", "doctor", accounts.Change(withdraw=("1.1",)))


def test_users_may_change_their_own_password_and_no_more(database: SqlDatabase, clock: SetClock) -> None:
    with pytest.raises(RefusedError, match="with the old one"):
        accounts.set_password(database, clock, "user:reader", "reader", "another horse", by=READER)
    accounts.set_password(
        database, clock, "user:reader", "reader", "another horse", by=READER, confirmed=True
    )
    accounts.end_sessions(database, clock, "user:reader", "reader", by=READER)
    for change in (accounts.Change(role="administrator"), accounts.Change(disabled=True)):
        with pytest.raises(RefusedError):
            accounts.change(database, clock, "user:reader", "reader", change, by=READER)
    with pytest.raises(RefusedError):
        accounts.change(database, clock, "user:boss", "boss", accounts.Change(sites=("South",)), by=BOSS)


def test_the_last_administrator_stays(database: SqlDatabase, clock: SetClock) -> None:
    for change in (accounts.Change(disabled=True), accounts.Change(role="radiologist")):
        with pytest.raises(RefusedError, match="last administrator"):
            accounts.change(database, clock, "user:admin", "admin", change, by=ADMIN)
    with pytest.raises(RefusedError, match="last administrator"):
        accounts.remove(database, clock, "user:admin", "admin", by=ADMIN)
    accounts.add(database, clock, "user:admin", "other", "administrator", WORD, by=ADMIN)
    accounts.change(database, clock, "user:admin", "other", accounts.Change(disabled=True), by=ADMIN)
    with pytest.raises(RefusedError, match="last administrator"):  # a disabled one does not count
        accounts.remove(database, clock, "user:admin", "admin", by=ADMIN)


@pytest.mark.parametrize(
    ("role", "sites", "studies"),
    [
        ("superuser", (), ()),
        ("administrator", ("North",), ()),
        ("administrator", (), ("1.1",)),
        ("radiologist", ("a\\b",), ()),
        ("radiologist", (" ",), ()),
        ("radiologist", ("x" * 65,), ()),
        ("radiologist", (), ("not a uid",)),
        ("admin", (), ()),
        ("service", (), ()),
    ],
)
def test_accounts_that_cannot_be(
    database: SqlDatabase, clock: SetClock, role: str, sites: tuple[str, ...], studies: tuple[str, ...]
) -> None:
    with pytest.raises(RefusedError):
        accounts.add(database, clock, "cli:x", "new", role, WORD, sites=sites, studies=studies)
    assert "new" not in names(database, None)


def test_a_service_stays_one(database: SqlDatabase, clock: SetClock) -> None:
    with pytest.raises(RefusedError, match="service"):
        accounts.change(database, clock, "cli:x", "robot", accounts.Change(role="radiologist"))
    with pytest.raises(RefusedError, match="service"):
        accounts.set_password(database, clock, "cli:x", "robot", WORD)
    with pytest.raises(ConflictError):
        accounts.add(database, clock, "cli:x", "robot", "service")


# Tokens


def test_own_tokens(database: SqlDatabase, clock: SetClock) -> None:
    token, _ = tokens.create(database, clock, "user:nora", "reader", ["studies.read"], by=READER)
    other, _ = tokens.create(database, clock, "cli:x", "sven", ["studies.read"])
    assert tokens.listed(database, by=READER) == [token]
    assert tokens.listed(database, "sven", by=READER) == []
    assert tokens.listed(database, by=ADMIN) == [token, other]
    with pytest.raises(NotFoundError):
        tokens.revoke(database, clock, "user:reader", other.id, by=READER)
    with pytest.raises(NotFoundError):
        tokens.create(database, clock, "user:reader", "sven", ["studies.read"], by=READER)
    tokens.revoke(database, clock, "user:reader", token.id, by=READER)
    with pytest.raises(NotFoundError):
        tokens.revoke(database, clock, "user:reader", token.id, by=READER)


@pytest.mark.parametrize(
    ("whose", "permissions", "more"),
    [
        ("reader", ["devices.read"], {}),
        ("reader", ["studies.fly"], {}),
        ("reader", [], {}),
        ("nora", ["ledger.read"], {}),
        ("robot", ["users.change"], {}),
        ("robot", ["ledger.read"], {"sites": ["North"]}),
        ("reader", ["studies.read"], {"expires_at": SECOND}),
        ("reader", ["studies.read"], {"label": "a\nb"}),
        ("reader", ["studies.read"], {"studies": ["x y"]}),
        ("reader", ["studies.read"], {"sites": ["a\\b"]}),
    ],
)
def test_tokens_that_cannot_be(
    database: SqlDatabase, clock: SetClock, whose: str, permissions: list[str], more: dict[str, object]
) -> None:
    with pytest.raises(RefusedError):
        tokens.create(database, clock, "cli:x", whose, permissions, **more)  # type: ignore[arg-type]
    assert tokens.listed(database) == []


def test_a_token_makes_no_tokens(database: SqlDatabase, clock: SetClock) -> None:
    by = principal("reader", Role.RADIOLOGIST, (), (), "token")
    with pytest.raises(RefusedError, match="no other tokens"):
        tokens.create(database, clock, "user:reader", "reader", ["studies.read"], by=by)


def test_the_tokens_of_an_account_are_bounded(database: SqlDatabase, clock: SetClock) -> None:
    for _ in range(tokens.MOST_TOKENS):
        tokens.create(database, clock, "cli:x", "reader", ["studies.read"])
    with pytest.raises(RefusedError, match="already"):
        tokens.create(database, clock, "cli:x", "reader", ["studies.read"])


def test_the_disabled_get_no_tokens(database: SqlDatabase, clock: SetClock) -> None:
    accounts.change(database, clock, "cli:x", "reader", accounts.Change(disabled=True))
    with pytest.raises(RefusedError, match="disabled"):
        tokens.create(database, clock, "cli:x", "reader", ["studies.read"])
