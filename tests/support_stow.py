"""Bodies of store requests, and what an answer says."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

BOUNDARY = "a-boundary-of-tests"
DICOM, JSON, XML = "application/dicom", "application/dicom+json", "application/dicom+xml"
STUDIES = "/dicom-web/studies"


def related(
    parts: Iterable[bytes | tuple[str, bytes, str]], part_type: str = DICOM
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of multipart/related. A part is a PS3.10 object, or (Content-Type, data, location)."""
    body = bytearray()
    for part in parts:
        kind, data, location = (DICOM, part, "") if isinstance(part, bytes) else part
        body += f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n".encode()
        body += f"Content-Location: {location}\r\n".encode() if location else b""
        body += b"\r\n" + data + b"\r\n"
    body += f"--{BOUNDARY}--\r\n".encode()
    return bytes(body), {"Content-Type": f'multipart/related; type="{part_type}"; boundary={BOUNDARY}'}


def stow(client: httpx.Client, files: Sequence[bytes], path: str = STUDIES, **headers: str) -> httpx.Response:
    """Store PS3.10 objects in one request."""
    body, own = related(files)
    return client.post(path, content=body, headers=own | headers)


def new_uid() -> str:
    """A UID that leaves room for components behind it."""
    return f"2.25.{uuid.uuid4().int >> 64}"


def values(data_set: dict[str, Any], tag: str) -> list[Any]:
    """The values of an attribute of DICOM JSON, [] for none."""
    return list(data_set.get(tag, {}).get("Value", []))


def referenced(answer: dict[str, Any]) -> list[str]:
    """SOP Instance UIDs that were stored."""
    return [values(item, "00081155")[0] for item in values(answer, "00081199")]


def failures(answer: dict[str, Any]) -> list[tuple[str, int]]:
    """(SOP Instance UID or '', Failure Reason) of what was not."""
    items = values(answer, "00081198") + values(answer, "0008119A")
    return [((values(item, "00081155") or [""])[0], values(item, "00081197")[0]) for item in items]
