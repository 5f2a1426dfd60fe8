"""Identifiers: UIDs (PS3.5 section 9), AE titles (PS3.5 6.2), and the file names made of them."""

from __future__ import annotations

import hashlib
import re
import uuid

MAX_UID_LENGTH = 64
_STRICT_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
#: Components with leading zeros are against PS3.5 9.1, but scanners send them and they harm nothing.
_TOLERATED_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}\Z")


def is_uid(text: str) -> bool:
    """Whether `text` is a UID as PS3.5 9.1 writes it."""
    return len(text) <= MAX_UID_LENGTH and _STRICT_UID.match(text) is not None


def is_tolerated_uid(text: str) -> bool:
    """Whether `text` is a UID, or one whose only fault is leading zeros: what the archive takes in."""
    return len(text) <= MAX_UID_LENGTH and _TOLERATED_UID.match(text) is not None


def new_uid() -> str:
    """A new UID derived from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def new_timed_uid(at: int) -> str:
    """A new UID from which `timed_uid_milliseconds` reads the time again, `at` in microseconds since 1970:
    derived from a UUID of version 7 (PS3.5 B.2, RFC 9562 5.7)."""
    chance = uuid.uuid4().int
    value = (at // 1000) << 80 | 7 << 76 | (chance >> 52 & 0xFFF) << 64 | 0b10 << 62 | chance & (1 << 62) - 1
    return f"2.25.{value}"


def timed_uid_milliseconds(uid: str) -> int | None:
    """Milliseconds since 1970 at which a UID of `new_timed_uid` was made; None for any other UID."""
    root, _, number = uid.rpartition(".")
    if root != "2.25" or not is_uid(uid):
        return None
    value = int(number)
    return value >> 80 if value >> 76 & 0xF == 7 and value >> 128 == 0 else None


def path_name(uid: str) -> str:
    """A file name for `uid`: the UID itself where it is one, else a hash of it. Never leaves its folder."""
    if is_tolerated_uid(uid):
        return uid
    return "x" + hashlib.blake2b(uid.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


def clean_ae_title(text: str) -> str:
    """The AE title without its insignificant spaces (PS3.8 9.3.2: leading and trailing)."""
    return text.strip(" ")


def is_ae_title(text: str) -> bool:
    """Whether `text` is an AE title: 1 to 16 characters, no backslash, not blank."""
    return _AE_TITLE.match(text) is not None and bool(text.strip(" "))
