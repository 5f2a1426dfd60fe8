"""Who may do what, and with which studies: permissions, roles, scopes, principals.

A role gives permissions, a scope says on which studies and sites they hold. Whoever asks is a `Principal`,
made anew from the account each time, so that a changed account is a changed principal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """One thing that can be allowed, "<noun>.<verb>"."""

    STUDIES_READ = "studies.read"  # find, look at, download
    STUDIES_STORE = "studies.store"  # add objects
    STUDIES_EXPORT = "studies.export"  # send to another system, or out as an archive file
    STUDIES_CHANGE = "studies.change"  # correct, move, reject
    DEVICES_READ = "devices.read"
    DEVICES_CHANGE = "devices.change"
    USERS_READ = "users.read"
    USERS_CHANGE = "users.change"
    TOKENS_OWN = "tokens.own"  # make, list and revoke tokens of one's own
    TOKENS_ALL = "tokens.all"  # those of others as well
    LEDGER_READ = "ledger.read"
    JOBS_READ = "jobs.read"
    JOBS_CHANGE = "jobs.change"
    SETTINGS_READ = "settings.read"
    SETTINGS_CHANGE = "settings.change"
    SYSTEM_READ = "system.read"
    METRICS_READ = "metrics.read"
    QUARANTINE_READ = "quarantine.read"
    QUARANTINE_CHANGE = "quarantine.change"


class Role(StrEnum):
    ADMINISTRATOR = "administrator"
    SUPERUSER = "superuser"
    RADIOLOGIST = "radiologist"
    TECHNOLOGIST = "technologist"
    REFERRER = "referrer"
    SERVICE = "service"


_P = Permission

#: Least privilege: what a role has no need of, it does not have.
ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.ADMINISTRATOR: frozenset(Permission),
    Role.SUPERUSER: frozenset(
        {
            *(_P.STUDIES_READ, _P.STUDIES_STORE, _P.STUDIES_EXPORT, _P.STUDIES_CHANGE),
            *(_P.DEVICES_READ, _P.DEVICES_CHANGE, _P.USERS_READ, _P.USERS_CHANGE, _P.TOKENS_OWN),
            *(_P.QUARANTINE_READ, _P.QUARANTINE_CHANGE, _P.SYSTEM_READ),
        }
    ),
    Role.RADIOLOGIST: frozenset({_P.STUDIES_READ, _P.STUDIES_STORE, _P.STUDIES_EXPORT, _P.TOKENS_OWN}),
    Role.TECHNOLOGIST: frozenset(
        {
            *(_P.STUDIES_READ, _P.STUDIES_STORE, _P.STUDIES_EXPORT, _P.STUDIES_CHANGE),
            *(_P.DEVICES_READ, _P.QUARANTINE_READ, _P.TOKENS_OWN),
        }
    ),
    Role.REFERRER: frozenset({_P.STUDIES_READ}),
    # As far as a token of such an account can reach; the token's own list says what it has.
    Role.SERVICE: frozenset(
        {
            *(_P.STUDIES_READ, _P.STUDIES_STORE, _P.STUDIES_EXPORT, _P.STUDIES_CHANGE),
            *(_P.DEVICES_READ, _P.JOBS_READ, _P.LEDGER_READ, _P.SYSTEM_READ, _P.METRICS_READ),
            _P.QUARANTINE_READ,
        }
    ),
}

#: One sentence for each role, for people.
ROLE_SUMMARIES: Mapping[Role, str] = {
    Role.ADMINISTRATOR: "answers for the archive: everything, at every site",
    Role.SUPERUSER: "answers for one or more sites: their studies, devices, quarantine, and their users of "
    "lower roles",
    Role.RADIOLOGIST: "reads studies, keeps measurements and key images, sends studies on",
    Role.TECHNOLOGIST: "makes studies and puts them right; sees devices and the quarantine",
    Role.REFERRER: "looks at the studies that were granted, and at nothing else",
    Role.SERVICE: "a program: cannot sign in, and does what its tokens allow",
}

#: What concerns all sites at once, and names patients of all: only for whom no site or study limits.
UNLIMITED_ONLY = frozenset(
    {
        *(_P.LEDGER_READ, _P.JOBS_READ, _P.JOBS_CHANGE),
        *(_P.SETTINGS_READ, _P.SETTINGS_CHANGE, _P.TOKENS_ALL),
    }
)

#: Roles whose accounts a superuser may make and change, at sites of their own.
_BELOW_SUPERUSER = frozenset({Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.REFERRER})


@dataclass(frozen=True, slots=True)
class Scope:
    """Which studies: those of some sites and, besides, some single ones. Both None: all there are.

    `within` is a second scope that must see the study as well: a token is limited in itself, and never
    reaches further than its owner.
    """

    sites: frozenset[str] | None = None
    studies: frozenset[str] | None = None  # Study Instance UIDs
    within: Scope | None = None

    @property
    def unlimited(self) -> bool:
        return self.sites is None and self.studies is None and (self.within is None or self.within.unlimited)

    def sees(self, study_uid: str, sites: Collection[str]) -> bool:
        """Whether a study with these sites is in it."""
        if self.within is not None and not self.within.sees(study_uid, sites):
            return False
        if self.sites is None and self.studies is None:
            return True
        if self.studies is not None and study_uid in self.studies:
            return True
        return self.sites is not None and not self.sites.isdisjoint(sites)

    def has_site(self, site: str) -> bool:
        """Whether what stands at a site, such as a device, is in it. '' is no site."""
        if self.within is not None and not self.within.has_site(site):
            return False
        return site in self.sites if self.sites is not None else self.studies is None

    def narrowed(self, limit: Scope) -> Scope:
        """What is both in this one and in `limit`."""
        if limit.unlimited:
            return self
        return limit if self.unlimited else Scope(limit.sites, limit.studies, self)


EVERYTHING = Scope()
NOTHING = Scope(studies=frozenset())


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, as authenticated; what they may, and on what."""

    name: str
    role: Role
    permissions: frozenset[Permission]
    scope: Scope
    how: str  # "session", "token", "basic", "anonymous"; "password" or "external" before a session begins
    session: str = ""  # id of the session (not its secret), by which CSRF tokens are made
    token: str = ""  # id of the API token, where it is one's

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions

    def may_at(self, permission: Permission, site: str) -> bool:
        """Whether it may, with what stands at `site` ('' for none): devices, and what is held of them."""
        return permission in self.permissions and self.scope.has_site(site)

    @property
    def actor(self) -> str:
        """As the ledger names it."""
        return f"user:{self.name}"


