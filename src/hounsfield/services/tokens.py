"""API tokens: made, listed, revoked. `hf_<id>_<secret>`; of the secret only a hash is kept.

A token may what is on its list and what its owner may at the moment of use. Password changes leave tokens
alone; an owner who is disabled or removed loses them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection

from hounsfield.domain.access import Permission, Principal, Role, Scope, permissions_of, scope_of
from hounsfield.domain.errors import NotFoundError, RefusedError
from hounsfield.domain.events import Event
from hounsfield.domain.ids import is_tolerated_uid
from hounsfield.ports.clock import Clock
from hounsfield.ports.database import Database, Transaction
from hounsfield.ports.people import Account, Token
from hounsfield.services.accounts import MOST_SITES, MOST_STUDIES, role_of, visible

PREFIX = "hf"
MOST_TOKENS = 100  # of one account


def create(
    database: Database,
    clock: Clock,
    actor: str,
    account: str,
    permissions: Collection[str],
    *,
    label: str = "",
    expires_at: int = 0,
    sites: Collection[str] | None = None,
    studies: Collection[str] | None = None,
    by: Principal | None = None,
) -> tuple[Token, str]:
    """The token, and its text, which is shown this once.

    `by`: the user who asks; own tokens need `tokens.own`, others' `tokens.all`; a token makes none. Raises
    NotFoundError, RefusedError.
    """
    now = clock.now()
    secret = secrets.token_urlsafe(32)
    token = Token(
        secrets.token_hex(6),
        hash_secret(secret),
        account,
        label,
        tuple(sorted(set(permissions))),
        now,
        expires_at,
        sites=None if sites is None else tuple(sites),
        studies=None if studies is None else tuple(studies),
    )
    with database.write() as tx:
        owner = _owner(tx, account, by)
        _check(token, owner, now)
        if by is not None:
            _check_reach(token, by)
        if len(tx.tokens.all(account)) >= MOST_TOKENS:
            raise RefusedError(f"{account} has {MOST_TOKENS} tokens already", "Revoke those of no more use")
        tx.tokens.add(token)
        payload = {
            "id": token.id,
            "user": account,
            "label": label,
            "permissions": list(token.permissions),
            "sites": None if token.sites is None else list(token.sites),
            "studies": None if token.studies is None else list(token.studies),
            "expires": expires_at,
        }
        tx.ledger.append([Event("token.created", now, actor=actor, payload=payload)])
    return token, f"{PREFIX}_{token.id}_{secret}"


def listed(database: Database, account: str = "", *, by: Principal | None = None) -> list[Token]:
    """Tokens, of one account or of all that `by` may see."""
    with database.read() as tx:
        return [token for token in tx.tokens.all(account) if _may(by, token.account)]


def revoke(
    database: Database, clock: Clock, actor: str, token_id: str, *, by: Principal | None = None
) -> Token:
    """The token that is no more. Raises NotFoundError, also for one that `by` may not see."""
    with database.write() as tx:
        token = tx.tokens.get(token_id)
        if token is None or not _may(by, token.account):
            raise NotFoundError(f"There is no token {token_id}", "See `hounsfield token list`")
        tx.tokens.revoke(token.id)
        payload = {"id": token.id, "user": token.account, "label": token.label}
        tx.ledger.append([Event("token.revoked", clock.now(), actor=actor, payload=payload)])
    return token


def split(text: str) -> tuple[str, str]:
    """(id, secret) of a token's text; ('', '') where it is none."""
    parts = text.split("_", 2)
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1] or len(text) > 200:
        return "", ""
    return parts[1], parts[2]


def fits(token: Token, secret: str) -> bool:
    return hmac.compare_digest(token.secret_hash, hash_secret(secret))


def hash_secret(secret: str) -> str:
    """SHA-256, hex: enough for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _may(by: Principal | None, account: str) -> bool:
    if by is None or by.may(Permission.TOKENS_ALL):
        return True
    return by.may(Permission.TOKENS_OWN) and by.name == account


def _owner(tx: Transaction, name: str, by: Principal | None) -> Account:
    if not _may(by, name):
        raise NotFoundError(f"There is no user {name} for whom you may make tokens", "Make your own")
    owner = visible(tx, name, by)
    if owner.disabled:
        raise RefusedError(f"{name} is disabled", "Enable the user first")
    return owner


def _check(token: Token, owner: Account, now: int) -> None:
    role = role_of(owner)
    known = set(Permission)
    if wrong := [one for one in token.permissions if one not in known]:
        raise RefusedError(f"{wrong[0]!r} is not a permission", f"Permissions are {', '.join(Permission)}")
    if not token.permissions:
        raise RefusedError("A token without a permission is of no use", "Name one or more")
    scope = scope_of(role or Role.REFERRER, owner.sites, owner.studies)
    limit = limit_of(token)
    reach = permissions_of(role, scope.narrowed(limit)) if role is not None else frozenset()
    if beyond := [one for one in token.permissions if one not in reach]:
        raise RefusedError(
            f"{owner.name} may not {beyond[0]}, or not with these sites and studies",
            "A token cannot reach further than its owner",
        )
    if token.expires_at and token.expires_at <= now:
        raise RefusedError("The token would have expired already", "Name a time to come")
    if len(token.label) > 200 or not all(map(str.isprintable, token.label)):
        raise RefusedError("This cannot be a label", "Use up to 200 printable characters")
    _check_limits(token)


def _check_limits(token: Token) -> None:
    sites, studies = token.sites or (), token.studies or ()
    if len(sites) > MOST_SITES or len(studies) > MOST_STUDIES:
        raise RefusedError(
            "The token names too many sites or studies",
            f"At most {MOST_SITES} sites and {MOST_STUDIES} studies",
        )
    if wrong := [uid for uid in studies if not is_tolerated_uid(uid)]:
        raise RefusedError(f"{wrong[0]!r} is no Study Instance UID", "Look for the study first")
    if wrong := [site for site in sites if not site.strip() or "\\" in site]:
        raise RefusedError(f"{wrong[0]!r} cannot be a site", "Use the sites of your devices")


def _check_reach(token: Token, by: Principal) -> None:
    if by.how == "token":  # else one that leaked would outlive its end
        raise RefusedError("A token makes no other tokens", "Sign in")
    if beyond := [one for one in token.permissions if Permission(one) not in by.permissions]:
        raise RefusedError(f"You may not {beyond[0]} yourself", "Leave it out")


def limit_of(token: Token) -> Scope:
    return Scope(
        None if token.sites is None else frozenset(token.sites),
        None if token.studies is None else frozenset(token.studies),
    )
