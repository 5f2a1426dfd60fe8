"""What a browser keeps for us between two steps, in a cookie: encrypted, so that it is neither read nor
changed there, and valid for minutes."""

from __future__ import annotations

import json

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from hounsfield.ports.clock import Clock

_HEADER = {"alg": "dir", "enc": "A256GCM"}
LONGEST = 8192


def seal(key: bytes, clock: Clock, seconds: int, values: dict[str, str]) -> str:
    """`key` of 32 bytes; `values` are back from `unseal` within so many seconds."""
    plain = json.dumps({"until": clock.now() // 1_000_000 + seconds, "values": values})
    return jwe.encrypt_compact(_HEADER, plain.encode(), OctKey.import_key(key))


def unseal(key: bytes, clock: Clock, sealed: str) -> dict[str, str] | None:
    """The values; None where it is not ours, was changed, or is too old."""
    if not sealed or len(sealed) > LONGEST:
        return None
    try:
        plain = jwe.decrypt_compact(sealed, OctKey.import_key(key), algorithms=["dir", "A256GCM"]).plaintext
        found = json.loads(plain or b"{}")
    except (JoseError, ValueError):
        return None
    if found.get("until", 0) < clock.now() // 1_000_000:
        return None
    values: dict[str, str] = found["values"]
    return values