ANONYMOUS = Principal("", Role.REFERRER, frozenset(), NOTHING, "anonymous")


def scope_of(role: Role, sites: Iterable[str], studies: Iterable[str]) -> Scope:
    """The scope of an account with these sites and studies; none of both limits nothing, except:

    - an administrator is never limited;
    - a superuser without a site has no study;
    - a referrer has the granted studies alone: sites only say where the account belongs.
    """
    of_sites, of_studies = frozenset(sites), frozenset(studies)
    match role:
        case Role.ADMINISTRATOR:
            return EVERYTHING
        case Role.REFERRER:
            return Scope(studies=of_studies)
        case Role.SUPERUSER:
            return Scope(of_sites, of_studies or None)
        case _:
            return Scope(of_sites or None, of_studies or None)


def permissions_of(role: Role, scope: Scope) -> frozenset[Permission]:
    """What a role may where this is its scope: nothing that concerns all sites where it is limited."""
    permissions = ROLE_PERMISSIONS[role]
    return permissions if scope.unlimited else permissions - UNLIMITED_ONLY


def principal(
    name: str, role: Role, sites: Iterable[str], studies: Iterable[str], how: str, session: str = ""
) -> Principal:
    """The principal of an account, as itself."""
    scope = scope_of(role, sites, studies)
    return Principal(name, role, permissions_of(role, scope), scope, how, session)


def by_token(owner: Principal, token: str, permissions: Collection[Permission], limit: Scope) -> Principal:
    """The principal that a token stands for: what its owner may at this moment, as far as the token goes."""
    scope = owner.scope.narrowed(limit)
    allowed = owner.permissions & frozenset(permissions)
    if not scope.unlimited:
        allowed -= UNLIMITED_ONLY
    return Principal(owner.name, owner.role, allowed, scope, "token", token=token)


def may_manage(who: Principal, role: Role, sites: Collection[str]) -> bool:
    """Whether `who` may make, see or change an account of this role that belongs to these sites.

    Nobody gives what they do not have themselves. Beyond that an unlimited principal with `users.change` may
    with all; a superuser with accounts of lower roles that belong to sites of theirs, to at least one and to
    no other.
    """
    if not who.may(Permission.USERS_CHANGE) or not ROLE_PERMISSIONS[role] <= who.permissions:
        return False
    if who.scope.unlimited:
        return True
    return role in _BELOW_SUPERUSER and bool(sites) and all(who.scope.has_site(site) for site in sites)
