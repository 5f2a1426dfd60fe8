"""What is needed to start: flags over environment (`HOUNSFIELD_…`) over a TOML file over defaults.

Everything else (devices, users, rules) lives in the database and is changed without a restart.
`docs/reference/settings.md` is generated from the descriptions here.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from platformdirs import user_config_path, user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hounsfield.domain.admit import UnknownDevices
from hounsfield.domain.errors import ConfigurationError
from hounsfield.domain.ids import is_ae_title
from hounsfield.settings_web import WebSettings

PREFIX = "HOUNSFIELD_"
#: Variables that begin with the prefix and are no setting.
OTHER_VARIABLES = {
    "HOUNSFIELD_CONFIG": "path of the TOML file, as --config",
    "HOUNSFIELD_SAMPLES": "folder of sample files for the tests marked `samples`",
    "HOUNSFIELD_SUPERVISOR_FD": "set by the supervisor for the roles it starts",
}
#: The password in a URL: between the first colon after the scheme and the last @ before the path ends.
_PASSWORD = re.compile(r"(://[^:@/]*:).*(?=@)|(?<=[?&]password=)[^&]*")
#: Settings whose values nobody is shown.
SECRETS = {"admin_password", "oidc_client_secret"}
LOOPBACK = ("127.", "localhost", "::1")


def default_data() -> Path:
    return user_data_path("hounsfield", appauthor=False)


def default_config() -> Path:
    return user_config_path("hounsfield", appauthor=False) / "config.toml"


class Settings(WebSettings):
    """The settings of one process. Frozen; made by `load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    data: Path = Field(
        default_factory=default_data,
        description="Folder of all that is kept on this machine. Default: `hounsfield` in the XDG data home.",
    )
    database: str = Field(
        default="",
        description="URL of the database: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`. "
        "Default: the file `hounsfield.sqlite` in the data folder.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. Beyond loopback only when asked for: an address of this machine, "
        "or `0.0.0.0` for all of them.",
    )
    dicom_port: int = Field(
        default=11112, ge=0, le=65535, description="Port of DIMSE without TLS; 0 for none."
    )
    dicom_tls_port: int = Field(
        default=2762, ge=0, le=65535, description="Port of DIMSE over TLS; used when a certificate is given."
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the server's certificate and the chain above it."
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file with its private key; default: in the certificate's file."
    )
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file with the authorities that vouch for client certificates."
    )
    tls_require_client: bool = Field(
        default=False,
        description="Whether a TLS client without a certificate of these authorities is turned away.",
    )
    ae_title: str = Field(default="HOUNSFIELD", description="Our AE title.")
    called_ae_titles: Literal["any", "ours"] = Field(
        default="any",
        description="Whether a call to another AE title than ours is accepted (`any`) or rejected (`ours`).",
    )
    unknown_devices: UnknownDevices = Field(
        default=UnknownDevices.AUTO,
        description="What happens to devices that nobody wrote down: `accept`; `quarantine` (their objects "
        "wait for a person's decision); `refuse`; `auto` accepts where the server listens on loopback only, "
        "else quarantines.",
    )
    unknown_sop_classes: Literal["accept", "refuse"] = Field(
        default="accept",
        description="Whether objects of storage SOP classes that we do not know (private, or newer than this "
        "release) are taken in.",
    )
    timezone: str = Field(
        default="",
        description="Time zone of studies that name none, for queries with timezone adjustment: a name such "
        "as `Europe/Berlin`, or an offset such as `+0100`. Default: that of this machine.",
    )
    dicom_workers: int = Field(
        default=1, ge=1, le=64, description="Processes that receive and answer DIMSE, sharing the ports."
    )
    pixel_processes: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Processes beside each role that decode, convert and render pixels; 0: one for each "
        "processor, at most 8.",
    )
    max_pdu: int = Field(
        default=262144,
        ge=4096,
        le=16777216,
        description="Largest PDU that we take, in bytes (the maximum length of PS3.8 D.1).",
    )
    memory_budget: int = Field(
        default=128,
        ge=1,
        description="MiB of objects being received that one DIMSE process holds in memory; what exceeds it "
        "goes to files.",
    )
    large_object: int = Field(
        default=8, ge=1, description="MiB from which an object being received goes to a file of its own."
    )
    segment_size: int = Field(
        default=64, ge=1, description="MiB of one preallocated segment of the intake log."
    )
    spare_segments: int = Field(
        default=2, ge=0, description="Emptied segments kept to be used again, for each DIMSE process."
    )
    min_free: int = Field(
        default=512, ge=0, description="MiB of free disk below which objects are refused (status A700)."
    )
    settle_seconds: int = Field(
        default=60,
        ge=0,
        description="Seconds without a new object after which a series is written into its pack.",
    )
    artim_seconds: float = Field(
        default=30,
        gt=0,
        description="ARTIM timer of PS3.8 9.1.5: to ask for an association, to close a connection.",
    )
    idle_seconds: float = Field(
        default=300, gt=0, description="Seconds of silence after which an established association is aborted."
    )
    answer_seconds: float = Field(
        default=120, gt=0, description="Seconds that a peer has to answer a request of ours."
    )
    max_associations: int = Field(
        default=200,
        ge=1,
        description="Associations at one time. With several `dicom_workers` each has its share of this and "
        "of the limits below, rounded up: connections are dealt out to them by chance, so that one of them "
        "may be full a little before all are.",
    )
    reserved_percent: int = Field(
        default=25,
        ge=0,
        le=90,
        description="Percent of `max_associations` kept for devices that a person wrote down or admitted, "
        "however many others call.",
    )
    max_associations_per_device: int = Field(
        default=50,
        ge=1,
        description="Associations of one device at one time; a device's own record may say another.",
    )
    max_pending: int = Field(
        default=100,
        ge=1,
        description="Connections that have not asked for an association yet; counted apart, so that idle "
        "or hostile ones never keep real devices out. The oldest gives way to a new one.",
    )
    max_pending_per_address: int = Field(default=32, ge=1, description="The same, from one address.")
    shutdown_seconds: float = Field(
        default=20, ge=0, description="Seconds that running associations get to finish after SIGTERM."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="Program log on standard error: `auto` is `console` on a terminal, else `json`.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that the program log prints."
    )
    admin_password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of the account `admin`, which the first start makes; a random one, shown once, "
        "where it is empty. Better in the environment than in a file.",
    )

    @field_validator("ae_title")
    @classmethod
    def _ae_title(cls, text: str) -> str:
        if not is_ae_title(text):
            raise ValueError("must be 1 to 16 printable ASCII characters without a backslash")
        return text.strip(" ")

    @field_validator("data", "tls_certificate", "tls_key", "tls_client_ca", "http_certificate", "http_key")
    @classmethod
    def _path(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    @field_validator("database")
    @classmethod
    def _database(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with sqlite:/// or postgresql://")
        return url

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.tls_certificate is None and (self.tls_key or self.tls_client_ca or self.tls_require_client):
            raise ValueError("tls_key, tls_client_ca and tls_require_client need a tls_certificate")
        if self.tls_require_client and self.tls_client_ca is None:
            raise ValueError("tls_require_client needs tls_client_ca, the authorities to trust")
        if self.http_key and self.http_certificate is None:
            raise ValueError("http_key needs an http_certificate")
        if self.http_port and self.http_port in (self.dicom_port, self.dicom_tls_port if self.tls else 0):
            raise ValueError("http_port must differ from the ports of DIMSE")
        if self.oidc_issuer and not (self.oidc_client_id and self.oidc_roles):
            raise ValueError("oidc_issuer needs oidc_client_id and oidc_roles")
        if self.dicom_port and self.tls_certificate and self.dicom_port == self.dicom_tls_port:
            raise ValueError("dicom_port and dicom_tls_port must differ")
        return self

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'hounsfield.sqlite'}"

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine can reach us."""
        return self.host.startswith(LOOPBACK)

    @property
    def web_host(self) -> str:
        return self.http_host or self.host

    @property
    def https(self) -> bool:
        return self.http_certificate is not None

    @property
    def tls(self) -> bool:
        return self.tls_certificate is not None and self.dicom_tls_port != 0

    def public(self) -> dict[str, object]:
        """The settings as JSON values, secrets left out or masked: for the ledger and `doctor`."""
        values: dict[str, object] = self.model_dump(mode="json", exclude=SECRETS)
        return values | {"database": masked_url(self.database_url)}

    def environment(self) -> dict[str, str]:
        """Variables that make a child process load exactly these settings, without the admin's password."""
        values = self.model_dump(mode="json", exclude=SECRETS, exclude_none=True)
        values["oidc_client_secret"] = self.oidc_client_secret.get_secret_value()
        # whatever file there is was read already
        return {PREFIX + name.upper(): str(value) for name, value in values.items()} | {
            "HOUNSFIELD_CONFIG": os.devnull
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
        )  # `load` puts the sources together, so that a test's Settings(...) is just that


def load(config: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings of this process. `flags` are those given on the command line (None: not given).

    Raises ConfigurationError naming the setting, where its value came from, and what it may be.
    """
    path = config or config_path()
    sources: dict[str, Mapping[str, object]] = {
        f"the file {path}": read_file(path) if path is not None else {},
        "the environment": EnvSettingsSource(Settings)(),
        "the command line": {key: value for key, value in (flags or {}).items() if value is not None},
    }
    merged: dict[str, object] = {}
    origin: dict[str, str] = {}
    for source, values in sources.items():
        merged |= values
        origin |= dict.fromkeys(values, source)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(_explain(problem["loc"], problem["msg"], origin) for problem in error.errors()),
            "See docs/reference/settings.md for what each setting may be",
        ) from None


def config_path() -> Path | None:
    """The TOML file to read where no flag names one: HOUNSFIELD_CONFIG, else the default one, if any."""
    if named := os.environ.get("HOUNSFIELD_CONFIG"):
        return Path(named)
    path = default_config()
    return path if path.is_file() else None


def read_file(path: Path) -> Mapping[str, object]:
    """The values of a TOML file. Raises ConfigurationError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read: {error.strerror}",
            "Check --config and HOUNSFIELD_CONFIG",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The configuration file {path} is not TOML: {error}", "Correct it there"
        ) from error
    for name in values:
        if name not in Settings.model_fields:
            raise ConfigurationError(
                f"The configuration file {path} names {name!r}, which is no setting", _nearest(name)
            )
    return values


def unknown_variables() -> list[str]:
    """Environment variables that look like ours and are not: most often spelled wrong."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES.keys()
    return sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )


def masked_url(url: str) -> str:
    """A database URL without its password."""
    return _PASSWORD.sub(lambda found: (found[1] or "") + "***", url)


def _explain(where: tuple[int | str, ...], message: str, origin: Mapping[str, str]) -> str:
    text = message.removeprefix("Value error, ")
    if not where:
        return f"The settings do not fit together: {text}"
    name = str(where[0])
    source = f" (from {origin[name]})" if name in origin else ""
    return f"The setting {name}{source} cannot be used: {text[:1].lower()}{text[1:]}"


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, 1)
    return f"Did you mean {near[0]!r}?" if near else "See docs/reference/settings.md for all settings"
