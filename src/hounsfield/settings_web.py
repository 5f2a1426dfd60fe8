"""The settings of the web role: its port and certificate, its limits, how one signs in."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from hounsfield.domain.external import parse_rules


class WebSettings(BaseSettings):
    """A part of `settings.Settings`."""

    http_port: int = Field(
        default=8080, ge=0, le=65535, description="Port of the web role (HTTP, or HTTPS); 0 for none."
    )
    http_host: str = Field(
        default="", description="Address that the web role listens on. Default: that of `host`."
    )
    web_workers: int = Field(
        default=1, ge=1, le=64, description="Processes that answer over HTTP, sharing the port."
    )
    http_certificate: Path | None = Field(
        default=None,
        description="PEM file with the web server's certificate and the chain above it: makes it HTTPS.",
    )
    http_key: Path | None = Field(
        default=None, description="PEM file with its private key; default: in the certificate's file."
    )
    public_url: str = Field(
        default="",
        description="How browsers and viewers reach the web role, such as `https://pacs.example.org`, where "
        "a proxy stands before it. Default: as the request's Host header says.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks, separated by commas, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins, separated by commas, whose pages may read answers (with tokens, never with "
        "our cookies), such as `https://viewer.example.org`; `*` for any.",
    )
    http_basic: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="HTTP Basic on DICOMweb, for old clients: `auto` where the connection is HTTPS, or comes "
        "from this machine.",
    )
    http_connections: int = Field(
        default=1000, ge=1, description="Connections at one time, for each web process."
    )
    http_connections_per_address: int = Field(
        default=256, ge=1, description="The same, from one address that is no trusted proxy."
    )
    http_rate: int = Field(
        default=2000,
        ge=0,
        description="Requests a second of one user, token or address, for each web process; 0 for no limit.",
    )
    http_sign_in_rate: int = Field(
        default=30,
        ge=1,
        description="Failed sign-ins a minute from one address, for each web process, before it has to wait.",
    )
    http_max_header: int = Field(
        default=64, ge=4, description="KiB of a request's line and headers together, at most."
    )
    http_max_body: int = Field(
        default=1024, ge=1, description="KiB of a request's body, at most, where no objects are uploaded."
    )
    http_max_upload: int = Field(
        default=0, ge=0, description="MiB of one upload of objects, at most; 0 for no limit."
    )
    http_header_seconds: float = Field(
        default=15, gt=0, description="Seconds in which a request's line and headers have to be there."
    )
    http_stall_seconds: float = Field(
        default=60,
        gt=0,
        description="Seconds after which a connection is closed whose client neither sends what it announced "
        "(4 KiB in that time at least) nor takes what it asked for.",
    )
    http_idle_seconds: int = Field(
        default=30, ge=1, description="Seconds that a connection is kept open for the next request."
    )
    search_limit: int = Field(
        default=5000,
        ge=1,
        le=100000,
        description="Matches of one search over HTTP, at most; the rest is asked for with `offset`.",
    )
    otlp_endpoint: str = Field(
        default="",
        description="Address of an OpenTelemetry collector (OTLP over HTTP), such as "
        "`http://localhost:4318/v1/traces`; empty for no traces.",
    )
    session_idle_minutes: int = Field(
        default=30, ge=1, description="Minutes without a request after which a browser has to sign in again."
    )
    session_hours: int = Field(default=12, ge=1, description="Hours after which it has to in any case.")
    oidc_issuer: str = Field(
        default="",
        description="Address of an OpenID Connect provider whose users may sign in, such as "
        "`https://id.example.org/realms/hospital`.",
    )
    oidc_client_id: str = Field(default="", description="How the provider knows us.")
    oidc_client_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Our secret there, where it gave one. Better in the environment than in a file.",
    )
    oidc_scopes: str = Field(
        default="openid profile email",
        description="What the provider is asked to tell of a user; some tell of groups only when asked.",
    )
    oidc_roles: str = Field(
        default="",
        description="Which claims give which role: `CLAIM=VALUE:ROLE`, with sites "
        "`CLAIM=VALUE:ROLE@SITE,SITE`, separated by semicolons; the first that fits counts. Nobody signs in "
        "without a role.",
    )

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, url: str) -> str:
        if url and not re.match(r"https?://[A-Za-z0-9._:\[\]-]+/?\Z", url):
            raise ValueError("must be http:// or https://, a host, and perhaps a port")
        return url.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in split_list(text):
            ipaddress.ip_network(part, strict=False)
        return text

    @field_validator("oidc_roles")
    @classmethod
    def _oidc_roles(cls, text: str) -> str:
        parse_rules(text)
        return text

    @field_validator("oidc_issuer")
    @classmethod
    def _oidc_issuer(cls, url: str) -> str:
        # plain HTTP on this machine alone: for a provider that is tried out
        if url and not re.match(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", url):
            raise ValueError("must begin with https://")
        return url


def split_list(text: str) -> list[str]:
    """The parts of a setting that is several values separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
