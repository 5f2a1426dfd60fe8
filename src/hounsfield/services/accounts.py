"""User accounts: the first administrator, who may change whom, every change in the ledger.

`by` is the principal who asks where that is a user; without one it is who administers the machine, who may do
everything. What `by` may not see is not there for them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hounsfield.domain.access import Permission, Principal, Role, may_manage, scope_of
from hounsfield.domain.errors import ConflictError, NotFoundError, RefusedError
from hounsfield.domain.events import Event
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account
from hounsfield.services.passwords import check_length, hash_password

ADMIN = "admin"
MOST_SITES, MOST_STUDIES = 100, 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed of an account; None leaves it as it is."""

    role: str | None = None
    sites: Sequence[str] | None = None
    grant: Sequence[str] = ()  # Study Instance UIDs to add
    withdraw: Sequence[str] = ()  # and to take away
    disabled: bool | None = None


def first_admin(database: Database, clock: Clock, password: str = "") -> str | None:
    """Make the account `admin` where there is no account yet.

    Returns the random password when `password` is empty and the account was made: show it once, it is kept
    nowhere. None in every other case.
    """
    with database.read() as tx:
        if tx.accounts.all():
            return None
    made = "" if password else secrets.token_urlsafe(15)
    hashed = hash_password(password or made)
    with database.write() as tx:
        if tx.accounts.all():
            return None
        tx.accounts.save(Account(ADMIN, hashed, Role.ADMINISTRATOR, clock.now()))
        _record(tx, clock, "system", ADMIN, "added at first start")
    return made or None


def add(
    database: Database,
    clock: Clock,
    actor: str,
    name: str,
    role: str,
    password: str = "",
    *,
    sites: Sequence[str] = (),
    studies: Sequence[str] = (),
    by: Principal | None = None,
) -> Account:
    """Add an account. A service has no password. Raises ConflictError where the name is taken, RefusedError
    for a bad value or what `by` may not."""
    if not _NAME.match(name):
        raise RefusedError(
            f"{name!r} cannot be a user name", "Use up to 64 letters, digits, dots, dashes, underscores or @"
        )
    if role == Role.SERVICE and password:
        raise RefusedError("A service does not sign in, and has no password", "Make a token for it")
    if role != Role.SERVICE:
        check_length(password)
    account = _checked(Account(name, "", role, clock.now(), sites=tuple(sites), studies=tuple(studies)))
    if password:
        account = replace(account, password_hash=hash_password(password))
    with database.write() as tx:
        _check_may(tx, by, account, studies)
        if tx.accounts.get(name) is not None:
            raise ConflictError(
                f"There is a user {name} already", f"Choose another name, or: user password {name}"
            )
        tx.accounts.save(account)
        _record(tx, clock, actor, name, f"added as {role}", after=account)
    return account


def change(
    database: Database, clock: Clock, actor: str, name: str, what: Change, *, by: Principal | None = None
) -> Account:
    """Change role, sites, studies, state. Another role, or being disabled, ends the account's sessions, and
    being disabled its tokens. Raises NotFoundError, RefusedError (also for the last administrator)."""
    with database.write() as tx:
        before = visible(tx, name, by)
        kept = [uid for uid in before.studies if uid not in set(what.withdraw)]
        after = _checked(
            replace(
                before,
                role=before.role if what.role is None else what.role,
                sites=before.sites if what.sites is None else tuple(dict.fromkeys(what.sites)),
                studies=tuple(dict.fromkeys((*kept, *what.grant))),
                disabled=before.disabled if what.disabled is None else what.disabled,
            )
        )
        if after == before:
            return before
        _check_may(tx, by, before, ())
        _check_may(tx, by, after, what.grant)
        _check_stays_limited(before, after, what)
        if after.role != Role.ADMINISTRATOR or after.disabled:
            _check_not_last(tx, before)
        if after.role == Role.SERVICE:
            after = replace(after, password_hash="", totp_secret="", totp_pending="", recovery=())
        elif before.role == Role.SERVICE:
            raise RefusedError(f"{name} is a service, and stays one", "Add another user for a person")
        tx.accounts.save(after)
        if after.role != before.role or after.disabled:
            tx.sessions.end_of(name)
        if after.disabled:
            tx.tokens.revoke_of(name)
        _record(tx, clock, actor, name, "changed", before, after)
    return after


