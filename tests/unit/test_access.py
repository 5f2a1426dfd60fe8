"""Permissions, roles and scopes: who may do what, as values."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.domain.access import (
    ANONYMOUS,
    EVERYTHING,
    NOTHING,
    ROLE_PERMISSIONS,
    ROLE_SUMMARIES,
    UNLIMITED_ONLY,
    Permission,
    Role,
    Scope,
    by_token,
    may_manage,
    permissions_of,
    principal,
    scope_of,
)

SITES = ("North", "South", "")
UIDS = ("1.2.1", "1.2.2", "1.2.3")

sites = st.frozensets(st.sampled_from(SITES))
uids = st.frozensets(st.sampled_from(UIDS))
scopes = st.recursive(
    st.builds(Scope, st.none() | sites, st.none() | uids),
    lambda inner: st.builds(Scope, st.none() | sites, st.none() | uids, st.none() | inner),
    max_leaves=3,
)


def test_every_role_is_described_and_may_something() -> None:
    assert set(ROLE_PERMISSIONS) == set(ROLE_SUMMARIES) == set(Role)
    assert ROLE_PERMISSIONS[Role.ADMINISTRATOR] == frozenset(Permission)
    assert all(ROLE_PERMISSIONS.values())


def test_least_privilege() -> None:
    """Who has the permissions that matter most."""
    may = {permission: {r for r in Role if permission in ROLE_PERMISSIONS[r]} for permission in Permission}
    admin, superuser = Role.ADMINISTRATOR, Role.SUPERUSER
    assert may[Permission.USERS_CHANGE] == may[Permission.DEVICES_CHANGE] == {admin, superuser}
    assert (
        may[Permission.SETTINGS_CHANGE]
        == may[Permission.TOKENS_ALL]
        == may[Permission.JOBS_CHANGE]
        == {admin}
    )
    assert may[Permission.LEDGER_READ] == {admin, Role.SERVICE}
    assert ROLE_PERMISSIONS[Role.REFERRER] == {Permission.STUDIES_READ}
    assert Permission.TOKENS_OWN not in ROLE_PERMISSIONS[Role.SERVICE]


@given(scopes, st.sampled_from(UIDS), st.lists(st.sampled_from(SITES), max_size=2))
def test_a_study_is_seen_by_site_or_by_itself(scope: Scope, uid: str, of: list[str]) -> None:
    own = (
        (scope.sites is None and scope.studies is None)
        or (scope.studies is not None and uid in scope.studies)
        or (scope.sites is not None and bool(scope.sites & set(of)))
    )
    assert scope.sees(uid, of) == (own and (scope.within is None or scope.within.sees(uid, of)))
    if scope.unlimited:
        assert scope.sees(uid, of)


@given(scopes, scopes, st.sampled_from(UIDS), st.lists(st.sampled_from(SITES), max_size=2))
def test_narrowing_is_exactly_both(scope: Scope, limit: Scope, uid: str, of: list[str]) -> None:
    narrowed = scope.narrowed(limit)
    if limit.within is None:  # what a token says
        assert narrowed.sees(uid, of) == (scope.sees(uid, of) and limit.sees(uid, of))
        for site in SITES:
            assert narrowed.has_site(site) == (scope.has_site(site) and limit.has_site(site))
        assert narrowed.unlimited == (scope.unlimited and limit.unlimited)


@pytest.mark.parametrize(
    ("role", "sites", "studies", "scope"),
    [
        (Role.ADMINISTRATOR, ("North",), (), EVERYTHING),
        (Role.RADIOLOGIST, (), (), EVERYTHING),
        (Role.RADIOLOGIST, ("North",), (), Scope(frozenset({"North"}))),
        (Role.TECHNOLOGIST, ("North",), ("1.2",), Scope(frozenset({"North"}), frozenset({"1.2"}))),
        (Role.SUPERUSER, (), (), Scope(frozenset())),
        (Role.REFERRER, (), (), NOTHING),
        (Role.REFERRER, ("North",), ("1.2",), Scope(studies=frozenset({"1.2"}))),
    ],
)
def test_scope_of_an_account(
    role: Role, sites: tuple[str, ...], studies: tuple[str, ...], scope: Scope
) -> None:
    assert scope_of(role, sites, studies) == scope


def test_a_referrer_without_grants_sees_nothing() -> None:
    scope = scope_of(Role.REFERRER, ("North",), ())
    assert not scope.sees("1.2", ["North"]) and not scope.has_site("North") and not scope.unlimited


def test_what_concerns_all_sites_is_for_the_unlimited() -> None:
    for role in Role:
        limited = permissions_of(role, Scope(frozenset({"North"})))
        assert limited == ROLE_PERMISSIONS[role] - UNLIMITED_ONLY
        assert permissions_of(role, EVERYTHING) == ROLE_PERMISSIONS[role]


@given(
    st.sampled_from(list(Role)),
    st.lists(st.sampled_from(SITES[:2]), max_size=2),
    st.lists(st.sampled_from(UIDS), max_size=2),
    st.frozensets(st.sampled_from(list(Permission))),
    st.builds(Scope, st.none() | sites, st.none() | uids),
)
def test_a_token_never_reaches_further_than_its_owner(
    role: Role, of: list[str], granted: list[str], permissions: frozenset[Permission], limit: Scope
) -> None:
    owner = principal("eva", role, of, granted, "token")
    token = by_token(owner, "id", permissions, limit)
    assert token.permissions <= owner.permissions & permissions
    for uid in UIDS:
        for some in combinations(SITES[:2], 1):
            assert token.scope.sees(uid, some) == (owner.scope.sees(uid, some) and limit.sees(uid, some))
    if not limit.unlimited:
        assert not token.permissions & UNLIMITED_ONLY
    assert (token.name, token.actor, token.token) == ("eva", "user:eva", "id")


def test_who_manages_whom() -> None:
    admin = principal("a", Role.ADMINISTRATOR, (), (), "session")
    boss = principal("b", Role.SUPERUSER, ("North", "East"), (), "session")
    for role in Role:
        assert may_manage(admin, role, ()) and may_manage(admin, role, ("North",))
        lower = role in (Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.REFERRER)
        assert may_manage(boss, role, ("North",)) == lower
        assert may_manage(boss, role, ("North", "East")) == lower
        assert not may_manage(boss, role, ()) and not may_manage(boss, role, ("South",))
        assert not may_manage(boss, role, ("North", "South"))
    for role in (Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.REFERRER, Role.SERVICE):
        assert not any(may_manage(principal("x", role, (), (), "session"), other, ()) for other in Role)


def test_nobody_gives_what_they_do_not_have() -> None:
    admin = principal("a", Role.ADMINISTRATOR, (), (), "session")
    token = by_token(admin, "id", {Permission.USERS_CHANGE, Permission.STUDIES_READ}, EVERYTHING)
    assert may_manage(token, Role.REFERRER, ())
    assert not may_manage(token, Role.ADMINISTRATOR, ()) and not may_manage(token, Role.RADIOLOGIST, ())


def test_devices_stand_at_sites() -> None:
    boss = principal("b", Role.SUPERUSER, ("North",), (), "session")
    assert boss.may_at(Permission.DEVICES_CHANGE, "North")
    assert not boss.may_at(Permission.DEVICES_CHANGE, "South")
    assert not boss.may_at(Permission.DEVICES_CHANGE, "")
    assert not boss.may_at(Permission.JOBS_READ, "North")
    admin = principal("a", Role.ADMINISTRATOR, (), (), "session")
    assert admin.may_at(Permission.DEVICES_CHANGE, "") and admin.may_at(Permission.DEVICES_CHANGE, "x")


def test_the_anonymous_may_nothing() -> None:
    assert not any(ANONYMOUS.may(permission) for permission in Permission)
    assert not ANONYMOUS.scope.sees("1.2", ["North"])
