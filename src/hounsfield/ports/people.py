"""Devices; user accounts, their sessions, tokens and sign-ins; live settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hounsfield.domain.device import Device


class Devices(Protocol):
    def all(self) -> list[Device]: ...

    def by_name(self, name: str) -> Device | None: ...

    def by_ae_title(self, ae_title: str) -> list[Device]: ...

    def save(self, device: Device) -> None:
        """Insert or replace by name."""
        ...

    def remove(self, name: str) -> bool: ...

    def touch(self, name: str, at: int, address: str) -> None:
        """Note when and from where it was last seen."""
        ...

    def version(self) -> int:
        """Grows with every change: what a server's cache compares."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """One user. `role` is a value of `domain.access.Role`; times are microseconds since 1970, 0 for never."""

    name: str
    password_hash: str  # argon2id; '' where no password opens it
    role: str
    created_at: int
    disabled: bool = False
    sites: tuple[str, ...] = ()  # to which it is limited; none: not limited by site
    studies: tuple[str, ...] = ()  # Study Instance UIDs granted by themselves
    #: "<issuer> <subject>" of the OpenID Connect provider that vouches for it; '' where we do.
    subject: str = ""
    totp_secret: str = ""  # base32 (RFC 6238); '' where no second factor is asked for
    totp_pending: str = ""  # the same, not yet confirmed by a first code
    recovery: tuple[str, ...] = ()  # SHA-256, hex, of the recovery codes that are left


class Accounts(Protocol):
    def all(self) -> list[Account]: ...

    def get(self, name: str) -> Account | None: ...

    def by_subject(self, subject: str) -> Account | None: ...

    def save(self, account: Account) -> None:
        """Insert or replace by name."""
        ...

    def remove(self, name: str) -> bool:
        """With its sessions and tokens."""
        ...

    def use_totp_step(self, name: str, step: int) -> bool:
        """Note that the one-time code of time step `step` was used; False where that one or a later was
        used before."""
        ...

    def use_recovery(self, name: str, code_hash: str) -> bool:
        """Take a recovery code out; False where it is not there."""
        ...

    def version(self) -> int:
        """Grows when an account is changed, or a session or token ended: what caches compare."""
        ...

    def server_key(self, fresh: bytes) -> bytes:
        """The secret that all processes of this archive share; `fresh` becomes it where there is none yet."""
        ...


@dataclass(frozen=True, slots=True)
class WebSession:
    """One sign-in of a browser. Of its secret only the SHA-256 is kept, hex: that is `id`."""

    id: str
    account: str  # name
    address: str
    created_at: int
    seen_at: int
    expires_at: int


class Sessions(Protocol):
    def begin(self, session: WebSession) -> None: ...

    def get(self, session_id: str) -> WebSession | None: ...

    def of(self, account: str) -> list[WebSession]: ...

    def touch(self, seen: Mapping[str, int]) -> None:
        """Note when sessions were last used, by id."""
        ...

    def end(self, session_id: str) -> str:
        """Returns the account's name; '' where there is no such session."""
        ...

    def end_of(self, account: str) -> int:
        """End all sessions of an account; how many there were."""
        ...

    def sweep(self, now: int, idle_since: int) -> int:
        """Remove those that expired, or were last used before `idle_since`."""
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """An API token. Of its secret only the SHA-256 is kept, hex."""

    id: str
    secret_hash: str
    account: str  # name of the owner
    label: str  # what it is for
    permissions: tuple[str, ...]
    created_at: int
    expires_at: int = 0  # 0: never
    used_at: int = 0
    sites: tuple[str, ...] | None = None  # None: no limit of its own
    studies: tuple[str, ...] | None = None


class Tokens(Protocol):
    def add(self, token: Token) -> None: ...

    def get(self, token_id: str) -> Token | None: ...

    def all(self, account: str = "") -> list[Token]: ...

    def touch(self, used: Mapping[str, int]) -> None:
        """Note when tokens were last used, by id."""
        ...

    def revoke(self, token_id: str) -> bool: ...

    def revoke_of(self, account: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is remembered of the sign-ins under one key (an account, an address, or both together)."""

    key: str
    failures: int = 0  # since the last success
    failed_at: int = 0  # the last of them
    until: int = 0  # no further attempt before
    succeeded_at: int = 0
    expires_at: int = 0  # forgotten after


class SignIns(Protocol):
    def get(self, keys: Sequence[str]) -> dict[str, Attempts]: ...

    def failed(self, key: str, now: int, keep: int) -> int:
        """Count a failure; how many there are now. After `keep` microseconds without one it begins anew.
        Several processes may count at once."""
        ...

    def wait(self, key: str, until: int) -> None: ...

    def succeeded(self, key: str, now: int, expires_at: int) -> None:
        """Forget the failures, remember the success."""
        ...

    def sweep(self, now: int, most: int) -> None:
        """Remove what has expired; past `most` rows also what would expire first."""
        ...


class LiveSettings(Protocol):
    """Settings changed without a restart; values are JSON."""

    def get(self, key: str) -> object | None: ...

    def set(self, key: str, value: object) -> None: ...

    def all(self) -> dict[str, object]: ...
