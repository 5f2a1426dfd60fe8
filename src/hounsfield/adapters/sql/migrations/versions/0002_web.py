"""Accounts with sites and a second factor, their sessions and tokens; the sites of a study.

Studies that were stored before have no site: they are seen by whom no site limits.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

ROLES = {"admin": "administrator", "user": "radiologist"}


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, server_default="", nullable=False)


def big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    op.add_column("study", text("sites"))
    for name in ("sites", "studies", "subject", "totp_secret", "totp_pending"):
        op.add_column("account", text(name))
    op.add_column("account", big("totp_step"))
    op.add_column("account", text("recovery"))
    op.create_index(
        "uq_account_subject",
        "account",
        ["subject"],
        unique=True,
        sqlite_where=sa.text("subject <> ''"),
        postgresql_where=sa.text("subject <> ''"),
    )
    account = sa.table("account", sa.column("role"))
    for old, new in ROLES.items():
        op.execute(account.update().where(account.c.role == old).values(role=new))
    op.create_table(
        "web_session",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("account_id", ID, nullable=False),
        text("address"),
        big("created_at"),
        big("seen_at"),
        big("expires_at"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_web_session_account_id_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_account_id"), "web_session", ["account_id"], unique=False)
    op.create_table(
        "token",
        sa.Column("id", TEXT, nullable=False),
        text("secret_hash"),
        sa.Column("account_id", ID, nullable=False),
        text("label"),
        text("permissions"),
        text("sites"),
        text("studies"),
        big("created_at"),
        big("expires_at"),
        big("used_at"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_token_account_id_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
    )
    op.create_index(op.f("ix_token_account_id"), "token", ["account_id"], unique=False)
    op.create_table(
        "sign_in",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        big("failed_at"),
        big("until"),
        big("succeeded_at"),
        big("expires_at"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in")),
    )
    op.create_index(op.f("ix_sign_in_expires_at"), "sign_in", ["expires_at"], unique=False)
    op.create_table(
        "secret",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secret")),
    )
