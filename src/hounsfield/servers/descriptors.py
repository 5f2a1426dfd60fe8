"""File descriptors: each connection needs one, and many systems begin with 1024 for a process."""

from __future__ import annotations

import resource

#: More than all our places for connections and open files together, for the largest settings in use.
MOST = 65536


def raise_descriptor_limit() -> int:
    """Raise the soft limit towards the hard one, which only the system's administrator can raise. Returns
    the limit that holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
