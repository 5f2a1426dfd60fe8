"""Devices, user accounts and live settings."""

from __future__ import annotations

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
    name: str
    password_hash: str  # argon2id
    role: str
    created_at: int
    disabled: bool = False


class Accounts(Protocol):
    def all(self) -> list[Account]: ...

    def get(self, name: str) -> Account | None: ...

    def save(self, account: Account) -> None: ...

    def remove(self, name: str) -> bool: ...


class LiveSettings(Protocol):
    """Settings changed without a restart; values are JSON."""

    def get(self, key: str) -> object | None: ...

    def set(self, key: str, value: object) -> None: ...

    def all(self) -> dict[str, object]: ...
