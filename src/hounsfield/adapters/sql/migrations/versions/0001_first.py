"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, server_default="", nullable=False)


def integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default="0", nullable=False)


def big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        text("password_hash"),
        text("role"),
        big("created_at"),
        integer("disabled"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "blob",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        integer("live"),
        big("bytes"),
        big("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blob")),
        sa.UniqueConstraint("key", name=op.f("uq_blob_key")),
    )
    op.create_index(
        "ix_blob_unused",
        "blob",
        ["key"],
        unique=False,
        sqlite_where=sa.text("live <= 0"),
        postgresql_where=sa.text("live <= 0"),
    )
    op.create_table(
        "counter",
        sa.Column("name", TEXT, nullable=False),
        big("value"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "cursor",
        sa.Column("consumer", TEXT, nullable=False),
        sa.Column("writer", TEXT, nullable=False),
        big("n"),
        sa.PrimaryKeyConstraint("consumer", "writer", name=op.f("pk_cursor")),
    )
    op.create_table(
        "device",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        text("ae_title"),
        text("host"),
        integer("port"),
        integer("tls"),
        text("state"),
        text("site"),
        text("character_set"),
        text("roles"),
        text("calling_addresses"),
        integer("max_associations"),
        big("first_seen"),
        big("last_seen"),
        text("last_address"),
        text("evidence"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("name", name=op.f("uq_device_name")),
    )
    op.create_index(op.f("ix_device_ae_title"), "device", ["ae_title"], unique=False)
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        text("kind"),
        text("key"),
        text("payload"),
        text("state"),
        big("run_at"),
        big("due_at"),
        integer("attempts"),
        integer("max_attempts"),
        text("owner"),
        text("error"),
        big("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index(
        "ix_job_due",
        "job",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state <> 'dead'"),
        postgresql_where=sa.text("state <> 'dead'"),
    )
    op.create_index(
        "uq_job_waiting",
        "job",
        ["kind", "key"],
        unique=True,
        sqlite_where=sa.text("state = 'waiting' AND key <> ''"),
        postgresql_where=sa.text("state = 'waiting' AND key <> ''"),
    )
    op.create_table(
        "ledger",
        sa.Column("writer", ID, autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("type", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("accession", ID, nullable=True),
        sa.Column("association", ID, nullable=True),
        sa.Column("device", ID, nullable=True),
        sa.Column("patient", ID, nullable=True),
        sa.Column("series", ID, nullable=True),
        sa.Column("study", ID, nullable=True),
        sa.Column("actor", ID, nullable=False),
        text("cause"),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "n", name=op.f("pk_ledger")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_ledger_accession",
        "ledger",
        ["accession"],
        unique=False,
        sqlite_where=sa.text("accession IS NOT NULL"),
        postgresql_where=sa.text("accession IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_association",
        "ledger",
        ["association"],
        unique=False,
        sqlite_where=sa.text("association IS NOT NULL"),
        postgresql_where=sa.text("association IS NOT NULL"),
    )
    op.create_index(op.f("ix_ledger_at"), "ledger", ["at"], unique=False)
    op.create_index(
        "ix_ledger_device",
        "ledger",
        ["device"],
        unique=False,
        sqlite_where=sa.text("device IS NOT NULL"),
        postgresql_where=sa.text("device IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_patient",
        "ledger",
        ["patient"],
        unique=False,
        sqlite_where=sa.text("patient IS NOT NULL"),
        postgresql_where=sa.text("patient IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_series",
        "ledger",
        ["series"],
        unique=False,
        sqlite_where=sa.text("series IS NOT NULL"),
        postgresql_where=sa.text("series IS NOT NULL"),
    )
    op.create_index(
        "ix_ledger_study",
        "ledger",
        ["study"],
        unique=False,
        sqlite_where=sa.text("study IS NOT NULL"),
        postgresql_where=sa.text("study IS NOT NULL"),
    )
    op.create_table(
        "ledger_writer",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_writer")),
        sa.UniqueConstraint("name", name=op.f("uq_ledger_writer_name")),
    )
    op.create_table(
        "patient",
        sa.Column("id", ID, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        text("patient_id"),
        text("issuer"),
        text("name"),
        text("name_key"),
        text("ideographic_key"),
        text("phonetic_key"),
        text("sounds"),
        text("birth_date"),
        text("sex"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient")),
        sa.UniqueConstraint("key", name=op.f("uq_patient_key")),
    )
    op.create_index(op.f("ix_patient_birth_date"), "patient", ["birth_date"], unique=False)
    op.create_index(
        "ix_patient_ideographic_key",
        "patient",
        ["ideographic_key"],
        unique=False,
        sqlite_where=sa.text("ideographic_key <> ''"),
        postgresql_where=sa.text("ideographic_key <> ''"),
    )
    op.create_index(op.f("ix_patient_name_key"), "patient", ["name_key"], unique=False)
    op.create_index(op.f("ix_patient_patient_id"), "patient", ["patient_id"], unique=False)
    op.create_index(
        "ix_patient_phonetic_key",
        "patient",
        ["phonetic_key"],
        unique=False,
        sqlite_where=sa.text("phonetic_key <> ''"),
        postgresql_where=sa.text("phonetic_key <> ''"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", ID, nullable=False),
        text("uid"),
        text("study_uid"),
        text("device"),
        text("reason"),
        text("policy"),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        text("keys"),
        text("syntax"),
        sa.Column("blob_id", ID, nullable=False),
        big("offset"),
        big("length"),
        integer("meta_length"),
        text("origin"),
        big("at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("uid", "hash", name=op.f("uq_quarantine_uid_hash")),
    )
    op.create_index(op.f("ix_quarantine_blob_id_offset"), "quarantine", ["blob_id", "offset"], unique=False)
    op.create_index(op.f("ix_quarantine_device"), "quarantine", ["device"], unique=False)
    op.create_index(op.f("ix_quarantine_study_uid"), "quarantine", ["study_uid"], unique=False)
    op.create_table(
        "setting",
        sa.Column("key", TEXT, nullable=False),
        text("value"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_setting")),
    )
    op.create_table(
        "subject",
        sa.Column("id", ID, nullable=False),
        text("kind"),
        text("value"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subject")),
        sa.UniqueConstraint("kind", "value", name=op.f("uq_subject_kind_value")),
    )
    op.create_table(
        "term",
        sa.Column("id", ID, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_term")),
        sa.UniqueConstraint("value", name=op.f("uq_term_value")),
    )
    op.create_table(
        "study",
        sa.Column("id", ID, nullable=False),
        sa.Column("patient_id", ID, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        text("study_date"),
        text("study_time"),
        text("accession"),
        text("study_id"),
        text("description"),
        text("referring"),
        text("referring_key"),
        text("institution"),
        text("timezone"),
        text("modalities"),
        text("sop_classes"),
        integer("n_series"),
        integer("n_instances"),
        big("created_at"),
        big("changed_at"),
        sa.ForeignKeyConstraint(["patient_id"], ["patient.id"], name=op.f("fk_study_patient_id_patient")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("uid", name=op.f("uq_study_uid")),
    )
    op.create_index(op.f("ix_study_accession"), "study", ["accession"], unique=False)
    op.create_index(op.f("ix_study_patient_id"), "study", ["patient_id"], unique=False)
    op.create_index(
        op.f("ix_study_study_date_study_time_modalities"),
        "study",
        ["study_date", "study_time", "modalities"],
        unique=False,
        postgresql_include=["id"],
    )
    op.create_table(
        "series",
        sa.Column("id", ID, nullable=False),
        sa.Column("study_id", ID, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        text("modality"),
        text("number"),
        text("description"),
        text("series_date"),
        text("series_time"),
        text("body_part"),
        text("laterality"),
        text("station"),
        text("manufacturer"),
        text("model"),
        text("protocol"),
        text("performed_date"),
        text("performed_time"),
        text("sps_id"),
        text("rp_id"),
        integer("n_instances"),
        big("created_at"),
        big("changed_at"),
        integer("generation"),
        integer("packed"),
        sa.Column("metadata_blob", ID, nullable=True),
        big("metadata_offset"),
        big("metadata_length"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_series_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("uid", name=op.f("uq_series_uid")),
    )
    op.create_index(op.f("ix_series_study_id"), "series", ["study_id"], unique=False)
    op.create_table(
        "instance",
        sa.Column("id", ID, nullable=False),
        sa.Column("series_id", ID, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("class_id", ID, nullable=False),
        sa.Column("syntax_id", ID, nullable=False),
        text("number"),
        integer("rows"),
        integer("columns"),
        integer("bits"),
        big("frames"),
        text("content_date"),
        text("content_time"),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("blob_id", ID, nullable=False),
        big("offset"),
        big("length"),
        integer("meta_length"),
        big("stored_at"),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_instance_series_id_series")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("uid", name=op.f("uq_instance_uid")),
    )
    op.create_index(op.f("ix_instance_blob_id_offset"), "instance", ["blob_id", "offset"], unique=False)
    op.create_index(op.f("ix_instance_series_id"), "instance", ["series_id"], unique=False)
    # ### end Alembic commands ###
