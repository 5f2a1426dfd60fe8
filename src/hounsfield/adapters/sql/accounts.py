"""`ports.people` over one transaction: accounts, sessions, tokens, what is remembered of sign-ins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hounsfield.adapters.sql.connection import Connection
from hounsfield.adapters.sql.saving import grow, grown, save
from hounsfield.adapters.sql.text import clean, clean_key
from hounsfield.ports.people import Account, Attempts, Token, WebSession

_ACCOUNT = (
    *("name", "password_hash", "role", "created_at", "disabled", "sites", "studies", "subject"),
    *("totp_secret", "totp_pending", "recovery"),
)
_SESSION = "w.id, a.name, w.address, w.created_at, w.seen_at, w.expires_at"
_API = (
    "t.id, t.secret_hash, a.name, t.label, t.permissions, t.created_at, t.expires_at, t.used_at,"
    " t.sites, t.studies"
)
_OWNER = "(SELECT id FROM account WHERE name = ?)"
_VERSION = "accounts"


class SqlAccounts:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def all(self) -> list[Account]:
        rows = self.connection.execute(f"SELECT {', '.join(_ACCOUNT)} FROM account ORDER BY name")
        return [_account(row) for row in rows]

    def get(self, name: str) -> Account | None:
        return self._one("name", clean_key(name))

    def by_subject(self, subject: str) -> Account | None:
        return self._one("subject", clean(subject)) if subject else None

    def _one(self, column: str, value: str) -> Account | None:
        row = self.connection.execute(
            f"SELECT {', '.join(_ACCOUNT)} FROM account WHERE {column} = ?", (value,)
        ).fetchone()
        return None if row is None else _account(row)

    def save(self, account: Account) -> None:
        values = (
            *(clean_key(account.name), clean(account.password_hash), clean(account.role)),
            *(account.created_at, int(account.disabled), _listed(account.sites), _listed(account.studies)),
            *(clean(account.subject), account.totp_secret, account.totp_pending, " ".join(account.recovery)),
        )
        save(self.connection, "account", _ACCOUNT, values)
        grow(self.connection, _VERSION)

    def remove(self, name: str) -> bool:
        key = (clean_key(name),)
        for table in ("web_session", "token"):
            self.connection.execute(f"DELETE FROM {table} WHERE account_id = {_OWNER}", key)
        removed = self.connection.execute("DELETE FROM account WHERE name = ?", key).rowcount == 1
        if removed:
            grow(self.connection, _VERSION)
        return removed

    def use_totp_step(self, name: str, step: int) -> bool:
        return (
            self.connection.execute(
                "UPDATE account SET totp_step = ? WHERE name = ? AND totp_step < ?",
                (step, clean_key(name), step),
            ).rowcount
            == 1
        )

    def use_recovery(self, name: str, code_hash: str) -> bool:
        account = self.get(name)
        if account is None or code_hash not in account.recovery:
            return False
        left = " ".join(one for one in account.recovery if one != code_hash)
        # only where another process has not taken one at the same moment
        taken = self.connection.execute(
            "UPDATE account SET recovery = ? WHERE name = ? AND recovery = ?",
            (left, clean_key(name), " ".join(account.recovery)),
        ).rowcount
        return taken == 1

    def version(self) -> int:
        return grown(self.connection, _VERSION)

    def server_key(self, fresh: bytes) -> bytes:
        select = "SELECT value FROM secret WHERE name = 'server'"
        row = self.connection.execute(select).fetchone()
        if row is None:
            self.connection.execute(
                "INSERT INTO secret (name, value) VALUES ('server', ?) ON CONFLICT (name) DO NOTHING",
                (fresh,),
            )
            row = self.connection.execute(select).fetchone()
        return bytes(row[0])


class SqlSessions:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def begin(self, session: WebSession) -> None:
        self.connection.execute(
            "INSERT INTO web_session (id, account_id, address, created_at, seen_at, expires_at)"
            f" VALUES (?, {_OWNER}, ?, ?, ?, ?)",
            (
                *(session.id, clean_key(session.account), clean(session.address)),
                *(session.created_at, session.seen_at, session.expires_at),
            ),
        )

    def get(self, session_id: str) -> WebSession | None:
        row = self.connection.execute(
            f"SELECT {_SESSION} FROM web_session w JOIN account a ON a.id = w.account_id WHERE w.id = ?",
            (clean_key(session_id),),
        ).fetchone()
        return None if row is None else WebSession(*row)

    def of(self, account: str) -> list[WebSession]:
        rows = self.connection.execute(
            f"SELECT {_SESSION} FROM web_session w JOIN account a ON a.id = w.account_id"
            " WHERE a.name = ? ORDER BY w.created_at, w.id",
            (clean_key(account),),
        )
        return [WebSession(*row) for row in rows]

    def touch(self, seen: Mapping[str, int]) -> None:
        _touch(self.connection, "web_session", "seen_at", seen)

    def end(self, session_id: str) -> str:
        session = self.get(session_id)
        if session is None:
            return ""
        self.connection.execute("DELETE FROM web_session WHERE id = ?", (session.id,))
        grow(self.connection, _VERSION)
        return session.account

    def end_of(self, account: str) -> int:
        ended = self.connection.execute(
            f"DELETE FROM web_session WHERE account_id = {_OWNER}", (clean_key(account),)
        ).rowcount
        if ended:
            grow(self.connection, _VERSION)
        return ended

    def sweep(self, now: int, idle_since: int) -> int:
        return self.connection.execute(
            "DELETE FROM web_session WHERE expires_at <= ? OR seen_at < ?", (now, idle_since)
        ).rowcount


class SqlTokens:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def add(self, token: Token) -> None:
        limits = ("" if limit is None else _listed(limit) or "[]" for limit in (token.sites, token.studies))
        self.connection.execute(
            "INSERT INTO token (id, secret_hash, account_id, label, permissions, created_at, expires_at,"
            f" used_at, sites, studies) VALUES (?, ?, {_OWNER}, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(token.id, token.secret_hash, clean_key(token.account), clean(token.label)),
                *(" ".join(token.permissions), token.created_at, token.expires_at, token.used_at, *limits),
            ),
        )

    def get(self, token_id: str) -> Token | None:
        found = self._select("t.id = ?", token_id)
        return found[0] if found else None

    def all(self, account: str = "") -> list[Token]:
        return self._select("a.name = ?", account) if account else self._select("1 = 1")

    def _select(self, where: str, *values: str) -> list[Token]:
        rows = self.connection.execute(
            f"SELECT {_API} FROM token t JOIN account a ON a.id = t.account_id WHERE {where}"
            " ORDER BY a.name, t.created_at, t.id",
            tuple(map(clean_key, values)),
        )
        return [_token(row) for row in rows]

    def touch(self, used: Mapping[str, int]) -> None:
        _touch(self.connection, "token", "used_at", used)

    def revoke(self, token_id: str) -> bool:
        return self._delete("id = ?", token_id) == 1

    def revoke_of(self, account: str) -> int:
        return self._delete(f"account_id = {_OWNER}", account)

    def _delete(self, where: str, value: str) -> int:
        gone = self.connection.execute(f"DELETE FROM token WHERE {where}", (clean_key(value),)).rowcount
        if gone:
            grow(self.connection, _VERSION)
        return gone


class SqlSignIns:
    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get(self, keys: Sequence[str]) -> dict[str, Attempts]:
        rows = self.connection.execute(
            'SELECT key, failures, failed_at, "until", succeeded_at, expires_at FROM sign_in'
            f" WHERE key IN ({self.connection.marks(len(keys))})",
            tuple(keys),
        )
        return {row[0]: Attempts(*row) for row in rows}

    def failed(self, key: str, now: int, keep: int) -> int:
        row = self.connection.execute(
            "INSERT INTO sign_in (key, failures, failed_at, expires_at) VALUES (?, 1, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET"
            " failures = CASE WHEN sign_in.failed_at < ? THEN 1 ELSE sign_in.failures + 1 END,"
            " failed_at = excluded.failed_at,"
            " expires_at = CASE WHEN sign_in.expires_at < excluded.expires_at THEN excluded.expires_at"
            " ELSE sign_in.expires_at END RETURNING failures",
            (key, now, now + keep, now - keep),
        ).fetchone()
        return int(row[0])

    def wait(self, key: str, until: int) -> None:
        self.connection.execute('UPDATE sign_in SET "until" = ? WHERE key = ?', (until, key))

    def succeeded(self, key: str, now: int, expires_at: int) -> None:
        columns = ("key", "failures", '"until"', "succeeded_at", "expires_at")
        save(self.connection, "sign_in", columns, (key, 0, 0, now, expires_at))

    def sweep(self, now: int, most: int) -> None:
        self.connection.execute("DELETE FROM sign_in WHERE expires_at <= ?", (now,))
        (rows,) = self.connection.execute("SELECT count(*) FROM sign_in").fetchone()
        if rows > most:
            self.connection.execute(
                "DELETE FROM sign_in WHERE key IN (SELECT key FROM sign_in ORDER BY expires_at LIMIT ?)",
                (rows - most,),
            )


def _touch(connection: Connection, table: str, column: str, times: Mapping[str, int]) -> None:
    # in one order, so that two processes do not wait for each other in a circle
    for key, at in sorted(times.items()):
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE id = ? AND {column} < ?", (at, clean_key(key), at)
        )


def _listed(values: Iterable[str]) -> str:
    """A JSON list; '' for an empty one."""
    return json.dumps([clean(value) for value in values]) if values else ""


def _unlisted(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


def _account(row: tuple[Any, ...]) -> Account:
    name, password_hash, role, created_at, disabled, sites, studies, subject, totp, pending, recovery = row
    return Account(
        *(name, password_hash, role, created_at, bool(disabled), _unlisted(sites), _unlisted(studies)),
        *(subject, totp, pending, tuple(recovery.split())),
    )


def _token(row: tuple[Any, ...]) -> Token:
    token_id, secret_hash, account, label, permissions, created_at, expires_at, used_at, sites, studies = row
    return Token(
        *(token_id, secret_hash, account, label, tuple(permissions.split())),
        created_at,
        expires_at,
        used_at,
        sites=_unlisted(sites) if sites else None,
        studies=_unlisted(studies) if studies else None,
    )
