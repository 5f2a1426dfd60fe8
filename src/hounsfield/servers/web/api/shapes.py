"""What the requests and answers of /api share: moments, pages, problems."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from hounsfield.domain.access import Principal
from hounsfield.servers.web import web as the_web
from hounsfield.servers.web.web import Web

MOST_ROWS = 1000


class Shape(BaseModel):
    """A JSON object of the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    status: int
    title: str
    detail: str = ""
    errors: Any = Field(default=None, description="What is wrong with each field, where there are some.")


class Done(Shape):
    """It is done."""

    result: str = "done"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of an operation, as OpenAPI tells them; 401, 403, 413 and 429 are everywhere."""
    one = {"model": ProblemDetails, "content": {"application/problem+json": {}}}
    words = {
        400: "It cannot be read",
        401: "Not signed in",
        403: "Not allowed",
        404: "Not there, or not to be seen",
        409: "It contradicts what is kept",
        413: "Too large",
        422: "A value that cannot be",
        429: "Too many requests",
        502: "Another system failed",
    }
    return {
        status: {**one, "description": words[status]}
        for status in sorted({400, 401, 403, 413, 422, 429, *statuses})
    }


def _web(request: Request) -> Web:
    return the_web.of(request)


def _principal(request: Request) -> Principal:
    return the_web.principal(request)


TheWeb = Annotated[Web, Depends(_web)]
Who = Annotated[Principal, Depends(_principal)]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="At most so many.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="How many to pass over.")]
#: Of the database's integers.
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="Number of the row.")]
#: Names and words of the administrators, without control characters.
Word = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
#: Why something is done; kept in the ledger.
Reason = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x08\x0e-\x1f\x7f]*$")]
NamedReason = Annotated[
    str,
    Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x08\x0e-\x1f\x7f]*\S[^\x00-\x08\x0e-\x1f\x7f]*$"),
]


def moment(at: int) -> datetime | None:
    """Microseconds since 1970 as a time; None for 0, never."""
    return datetime.fromtimestamp(at / 1_000_000, UTC) if at else None


def microseconds(at: datetime | None) -> int:
    """0 for None. A time without a zone is UTC."""
    if at is None:
        return 0
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1_000_000)
