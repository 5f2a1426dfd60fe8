"""The process of a role: its memory, and how it ends."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading

MIB = 1 << 20
#: Of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
#: Seconds that a role gets when its supervisor is gone: what it acknowledged is durable already.
ORPHAN_SECONDS = 2.0


def settle_interpreter() -> None:
    """For a process of many short-lived objects: what was imported is not looked at by the garbage collector
    again, and memory that was used once is kept for the next object."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: half a megabyte is used again, not faulted in page by page anew
        for option, value in ((M_MMAP_THRESHOLD, 32 * MIB), (M_TRIM_THRESHOLD, 128 * MIB), (M_ARENA_MAX, 1)):
            libc.mallopt(option, value)


def stop_this_process() -> None:
    """In good order."""
    os.kill(os.getpid(), signal.SIGTERM)


def orphaned() -> None:
    """The supervisor is gone: stop, so that the next one finds ports and logs free."""
    threading.Timer(ORPHAN_SECONDS, os._exit, (1,)).start()
    stop_this_process()
