"""docs/reference/api.md: the administration API, its permissions and roles, made from the code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from hounsfield.domain.access import ROLE_PERMISSIONS, ROLE_SUMMARIES, UNLIMITED_ONLY, Permission, Role
from hounsfield.servers.web import api, app, csrf, identify, problems
from hounsfield.servers.web.api.shapes import MOST_ROWS
from hounsfield.servers.web.table import NEARBY, PUBLIC, SIGNED_IN
from hounsfield.services import live_settings

#: What each permission allows.
PERMISSIONS = {
    Permission.STUDIES_READ: "find studies, look at them, download them",
    Permission.STUDIES_STORE: "add objects",
    Permission.STUDIES_EXPORT: "send studies to another system",
    Permission.STUDIES_CHANGE: "correct and check studies",
    Permission.DEVICES_READ: "see devices",
    Permission.DEVICES_CHANGE: "add, change, admit, refuse and remove devices",
    Permission.USERS_READ: "see users",
    Permission.USERS_CHANGE: "add, change and remove users",
    Permission.TOKENS_OWN: "make, list and revoke tokens of one's own",
    Permission.TOKENS_ALL: "the same with tokens of others",
    Permission.LEDGER_READ: "read and verify the ledger",
    Permission.JOBS_READ: "see jobs",
    Permission.JOBS_CHANGE: "retry and discard dead jobs",
    Permission.SETTINGS_READ: "see the live settings",
    Permission.SETTINGS_CHANGE: "change them",
    Permission.SYSTEM_READ: "see how the archive is",
    Permission.METRICS_READ: "read `/metrics`",
    Permission.QUARANTINE_READ: "see what is held in quarantine",
    Permission.QUARANTINE_CHANGE: "release and drop it",
}
#: What a rule may ask for that is no permission.
OTHER_NEEDS = {
    PUBLIC: "nothing: whoever asks is answered",
    NEARBY: "to be signed in, or to ask from the machine itself",
    SIGNED_IN: "to be signed in, with whatever permissions",
}
#: Paths that are neither DICOMweb nor API.
PAGES = {
    "/healthz": "`ok`, when the process answers",
    "/readyz": "200 when database and disk are there, else 503; JSON says which is not",
    "/metrics": "numbers for Prometheus ([Metrics](metrics.md))",
    "/": "the first page after signing in",
    "/login": "the sign-in page",
    "/logout": "end of the session",
    "/login/oidc": "to the OpenID Connect provider",
    "/login/oidc/callback": "back from it",
}

TEXT = """\
The API administers the archive; images are had over [DICOMweb](dicomweb.md). OpenAPI describes it at
`/api/openapi.json`, a page for people at `/api/docs`; both for who is signed in. In the document each
operation has `x-permission`."""

BASIC = " and ".join(f"`{path}`" for path in identify.BASIC_PATHS)
USE = f"""\
- Requests and answers are JSON. A field that is not known is refused.
- A program sends `Authorization: Bearer` and its [token](../howto/tokens.md). A browser sends its session's
  cookie; `GET /api/session` gives the CSRF token. Each request that changes something has it in the header
  `{csrf.HEADER.title().replace("Csrf", "CSRF")}`. HTTP Basic works on {BASIC} alone.
- Lists take `limit` (at most {MOST_ROWS}) and `offset`.
- A refusal is a problem detail (`{problems.MEDIA_TYPE}`, RFC 9457): [statuses](dicomweb.md#6-statuses).
  With 422, `errors` says what is wrong with each field.
- Times are RFC 3339 in UTC.
- What is beyond the user's sites and studies is answered with 404.
- Whatever is changed is in the [ledger](events.md), with the user as actor."""

LIMITED = """\
Permissions with an asterisk concern all sites at once: a user or token that is limited to sites or studies
does not have them, whatever the role. A service account cannot sign in: its column says how far its tokens
can reach."""


def page(note: str) -> str:
    lines = [note, "# The API", "", TEXT, "", "## Use", "", USE, "", "## Operations", ""]
    lines += _operations()
    lines += ["", "## Permissions", "", "| Needs | To |", "| --- | --- |"]
    lines += [f"| `{one}` | {PERMISSIONS[one]} |" for one in Permission]
    lines += ["", "A rule may also ask for:", "", "| Needs | That is |", "| --- | --- |"]
    lines += [f"| `{one}` | {text} |" for one, text in OTHER_NEEDS.items()]
    lines += ["", "## Roles", "", "| Role | For whom |", "| --- | --- |"]
    lines += [f"| `{role}` | {ROLE_SUMMARIES[role]} |" for role in Role]
    lines += ["", *_by_role(), "", LIMITED, "", "## Live settings", ""]
    lines += ["| Setting | Meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {text} |" for name, text in live_settings.CATALOGUE.items()]
    lines += ["", "## Other paths", "", *_pages()]
    return "\n".join(lines) + "\n"


def _operations() -> list[str]:
    document: dict[str, Any] = api.described()
    lines = ["| Request | What | Needs |", "| --- | --- | --- |"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            words = str(operation.get("description") or operation["summary"]).split("\n\n")[0]
            what = " ".join(words.split()).replace("|", "\\|")
            lines.append(f"| {method.upper()} `/api{path}` | {what} | `{operation['x-permission']}` |")
    return lines


def _by_role() -> list[str]:
    return _table(
        ("Permission", *Role),
        (
            (
                f"`{one}`" + (" *" if one in UNLIMITED_ONLY else ""),
                *("yes" if one in ROLE_PERMISSIONS[role] else "" for role in Role),
            )
            for one in Permission
        ),
    )


def _pages() -> list[str]:
    rows = [
        (f"{rule.method} `{rule.path}`", PAGES[rule.path], f"`{rule.needs}`")
        for rule in app.RULES
        if not rule.path.startswith(("/api/", "/dicom-web", "/wado"))
    ]
    return _table(("Request", "What", "Needs"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    sys.stdout.write(page(""))
