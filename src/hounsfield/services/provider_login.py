"""The account of an identity that an OpenID Connect provider vouched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hounsfield.domain.access import Role
from hounsfield.domain.errors import RefusedError
from hounsfield.domain.events import Event
from hounsfield.domain.external import ClaimRule, account_name, granted
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account
from hounsfield.services.accounts import described

_HOW = "external"


def account_of(
    database: Database,
    clock: Clock,
    rules: Sequence[ClaimRule],
    issuer: str,
    subject: str,
    claims: Mapping[str, object],
    address: str,
) -> Account:
    """Made where it is new; with the role and the sites that the claims give now. One that the claims give no
    role any more loses its sessions and tokens. Raises RefusedError."""
    now = clock.now()
    if not issuer or not subject:
        raise RefusedError("The provider did not say who it is", "Ask who runs it")
    identity = f"{issuer} {subject}"
    grant = granted(rules, claims)
    with database.write() as tx:
        account = tx.accounts.by_subject(identity)
        reason = ""
        if account is not None and account.disabled:
            reason = "disabled"
        elif grant is None:
            reason = "no rule of oidc_roles fits the claims"
            if account is not None:
                tx.sessions.end_of(account.name)
                tx.tokens.revoke_of(account.name)
        elif account is None:
            account = _make(tx, now, identity, _free_name(tx, claims, issuer, subject), grant.role)
        if grant is not None and account is not None and not reason:
            account = _follow(tx, now, account, grant.role, grant.sites)
        user = account.name if account is not None else ""
        payload = {"user": user, "address": address, "how": _HOW}
        if reason:
            refused = payload | {"reason": reason, "subject": identity}
            tx.ledger.append([Event("login.refused", now, payload=refused)])
        else:
            tx.ledger.append([Event("login.accepted", now, actor=f"user:{user}", payload=payload)])
    if reason or account is None:
        raise RefusedError("You are known, but may not use this archive", "Ask who administers it")
    return account


def _free_name(tx: Transaction, claims: Mapping[str, object], issuer: str, subject: str) -> str:
    """A name that nobody has: an identity never becomes the account of another, whatever it is called."""
    name = account_name(claims, issuer, subject)
    if tx.accounts.get(name) is not None:
        name = account_name(claims, issuer, subject, taken=True)
    if tx.accounts.get(name) is not None:
        raise RefusedError(f"There is a user {name} already", "Remove one of them")
    return name


def _make(tx: Transaction, now: int, identity: str, name: str, role: Role) -> Account:
    account = Account(name, "", role, now, subject=identity)
    tx.accounts.save(account)
    _record(tx, now, account, f"added as {role}, by the provider's claims")
    return account


def _follow(tx: Transaction, now: int, account: Account, role: Role, sites: tuple[str, ...]) -> Account:
    if (account.role, account.sites) == (role, sites):
        return account
    after = replace(account, role=role, sites=sites)
    tx.accounts.save(after)
    if after.role != account.role:
        tx.sessions.end_of(account.name)
    _record(tx, now, after, "changed by the provider's claims", account)
    return after


def _record(tx: Transaction, now: int, after: Account, change: str, before: Account | None = None) -> None:
    payload: dict[str, object] = {"user": after.name, "change": change, "after": described(after)}
    if before is not None:
        payload["before"] = described(before)
    tx.ledger.append([Event("user.changed", now, payload=payload)])