def set_password(
    database: Database,
    clock: Clock,
    actor: str,
    name: str,
    password: str,
    *,
    by: Principal | None = None,
    confirmed: bool = False,
) -> None:
    """Ends all sessions of the account: begin a new one for a user who has changed their own. `confirmed`:
    `by` has given the old password just now (`SignIn.confirm`); nobody sets their own without it, least of
    all a token, which would become as much as its owner.

    Raises NotFoundError, RefusedError.
    """
    check_length(password)
    hashed = hash_password(password)
    with database.write() as tx:
        account = visible(tx, name, by)
        if by is None or by.name != name:
            _check_sees_as_much(tx, by, account)  # who sets the password can sign in as the user
        elif not confirmed:
            raise RefusedError("Your own password is changed with the old one", "PUT it to /session/password")
        if account.role == Role.SERVICE:
            raise RefusedError(f"{name} is a service, and has no password", "Make a token for it")
        if account.subject:
            raise RefusedError(f"{name} signs in with a provider", "Change the password there")
        tx.accounts.save(replace(account, password_hash=hashed))
        tx.sessions.end_of(name)
        _record(tx, clock, actor, name, "password set")


def end_sessions(
    database: Database, clock: Clock, actor: str, name: str, *, by: Principal | None = None
) -> int:
    """Sign an account out everywhere. Raises NotFoundError, RefusedError."""
    with database.write() as tx:
        account = visible(tx, name, by)
        if by is None or by.name != name:
            _check_may(tx, by, account, ())
        ended = tx.sessions.end_of(name)
        _record(tx, clock, actor, name, "signed out everywhere")
    return ended


def remove(database: Database, clock: Clock, actor: str, name: str, *, by: Principal | None = None) -> None:
    """With its sessions and tokens. Raises NotFoundError; RefusedError for the last administrator."""
    with database.write() as tx:
        account = visible(tx, name, by)
        _check_may(tx, by, account, ())
        _check_not_last(tx, account)
        tx.accounts.remove(name)
        _record(tx, clock, actor, name, "removed", before=account)


def listed(database: Database, *, by: Principal | None = None) -> list[Account]:
    """The accounts that `by` may see: all, or those of lower roles at their sites, and their own."""
    with database.read() as tx:
        return [account for account in tx.accounts.all() if _sees(by, account)]


def get(database: Database, name: str, *, by: Principal | None = None) -> Account:
    """Raises NotFoundError."""
    with database.read() as tx:
        return visible(tx, name, by)


def check_may_sign_in_as(database: Database, name: str, by: Principal) -> None:
    """Whether `by` may take away what keeps others from signing in as this user: not one's own, which is
    taken away with the password, and not that of one who sees more. Raises NotFoundError, RefusedError."""
    with database.read() as tx:
        account = visible(tx, name, by)
        if by.name == name:
            what = "Your own second factor is taken away with the password"
            raise RefusedError(what, "POST the password to /session/second-factor/remove")
        _check_sees_as_much(tx, by, account)


def visible(tx: Transaction, name: str, by: Principal | None) -> Account:
    """The account, where `by` may see it. Raises NotFoundError."""
    account = tx.accounts.get(name)
    if account is None or not _sees(by, account):
        raise NotFoundError(f"There is no user {name}", "See `hounsfield user list`")
    return account


def role_of(account: Account) -> Role | None:
    """None for a role that this release does not know: it may do nothing."""
    return Role(account.role) if account.role in set(Role) else None


def described(account: Account) -> dict[str, object]:
    """Role, sites, studies and state, for the ledger and for people."""
    return {
        "role": account.role,
        "sites": list(account.sites),
        "studies": list(account.studies),
        "disabled": account.disabled,
    }


