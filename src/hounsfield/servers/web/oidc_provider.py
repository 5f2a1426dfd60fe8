"""An OpenID Connect provider as we use it: its own description, its keys, and the code flow with PKCE
(OpenID Connect Core 1.0, Discovery 1.0, RFC 7636)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from hounsfield.domain.errors import PeerError, RefusedError
from hounsfield.ports.clock import Clock
from hounsfield.settings import Settings

#: Signatures with the provider's public key alone; never "none", never with our secret as the key.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
TIMEOUT = 10.0
LONGEST_ANSWER = 1 << 20
#: Seconds that its description and keys are remembered; keys are asked for anew at most this often.
REMEMBER_SECONDS, KEYS_SECONDS = 3600.0, 30.0
#: Seconds by which its clock may differ from ours.
LEEWAY = 60
_SECURE = re.compile(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in on its way: what has to fit when the browser comes back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Attempt:
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True, slots=True)
class _Description:
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    basic: bool  # whether our secret goes into the header (client_secret_basic)
    names_itself: bool  # whether the browser brings `iss` back (RFC 9207)


class Provider:
    """One for a process; used on its event loop. Calls raise PeerError where the provider fails or cannot be
    reached, RefusedError where what it says does not hold."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.issuer = settings.oidc_issuer
        self.client_id = settings.oidc_client_id
        self.scopes = settings.oidc_scopes
        self._secret = settings.oidc_client_secret.get_secret_value()
        self._clock = clock
        self._description: tuple[float, _Description] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where to send the browser."""
        description = await self._describe()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = description.authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def claims(
        self, attempt: Attempt, redirect_uri: str, code: str, issuer: str | None
    ) -> Mapping[str, object]:
        """The claims of the ID token that a code is worth, every check of Core 3.1.3.7 passed. `issuer`: the
        `iss` that came back with the code."""
        description = await self._describe()
        if (issuer is not None or description.names_itself) and issuer != self.issuer:
            raise RefusedError("The answer comes from another provider", "Begin again at /login")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
            "client_id": self.client_id,
        }
        auth = None
        if self._secret and description.basic:
            # each part as a form's value: RFC 6749 2.3.1
            auth = httpx.BasicAuth(quote_plus(self.client_id), quote_plus(self._secret))
        elif self._secret:
            form["client_secret"] = self._secret
        answer = await self._ask("POST", description.token_endpoint, form, auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise PeerError("The provider gave no ID token", "Check its client for the scope openid")
        return await self._checked(token, attempt.nonce)

    async def _checked(self, token: str, nonce: str) -> Mapping[str, object]:
        decoded = None
        for fresh in (False, True):  # a key that we do not know yet may be new
            try:
                decoded = jwt.decode(token, await self._key_set(fresh), algorithms=ALGORITHMS)
                break
            except (JoseError, ValueError):
                continue
        if decoded is None:
            raise RefusedError("The ID token is not signed by the provider", "Begin again at /login")
        claims: dict[str, object] = dict(decoded.claims)
        registry = jwt.JWTClaimsRegistry(
            now=self._clock.now() // 1_000_000,
            leeway=LEEWAY,
            iss={"essential": True, "value": self.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": self.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            registry.validate(decoded.claims)
        except JoseError as error:
            what = f"The ID token does not hold: {error.error}"
            raise RefusedError(what, "Begin again at /login") from error
        audience = claims["aud"]
        several = isinstance(audience, list) and len(audience) > 1
        if (several or "azp" in claims) and claims.get("azp") != self.client_id:
            raise RefusedError("The ID token is for another client", "Begin again at /login")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise RefusedError("The ID token names nobody", "Begin again at /login")
        return claims

    async def _describe(self) -> _Description:
        now = self._clock.monotonic()
        if self._description is not None and now - self._description[0] < REMEMBER_SECONDS:
            return self._description[1]
        found = await self._ask("GET", f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.issuer:
            itself = str(found.get("issuer"))[:200]
            raise PeerError(f"The provider calls itself {itself!r}", "Set oidc_issuer to exactly that")
        places = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        secure = [place for place in places if isinstance(place, str) and _SECURE.match(place)]
        if len(secure) != 3:
            raise PeerError("The provider does not name its endpoints, or not with https", "Ask who runs it")
        methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        names_itself = found.get("authorization_response_iss_parameter_supported") is True
        basic = isinstance(methods, list) and "client_secret_basic" in methods
        description = _Description(secure[0], secure[1], secure[2], basic, names_itself)
        self._description = now, description
        return description

    async def _key_set(self, fresh: bool) -> KeySet:
        now = self._clock.monotonic()
        if self._keys is not None:
            age = now - self._keys[0]
            if age < KEYS_SECONDS or (not fresh and age < REMEMBER_SECONDS):
                return self._keys[1]
        found = await self._ask("GET", (await self._describe()).jwks_uri)
        try:
            keys = KeySet.import_key_set(found)  # type: ignore[arg-type]  # whatever came; it is checked there
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise PeerError("The provider's keys cannot be read", "Ask who runs it") from error
        self._keys = now, keys
        return keys

    async def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None = None, auth: httpx.Auth | None = None
    ) -> dict[str, object]:
        """Its JSON answer. A redirect is not followed, and a large answer not read."""
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client,
                client.stream(method, url, data=form, auth=auth or httpx.USE_CLIENT_DEFAULT) as response,
            ):
                body = b""
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LONGEST_ANSWER:
                        raise PeerError("The provider's answer is too large", "Check oidc_issuer")
        except (httpx.HTTPError, OSError) as error:
            raise PeerError(
                f"The provider cannot be reached: {type(error).__name__}", "Check oidc_issuer and the network"
            ) from error
        try:
            values = json.loads(body)
        except ValueError:
            values = None
        if response.status_code != 200 or not isinstance(values, dict):
            why = values.get("error") if isinstance(values, dict) else None
            told = f", {str(why)[:100]!r}" if why else ""
            raise PeerError(f"The provider answered with status {response.status_code}{told}", "Begin again")
        return values
