"""The part of the catalogue of ledger events that is of people: who signed in, read, changed whom."""

from __future__ import annotations

from hounsfield.domain.event_types import EventType
from hounsfield.domain.event_types import event_type as _e

_WEB = {"address": "address of the client", "how": "session, token or basic"}

WEB_EVENTS: tuple[EventType, ...] = (
    _e(
        "study.accessed",
        "Patient data of a study was given out over the web; requests close in time are counted together.",
        **_WEB,
        what="which kind of data",
        requests="how many requests",
        objects="how many objects or frames",
        bytes="bytes of them, where known",
    ),
    _e(
        "search.answered",
        "Searches were answered over the web; those close in time are counted together.",
        **_WEB,
        what="what was searched: studies, series, instances, ...",
        requests="how many requests",
        matches="how many matches together",
    ),
    _e(
        "access.refused",
        "A request over the web was refused to somebody who was signed in: what it named is not there, or "
        "is not for that person.",
        **_WEB,
        what="what was asked for: a study, or method and path template",
        requests="how many requests",
    ),
    _e(
        "settings.changed",
        "A live setting was changed.",
        setting="name",
        before="value before",
        after="value after",
    ),
    _e(
        "user.changed",
        "A user was added, changed or removed.",
        user="name",
        change="which",
        before="role, sites, studies and state before, where they changed",
        after="the same after",
    ),
    _e(
        "totp.changed",
        "A user's second factor was set up, taken away, or a recovery code was used up.",
        user="name",
        change="which",
    ),
    _e(
        "token.created",
        "An API token was made.",
        id="id of the token",
        user="whose it is",
        label="what it is for",
        permissions="list of what it may",
        sites="sites to which it is limited; null: no limit of its own",
        studies="studies to which it is limited; null: no limit of its own",
        expires="when it ends; 0: never",
    ),
    _e(
        "token.revoked",
        "An API token was revoked.",
        id="id of the token",
        user="whose it was",
        label="what it was for",
    ),
    _e(
        "login.accepted",
        "Somebody signed in. With HTTP Basic: at the first request of a day from an address.",
        user="name",
        address="address of the client",
        how="password, basic or external (OpenID Connect)",
        factor="second factor: totp, recovery, or '' for none",
    ),
    _e(
        "login.refused",
        "A sign-in was refused.",
        user="name; '' where there is no such user (what was typed there may be a password)",
        address="address of the client",
        how="password, basic or external (OpenID Connect)",
        reason="why",
        subject="for external: issuer and subject",
    ),
    _e(
        "login.locked",
        "After failures, sign-ins have to wait.",
        user="name; '' where there is no such user",
        address="address of the client",
        what="what waits: the user at this address, all users at this address, or the user at addresses "
        "from which no sign-in succeeded lately",
        failures="how many",
        seconds="how long",
    ),
    _e("login.ended", "Somebody signed out.", user="name"),
)
