"""What `serve` says when everything is up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hounsfield.services.accounts import ADMIN
from hounsfield.settings import Settings, default_data


def welcome(settings: Settings, password: str | None, *, demo: bool) -> str:
    """Addresses, login, and three commands to try. `password` is the one that was made just now."""
    program = _program()
    where = "" if settings.data == default_data() else f" --data {settings.data}"
    us = f"{settings.ae_title}@{_reached(settings.host)}:{settings.dicom_port}"
    lines = ["", "Hounsfield is ready."]
    if settings.dicom_port:
        lines.append(f"  DICOM      {settings.host}:{settings.dicom_port}   AE title {settings.ae_title}")
    if settings.tls:
        lines.append(f"  DICOM TLS  {settings.host}:{settings.dicom_tls_port}   AE title {settings.ae_title}")
    if settings.http_port:
        lines.append(f"  Web        {web_address(settings)}")
    lines.append(f"  Data       {settings.data}")
    lines.append(f"  Login      {_login(settings, password, program)}")
    if settings.dicom_port:
        example = "PatientName=*" if demo else "StudyDate=20240101-"
        lines += [
            "",
            "Try:",
            f"  {program} echo {us}",
            f"  {program} find {us} '{example}'",
            f"  {program} study list{where}",
        ]
    return "\n".join([*lines, "", "Ctrl-C stops it."])


def web_address(settings: Settings) -> str:
    """Where a browser on this machine finds the web role."""
    scheme = "https" if settings.https else "http"
    return settings.public_url or f"{scheme}://{_reached(settings.web_host)}:{settings.http_port}"


def _login(settings: Settings, password: str | None, program: str) -> str:
    if password is not None:
        return f"{ADMIN} / {password}   (shown this once)"
    if settings.admin_password.get_secret_value():
        return f"{ADMIN}, with the password of HOUNSFIELD_ADMIN_PASSWORD at the first start"
    return f"{ADMIN}, with the password of the first start; `{program} user password {ADMIN}` sets another"


def _program() -> str:
    """How the person can call us: by name where that is found, else by path."""
    called = Path(sys.argv[0])
    if any(Path(folder) / "hounsfield" == called for folder in os.get_exec_path()):
        return "hounsfield"
    beside = Path(sys.executable).parent / "hounsfield"
    path = beside if beside.exists() else called
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _reached(host: str) -> str:
    """An address by which this machine reaches itself."""
    if host in ("0.0.0.0", ""):  # noqa: S104  (compared, not listened on)
        return "127.0.0.1"
    return "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
