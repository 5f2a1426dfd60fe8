"""How long to wait after failed sign-ins: guessing takes for ever, and nobody is locked out for ever.

Failures are counted under three keys. One user at one address: a few are free, then the wait doubles with
each up to a quarter of an hour. All users at one address, and one user at all addresses: more are free; and
these two do not hold for a user at an address from which that user signed in lately. So whoever guesses from
elsewhere cannot keep the user out from where the user works.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Key(StrEnum):
    PAIR = "the user at this address"
    ADDRESS = "all users at this address"
    ACCOUNT = "the user at addresses from which no sign-in succeeded lately"


@dataclass(frozen=True, slots=True)
class Rule:
    free: int  # failures that cost nothing
    keep: int  # microseconds without a failure after which counting begins anew


RULES = {Key.PAIR: Rule(5, DAY), Key.ADDRESS: Rule(50, HOUR), Key.ACCOUNT: Rule(30, DAY)}
LONGEST_SECONDS = 15 * 60
#: For so long a user is known at an address after a sign-in there, in microseconds.
KNOWN_FOR = 30 * DAY


def wait_seconds(key: Key, failures: int) -> int:
    """Seconds to wait after so many failures: 0, then 1, 2, 4 ... up to LONGEST_SECONDS."""
    over = failures - RULES[key].free
    if over < 0:
        return 0
    return min(1 << min(over, 20), LONGEST_SECONDS)


def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, the /64 of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
