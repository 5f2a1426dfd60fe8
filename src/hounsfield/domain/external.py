"""Identities of an OpenID Connect provider: which role and sites their claims give.

A rule is `CLAIM=VALUE:ROLE` or `CLAIM=VALUE:ROLE@SITE,SITE`. A claim within another is named with dots, as in
`realm_access.roles=pacs-admin:administrator`. A claim with several values fits by any of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hounsfield.domain.access import Role

_RULE = re.compile(
    rf"(?P<claim>[^=\s]+)\s*=\s*(?P<value>.+?)\s*:\s*(?P<role>{'|'.join(Role)})\s*(?:@(?P<sites>.+))?\Z"
)
_NAME_CLAIMS = ("preferred_username", "upn", "email", "sub")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._@-]+")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class ClaimRule:
    claim: str
    value: str
    role: Role
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Granted:
    """What the claims of an identity give it."""

    role: Role
    sites: tuple[str, ...]


def parse_rules(text: str) -> tuple[ClaimRule, ...]:
    """The rules of a setting, separated by semicolons. Raises ValueError that names the wrong one."""
    rules = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = _RULE.match(part)
        if found is None:
            raise ValueError(
                f"{part!r} is not CLAIM=VALUE:ROLE or CLAIM=VALUE:ROLE@SITE,SITE (roles: {', '.join(Role)})"
            )
        sites = tuple(filter(None, (site.strip() for site in (found["sites"] or "").split(","))))
        role = Role(found["role"])
        if role is Role.SERVICE:
            raise ValueError(f"{part!r}: services do not sign in")
        if role is Role.SUPERUSER and not sites:
            raise ValueError(f"{part!r}: a superuser needs sites, as in {part}@SITE")
        if role is Role.ADMINISTRATOR and sites:
            raise ValueError(f"{part!r}: an administrator has all sites; for one of them there is superuser")
        rules.append(ClaimRule(found["claim"], found["value"], role, sites))
    return tuple(rules)


def granted(rules: Sequence[ClaimRule], claims: Mapping[str, object]) -> Granted | None:
    """The role of the first rule that fits, with the sites of all that fit and give this role (no site, which
    limits nothing, where one of them names none). None where no rule fits."""
    fitting = [rule for rule in rules if rule.value in _values(claims, rule.claim)]
    if not fitting:
        return None
    of_role = [rule for rule in fitting if rule.role is fitting[0].role]
    if not all(rule.sites for rule in of_role):
        return Granted(fitting[0].role, ())
    return Granted(fitting[0].role, tuple(dict.fromkeys(site for rule in of_role for site in rule.sites)))


def account_name(claims: Mapping[str, object], issuer: str, subject: str, *, taken: bool = False) -> str:
    """A user name for an identity; where that is `taken`, one that nobody else has."""
    name = ""
    for claim in _NAME_CLAIMS:
        value = claims.get(claim)
        if isinstance(value, str):
            name = _NOT_IN_A_NAME.sub("-", value).strip("-._@")
        if name:
            break
    if not name or taken:
        mark = hashlib.sha256(f"{issuer} {subject}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
        name = f"{name[: _LONGEST_NAME - 13] or 'user'}-{mark}"
    return name[:_LONGEST_NAME]


def _values(claims: Mapping[str, object], claim: str) -> frozenset[str]:
    value: object = claims.get(claim)
    if value is None and "." in claim:
        value = claims
        for part in claim.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, list | tuple):
        return frozenset(one for one in value if isinstance(one, str))
    return frozenset()
