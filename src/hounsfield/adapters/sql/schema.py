"""The one schema, for SQLite and PostgreSQL alike (SQLAlchemy Core). Migrations lead here.

Text compares by code point in both (`COLLATE "C"` on PostgreSQL), so that both order and find alike.
Foreign keys hold patient, study, series and instance together. Blobs and terms have none: their rows are
counted or never removed, and a key from them would need an index on every instance. The ledger has none:
history outlives what it tells of.
Times named `..._at` and `at` are microseconds since 1970, UTC. Absent text is '', absent numbers 0.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from hounsfield.adapters.sql.known import SUBJECT_KINDS

ID = BigInteger().with_variant(Integer(), "sqlite")
TEXT = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", ID, primary_key=True)


def _text(name: str, *, index: bool = False, unique: bool = False) -> Column[str]:
    return Column(name, TEXT, nullable=False, server_default="", index=index, unique=unique)


def _key(name: str) -> Column[str]:
    return Column(name, TEXT, nullable=False, unique=True)


def _int(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _big(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _ref(name: str, target: str) -> Column[int]:
    return Column(name, ID, ForeignKey(f"{target}.id"), nullable=False, index=True)


def _hash() -> Column[bytes]:
    return Column("hash", LargeBinary, nullable=False)


patient = Table(
    "patient",
    metadata,
    _id(),
    _key("key"),  # "<Patient ID>\<issuer>", or "study:<Study Instance UID>" where there is no Patient ID
    _text("patient_id", index=True),
    _text("issuer"),
    _text("name"),  # all component groups, as received
    _text("name_key", index=True),  # domain.names.name_key: no accents, casefolded, alphabetic group
    _text("ideographic_key"),  # of the other component groups, mostly ''
    _text("phonetic_key"),
    _text("sounds"),  # domain.names.name_sounds
    _text("birth_date", index=True),
    _text("sex"),
)
for _group in ("ideographic_key", "phonetic_key"):
    _has_group = text(f"{_group} <> ''")
    Index(f"ix_patient_{_group}", patient.c[_group], sqlite_where=_has_group, postgresql_where=_has_group)

study = Table(
    "study",
    metadata,
    _id(),
    _ref("patient_id", "patient"),
    _key("uid"),
    _text("study_date"),
    _text("study_time"),
    _text("accession", index=True),
    _text("study_id"),
    _text("description"),
    _text("referring"),
    _text("referring_key"),  # as patient.name_key
    _text("institution"),
    _text("timezone"),
    _text("modalities"),  # of its series, each once, in order of arrival: "CT\SR"
    _text("sop_classes"),  # of its instances, each once, in order of arrival, joined by a backslash
    _int("n_series"),
    _int("n_instances"),
    _big("created_at"),
    _big("changed_at"),
    _text("sites"),  # of the devices that sent its series, each once, joined by a backslash: who may see it
    # with the modalities: of a day's studies only those are read that have the one asked for
    Index(None, "study_date", "study_time", "modalities", postgresql_include=["id"]),
)

series = Table(
    "series",
    metadata,
    _id(),
    _ref("study_id", "study"),
    _key("uid"),
    _text("modality"),
    _text("number"),  # IS as received; search compares it as a number
    _text("description"),
    _text("series_date"),
    _text("series_time"),
    _text("body_part"),
    _text("laterality"),
    _text("station"),
    _text("manufacturer"),
    _text("model"),
    _text("protocol"),
    _text("performed_date"),
    _text("performed_time"),
    _text("sps_id"),  # Scheduled Procedure Step ID
    _text("rp_id"),  # Requested Procedure ID
    _int("n_instances"),
    _big("created_at"),
    _big("changed_at"),
    _int("generation"),  # of its newest pack; 0 for none
    _int("packed"),  # instances in the newest pack
    Column("metadata_blob", ID),  # out of date while packed != n_instances
    _big("metadata_offset"),
    _big("metadata_length"),
)

instance = Table(
    "instance",
    metadata,
    _id(),
    _ref("series_id", "series"),
    _key("uid"),
    Column("class_id", ID, nullable=False),  # term
    Column("syntax_id", ID, nullable=False),  # term
    _text("number"),  # IS as received
    _int("rows"),
    _int("columns"),
    _int("bits"),
    _big("frames"),
    _text("content_date"),
    _text("content_time"),
    _hash(),
    Column("blob_id", ID, nullable=False),
    _big("offset"),
    _big("length"),
    _int("meta_length"),
    _big("stored_at"),
    Index(None, "blob_id", "offset"),
)

#: UIDs and type names that repeat without end, kept once.
term = Table("term", metadata, _id(), _key("value"))

blob = Table(
    "blob",
    metadata,
    _id(),
    _key("key"),
    _int("live"),  # instances, quarantined objects and series metadata that are in it
    _big("bytes"),  # length of those instances and quarantined objects together
    _big("created_at"),
)
_unused = text("live <= 0")
Index("ix_blob_unused", blob.c.key, sqlite_where=_unused, postgresql_where=_unused)

quarantine = Table(
    "quarantine",
    metadata,
    _id(),
    _text("uid"),
    _text("study_uid", index=True),
    _text("device", index=True),
    _text("reason"),
    _text("policy"),  # reason that the receiver gave with the object, '' where the index decided
    _hash(),
    _text("keys"),  # JSON: the values of ObjectKeys in order
    _text("syntax"),
    Column("blob_id", ID, nullable=False),
    _big("offset"),
    _big("length"),
    _int("meta_length"),
    _text("origin"),  # JSON
    _big("at"),
    UniqueConstraint("uid", "hash"),
    Index(None, "blob_id", "offset"),
)

ledger_writer = Table("ledger_writer", metadata, _id(), _key("name"))

subject = Table("subject", metadata, _id(), _text("kind"), _text("value"), UniqueConstraint("kind", "value"))

ledger = Table(
    "ledger",
    metadata,
    Column("writer", ID, primary_key=True, autoincrement=False),  # ledger_writer
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("type", ID, nullable=False),  # term
    Column("version", Integer, nullable=False),
    *(Column(kind, ID) for kind in SUBJECT_KINDS),  # subject
    Column("actor", ID, nullable=False),  # subject
    _text("cause"),
    Column("payload", LargeBinary, nullable=False),
    _hash(),
    sqlite_with_rowid=False,
)
for _kind in SUBJECT_KINDS:
    _present = text(f"{_kind} IS NOT NULL")
    Index(f"ix_ledger_{_kind}", ledger.c[_kind], sqlite_where=_present, postgresql_where=_present)

cursor = Table(
    "cursor",
    metadata,
    Column("consumer", TEXT, primary_key=True),
    Column("writer", TEXT, primary_key=True),
    _big("n"),
)

job = Table(
    "job",
    metadata,
    _id(),
    _text("kind"),
    _text("key"),
    _text("payload"),  # JSON
    _text("state"),
    _big("run_at"),
    _big("due_at"),  # waiting: run_at; running: when the lease ends
    _int("attempts"),
    _int("max_attempts"),
    _text("owner"),
    _text("error"),
    _big("created_at"),
)
_waits = text("state = 'waiting' AND key <> ''")
Index("uq_job_waiting", job.c.kind, job.c.key, unique=True, sqlite_where=_waits, postgresql_where=_waits)
_alive = text("state <> 'dead'")
Index("ix_job_due", job.c.due_at, sqlite_where=_alive, postgresql_where=_alive)

device = Table(
    "device",
    metadata,
    _id(),
    _key("name"),
    _text("ae_title", index=True),
    _text("host"),
    _int("port"),
    _int("tls"),
    _text("state"),
    _text("site"),
    _text("character_set"),
    _text("roles"),  # JSON list
    _text("calling_addresses"),  # JSON list
    _int("max_associations"),
    _big("first_seen"),
    _big("last_seen"),
    _text("last_address"),
    _text("evidence"),
)

account = Table(
    "account",
    metadata,
    _id(),
    _key("name"),
    _text("password_hash"),
    _text("role"),
    _big("created_at"),
    _int("disabled"),
    _text("sites"),  # JSON list
    _text("studies"),  # JSON list
    _text("subject"),  # "<issuer> <subject>" of an OpenID Connect provider
    _text("totp_secret"),
    _text("totp_pending"),
    _big("totp_step"),  # the last one used
    _text("recovery"),  # hashes, joined by spaces
)
_external = text("subject <> ''")
Index(
    "uq_account_subject",
    account.c.subject,
    unique=True,
    sqlite_where=_external,
    postgresql_where=_external,
)

web_session = Table(
    "web_session",
    metadata,
    Column("id", TEXT, primary_key=True),  # SHA-256 of its secret, hex
    _ref("account_id", "account"),
    _text("address"),
    _big("created_at"),
    _big("seen_at"),
    _big("expires_at"),
)

token = Table(
    "token",
    metadata,
    Column("id", TEXT, primary_key=True),
    _text("secret_hash"),
    _ref("account_id", "account"),
    _text("label"),
    _text("permissions"),  # joined by spaces
    _text("sites"),  # JSON list; '' where it has no limit of its own
    _text("studies"),  # JSON list, likewise
    _big("created_at"),
    _big("expires_at"),
    _big("used_at"),
)

#: What is remembered of sign-ins, so that guessing takes ever longer.
sign_in = Table(
    "sign_in",
    metadata,
    Column("key", TEXT, primary_key=True),  # hash of an account's name, an address, or both
    _int("failures"),
    _big("failed_at"),
    _big("until"),
    _big("succeeded_at"),
    Column("expires_at", BigInteger, nullable=False, server_default="0", index=True),
)

#: What the processes of an archive share and tell nobody.
secret = Table(
    "secret",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

setting = Table("setting", metadata, Column("key", TEXT, primary_key=True), _text("value"))

#: Numbers that only grow, by name: "devices" for `Devices.version`.
counter = Table("counter", metadata, Column("name", TEXT, primary_key=True), _big("value"))
