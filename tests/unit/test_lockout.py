"""How long failed sign-ins have to wait, as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hounsfield.domain.lockout import LONGEST_SECONDS, RULES, Key, address_group, wait_seconds


@pytest.mark.parametrize("key", list(Key))
def test_the_wait_doubles_to_a_quarter_of_an_hour(key: Key) -> None:
    free = RULES[key].free
    waits = [wait_seconds(key, failures) for failures in range(free + 14)]
    assert waits[:free] == [0] * free
    assert waits[free:] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]


@given(st.sampled_from(list(Key)), st.integers(0, 10**9))
def test_the_wait_is_bounded_and_never_shrinks(key: Key, failures: int) -> None:
    assert 0 <= wait_seconds(key, failures) <= wait_seconds(key, failures + 1) <= LONGEST_SECONDS


def test_one_user_at_one_address_has_least() -> None:
    assert RULES[Key.PAIR].free < RULES[Key.ACCOUNT].free < RULES[Key.ADDRESS].free


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_addresses_are_grouped(address: str, group: str) -> None:
    assert address_group(address) == group