def _sees(by: Principal | None, account: Account) -> bool:
    if by is None or by.name == account.name:
        return True
    if by.may(Permission.USERS_READ) and by.scope.unlimited:
        return True
    role = role_of(account)
    return role is not None and may_manage(by, role, account.sites)


def _check_may(tx: Transaction, by: Principal | None, account: Account, studies: Iterable[str]) -> None:
    """Whether `by` may make, change or remove this account, and grant these studies. Raises RefusedError."""
    if by is None:
        return
    role = role_of(account)
    if role is None or not may_manage(by, role, account.sites):
        raise RefusedError(
            f"You may not make or change {account.name} as {account.role} of {_sites(account)}",
            "Ask an administrator",
        )
    for uid in studies:
        if not by.scope.unlimited and not tx.index.study_seen(uid, by.scope):
            raise NotFoundError(f"There is no study {uid}", "Look for it first")


def _check_not_last(tx: Transaction, account: Account) -> None:
    admins = [a.name for a in tx.accounts.all() if a.role == Role.ADMINISTRATOR and not a.disabled]
    if admins == [account.name]:
        raise RefusedError(f"{account.name} is the last administrator", "Add another administrator first")


def _checked(account: Account) -> Account:
    """Raises RefusedError for values that do not go together."""
    role = role_of(account)
    if role is None:
        raise RefusedError(f"{account.role!r} is not a role", f"Roles are {', '.join(Role)}")
    for site in account.sites:
        if not site.strip() or len(site) > 64 or "\\" in site or not site.isprintable():
            raise RefusedError(f"{site!r} cannot be a site", "Use the sites of your devices")
    for uid in account.studies:
        if not is_tolerated_uid(uid):
            raise RefusedError(f"{uid!r} is no Study Instance UID", "Look for the study first")
    if len(account.sites) > MOST_SITES or len(account.studies) > MOST_STUDIES:
        raise RefusedError(
            f"{account.name} would have too many sites or studies",
            f"At most {MOST_SITES} sites and {MOST_STUDIES} studies",
        )
    if role is Role.SUPERUSER and not account.sites:
        raise RefusedError("A superuser needs a site", "Name one or more with --site")
    if role is Role.ADMINISTRATOR and not scope_of(Role.SERVICE, account.sites, account.studies).unlimited:
        raise RefusedError(
            "An administrator cannot be limited to sites or studies", "For a site, add a superuser"
        )
    return account


def _check_sees_as_much(tx: Transaction, by: Principal | None, account: Account) -> None:
    """Whether `by` may become able to sign in as this user. Raises RefusedError."""
    _check_may(tx, by, account, ())
    if by is None or by.scope.unlimited:
        return
    if not all(tx.index.study_seen(uid, by.scope) for uid in account.studies):
        raise RefusedError(
            f"{account.name} has been granted studies that you do not see", "Ask an administrator"
        )


def _check_stays_limited(before: Account, after: Account, what: Change) -> None:
    """Taking the last grant away never gives all: an account without sites and studies is limited to none,
    and that is said otherwise, by its sites. Raises RefusedError."""
    if what.withdraw and what.sites is None and _unlimited(after) and not _unlimited(before):
        raise RefusedError(
            f"{before.name} would be limited to nothing any more, and see all studies",
            "Name sites, disable the user, or make it a referrer",
        )


def _unlimited(account: Account) -> bool:
    role = role_of(account)
    return role is not None and scope_of(role, account.sites, account.studies).unlimited


def _sites(account: Account) -> str:
    return ", ".join(account.sites) or "no site"


def _record(
    tx: Transaction,
    clock: Clock,
    actor: str,
    name: str,
    change: str,
    before: Account | None = None,
    after: Account | None = None,
) -> None:
    payload: dict[str, object] = {"user": name, "change": change}
    if before is not None:
        payload["before"] = described(before)
    if after is not None:
        payload["after"] = described(after)
    tx.ledger.append([Event("user.changed", clock.now(), actor=actor, payload=payload)])
